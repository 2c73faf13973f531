"""How positions in a rewritten text lead back to the text it was made from."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from typing import Protocol

from extproc_filters.pii.work import STEPS, Work


class Layer(Protocol):
    """One rewriting of a text."""

    def back(self, start: int, end: int) -> tuple[int, int]:
        """The range of the old text that a range of the new one came from, widened to whole rewritten units."""
        ...


Unit = tuple[int, int, int, int, int]
"""A range of the new text (start, end), the range of the old one that it stands for (start, end), and the step: so many old
characters for each new one, or 0, if the one as a whole stands for the other as a whole.
"""


class Rewriting:
    """A layer whose units may have changed their length; between them the text is the same."""

    def __init__(self, units: list[Unit]) -> None:
        self._units = units
        self._starts = [unit[0] for unit in units]

    def back(self, start: int, end: int) -> tuple[int, int]:
        return self._first(start), self._last(end)

    def _first(self, at: int) -> int:
        index = bisect_right(self._starts, at) - 1
        if index < 0:
            return at
        new_start, new_end, old_start, old_end, step = self._units[index]
        return old_start + (at - new_start) * step if at < new_end else old_end + at - new_end

    def _last(self, at: int) -> int:
        index = bisect_left(self._starts, at) - 1
        if index < 0:
            return at
        new_start, new_end, old_start, old_end, step = self._units[index]
        if at >= new_end or not step:
            return old_end + max(0, at - new_end)
        return old_start + (at - new_start) * step


class Pairs:
    """A layer that kept every length: two-character escapes became two characters. `old` holds no escaped backslash."""

    def __init__(self, old: str) -> None:
        self._old = old

    def back(self, start: int, end: int) -> tuple[int, int]:
        inside = start > 0 and self._old[start - 1] == "\\"
        cut = end > 0 and self._old[end - 1] == "\\"
        return start - inside, end + cut


def rewrite(
    text: str, pattern: re.Pattern[str], decode: Callable[[str], tuple[str, int]]
) -> Work[tuple[str, Rewriting]]:
    """`text` with every match of `pattern` replaced by what `decode` makes of it: the new text and the unit's step."""
    pieces: list[str] = []
    units: list[Unit] = []
    known: dict[str, tuple[str, int]] = {}
    done = at = 0
    for number, match in enumerate(pattern.finditer(text), 1):
        start, end = match.span()
        old = match[0]
        if old not in known:
            known[old] = decode(old)
        new, step = known[old]
        at += start - done
        pieces += text[done:start], new
        units.append((at, at + len(new), start, end, step))
        at, done = at + len(new), end
        if number % STEPS == 0:
            yield
    pieces.append(text[done:])
    return "".join(pieces), Rewriting(units)
