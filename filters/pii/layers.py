"""How positions in a rewritten text lead back to the text it was made from."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from functools import cached_property
from itertools import accumulate
from typing import Final, Protocol

from extproc_filters.pii.work import SLICE, Work


class Layer(Protocol):
    """One rewriting of a text."""

    def back(self, start: int, end: int) -> tuple[int, int]:
        """The range of the old text that a range of the new one came from, widened to whole rewritten units."""
        ...


Decoded = tuple[str, int]
"""What a unit stands for, and the step: so many old characters for each new one, or 0, if the one as a whole stands for the
other as a whole.
"""

MARGIN: Final = 96
"""More than any unit has that is no run of several: at the end of a piece, one may be cut short."""


class Known(dict[str, Decoded]):
    """What each unit stands for, decoded once."""

    def __init__(self, decode: Callable[[str], Decoded]) -> None:
        super().__init__({"": ("", 0)})
        self._decode = decode

    def __missing__(self, unit: str) -> Decoded:
        self[unit] = decoded = self._decode(unit)
        return decoded


class Piece:
    """A piece of a text and what became of it. `parts` are of the old one: plain, unit, plain, ..., plain; they begin at `old`
    and `new`. Most texts hold nothing, so positions in it are counted when somebody asks.
    """

    def __init__(self, parts: list[str], known: Known, old: int, new: int) -> None:
        self._parts, self._known = parts, known
        self.old, self.new = old, new

    def text(self) -> str:
        """The new one."""
        written = self._parts.copy()
        written[1::2] = [self._known[unit][0] for unit in self._parts[1::2]]
        return "".join(written)

    @cached_property
    def _old(self) -> list[int]:
        """Where each part begins in the old text."""
        return list(accumulate(map(len, self._parts), initial=self.old))

    @cached_property
    def _new(self) -> list[int]:
        """Where each part begins in the new text."""
        sizes = [len(part) for part in self._parts]
        sizes[1::2] = [len(self._known[unit][0]) for unit in self._parts[1::2]]
        return list(accumulate(sizes, initial=self.new))

    @cached_property
    def _starts(self) -> list[int]:
        """Where each unit begins in the new text."""
        return self._new[1:-1:2]

    def first(self, at: int) -> int:
        """Where what begins at `at` came from."""
        unit = 2 * bisect_right(self._starts, at) - 1
        if unit < 0:
            return self.old + at - self.new
        if at >= self._new[unit + 1]:
            return self._old[unit + 1] + at - self._new[unit + 1]
        return self._old[unit] + (at - self._new[unit]) * self._known[self._parts[unit]][1]

    def last(self, at: int) -> int:
        """Where what ends at `at` came from."""
        unit = 2 * bisect_left(self._starts, at) - 1
        if unit < 0:
            return self.old + at - self.new
        step = self._known[self._parts[unit]][1]
        if at >= self._new[unit + 1] or not step:
            return self._old[unit + 1] + max(0, at - self._new[unit + 1])
        return self._old[unit] + (at - self._new[unit]) * step


class Rewriting:
    """A layer whose units may have changed their length; between them the text is the same."""

    def __init__(self, pieces: list[Piece]) -> None:
        self._pieces = pieces
        self._starts = [piece.new for piece in pieces]

    def back(self, start: int, end: int) -> tuple[int, int]:
        one = self._pieces[max(0, bisect_right(self._starts, start) - 1)]
        other = self._pieces[max(0, bisect_left(self._starts, end) - 1)]
        return one.first(start), other.last(end)


class Pairs:
    """A layer that kept every length: two-character escapes became two characters. `old` holds no escaped backslash."""

    def __init__(self, old: str) -> None:
        self._old = old

    def back(self, start: int, end: int) -> tuple[int, int]:
        inside = start > 0 and self._old[start - 1] == "\\"
        cut = end > 0 and self._old[end - 1] == "\\"
        return start - inside, end + cut


def rewrite(
    text: str, pattern: re.Pattern[str], decode: Callable[[str], Decoded], size: int = SLICE
) -> Work[tuple[str, Rewriting]]:
    """`text` with every match of `pattern` (which has no groups) replaced by what `decode` makes of it. `re` alone cuts it
    into its pieces, `size` characters at a time: hostile texts are full of units.
    """
    cut, known = re.compile(f"({pattern.pattern})", pattern.flags).split, Known(decode)
    pieces = [Piece([""], known, 0, 0)]
    texts: list[str] = []
    at, reach, new = 0, size, 0
    while at < len(text):
        parts = cut(text[at : at + reach])
        if at + reach < len(text):
            _shorten(parts, MARGIN)
        taken = sum(map(len, parts))
        if taken:
            pieces.append(Piece(parts, known, at, new))
            texts.append(pieces[-1].text())
            at, reach, new = at + taken, size, new + len(texts[-1])
        else:
            reach *= 2  # all of it is one unit
        yield
    return "".join(texts), Rewriting(pieces)


def _shorten(parts: list[str], by: int) -> None:
    """Take at least `by` characters from the end of `parts`, and never a part of a unit."""
    while by > 0 and parts:
        if len(parts) % 2 and len(parts[-1]) > by:
            parts[-1] = parts[-1][:-by]
            return
        by -= len(parts.pop())
    if parts and len(parts) % 2 == 0:
        parts.append("")
