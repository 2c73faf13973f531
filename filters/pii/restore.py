"""Placeholders become the values again that they stand for: in a document that is there as a whole, and in a text that is
still being written.
"""

import json
from bisect import bisect_left
from collections.abc import Sequence
from typing import Final, Protocol

import orjson

from extproc_filters.pii.edits import Edit, splice
from extproc_filters.pii.jsonedit import INNERMOST, INSIDE, is_document
from extproc_filters.pii.jsontext import NUMBER, VALUE, Token, tokens
from extproc_filters.pii.links import Links
from extproc_filters.pii.paths import Path
from extproc_filters.pii.placeholders import LONGEST, WRITTEN, Placeholders
from extproc_filters.pii.where import Where
from extproc_filters.pii.work import FEW, Work

AT_ONCE: Final = 16 * 1024
"""Characters that are read between two pauses."""

STEP: Final = 64
"""What a string costs besides its characters, in characters."""

NEUTRAL: Final = "x"
"""What stands for a value where a text is read for its links: the value itself is not the text's."""


class Restorer:
    """Puts back the values of one exchange. `restored` counts them."""

    def __init__(self, placeholders: Placeholders) -> None:
        self.restored = 0
        self._placeholders = placeholders
        self._sorted = sorted(placeholders)

    def may_hold(self, text: str) -> bool:
        """Whether there is a placeholder of this exchange in `text`."""
        return any(self._placeholders.original(match[0]) is not None for match in WRITTEN.finditer(text))

    def whole(self, text: str, depth: int = 0, links: Links | None = None) -> Work[str]:
        """A text, or a document, that is complete. What is no document at that depth is a text. A document may be shown as a
        text all the same: what is in the target of a link then stays. `links` have read what its reader sees before it.
        """
        links = links or Links()
        if not self.may_hold(text):
            links.read(text)
            return text
        if depth < INNERMOST and INSIDE.match(text) and is_document(text):
            linked = yield from self._linked(text, links)
            return (yield from self.document(text, depth, linked=linked))
        writing = Restoring(self, links)
        return (yield from writing.push(text)) + (yield from writing.flush())

    def _linked(self, text: str, links: Links) -> Work[list[int]]:
        """Where in `text`, read as it is, placeholders stand in the target of a link."""
        found: list[int] = []
        at = 0
        for match in WRITTEN.finditer(text):
            yield from read_on(links, text, at, match.start())
            if links.linked:
                found.append(match.start())
            links.read(NEUTRAL)
            at = match.end()
        yield from read_on(links, text, at, len(text))
        return found

    def document(
        self, text: str, depth: int = 0, spared: frozenset[Path] = frozenset(), linked: Sequence[int] = ()
    ) -> Work[str]:
        """A JSON document: its strings, but for those at places in `spared`, and those with one of the positions `linked`; what
        is none stays as it is.

        Raises:
            TooLarge: it is too deep or too crowded.
        """
        if not self.may_hold(text) or not is_document(text):
            return text
        edits: list[Edit] = []
        read = 0
        joined: dict[Path, Links] = {}
        for token in (yield from tokens(text, strict=False)):
            content = text[token.start : token.end]
            links = joined.setdefault(token.place[:-2], Links()) if _is_item(token) else None
            wanted = token.kind != NUMBER and (links is not None or self.may_hold(content))
            kept = (spared and token.place in spared) or bisect_left(linked, token.start) < bisect_left(
                linked, token.end
            )
            if wanted and not kept:
                old = str(orjson.loads(f'"{content}"')) if "\\" in content else content
                arguments = token.key == "arguments" and depth + 1 < INNERMOST and is_document(old)
                new = yield from (self.document(old, depth + 1) if arguments else self.whole(old, depth + 1, links))
                if new != old:
                    edits.append(Edit(token.start, token.end, escaped(new)))
            read += STEP + token.end - token.start
            if read > AT_ONCE:
                read = 0
                yield
        return splice(text, edits)

    def text_being_written(self, *, document: bool = False, after: "Restoring | None" = None) -> "Restoring":
        """For one text that comes in pieces. `document`: it is JSON. `after`: the text that its reader sees before it."""
        return Restoring(self, Where(document=document, links=after.links if after else None))

    def value(self, placeholder: str) -> str | None:
        return self._placeholders.original(placeholder)

    def counted(self, value: str) -> str:
        self.restored += 1
        return value

    def is_begin(self, text: str) -> bool:
        """Whether `text` may become a placeholder of this exchange."""
        at = bisect_left(self._sorted, text)
        return at < len(self._sorted) and self._sorted[at].startswith(text)


def _is_item(token: Token) -> bool:
    """Whether it is the text of an item in a list, as messages have them: readers join those to one text."""
    return token.kind == VALUE and token.key == "text" and isinstance(token.container.step, int)


class Reader(Protocol):
    """What a text is read with, to know where in it a value would stand."""

    @property
    def depth(self) -> int: ...
    @property
    def linked(self) -> bool: ...
    @property
    def links(self) -> Links | None: ...
    def read(self, piece: str) -> None: ...


class Restoring:
    """One text that comes in pieces. Held back is only what may still become a placeholder."""

    def __init__(self, restorer: Restorer, where: Reader) -> None:
        self._restorer = restorer
        self._where = where
        self._held = ""

    @property
    def holds(self) -> bool:
        return bool(self._held)

    @property
    def links(self) -> Links | None:
        """What is known of a link that what comes next would still belong to."""
        return self._where.links

    def push(self, piece: str) -> Work[str]:
        """What may leave of all that has come."""
        text, self._held = self._held + piece, ""
        pieces: list[str] = []
        at = 0
        for number, match in enumerate(WRITTEN.finditer(text), 1):
            if (value := self._restorer.value(match[0])) is not None:
                yield from read_on(self._where, text, at, match.start())
                pieces += text[at : match.start()], self._put(match[0], value)
                at = match.end()
            if number % FEW == 0:
                yield
        last = text.rfind("[", max(at, len(text) - LONGEST))
        end = last if last >= 0 and self._restorer.is_begin(text[last:]) else len(text)
        yield from read_on(self._where, text, at, end)
        if self._where.linked:
            yield from read_on(self._where, text, end, len(text))
            end = len(text)
        self._held = text[end:]
        return "".join((*pieces, text[at:end]))

    def flush(self) -> Work[str]:
        """The rest: the text ends here."""
        rest, self._held = self._held, ""
        yield from read_on(self._where, rest, 0, len(rest))
        return rest

    def _put(self, placeholder: str, value: str) -> str:
        if self._where.linked:
            self._where.read(placeholder)
            return placeholder
        depth = self._where.depth
        self._where.read(NEUTRAL)
        return escaped(self._restorer.counted(value), depth)


def read_on(where: Reader, text: str, start: int, end: int) -> Work[None]:
    """Let `where` read `text` from `start` to `end`."""
    for at in range(start, end, AT_ONCE):
        if at > start:
            yield
        where.read(text[at : min(end, at + AT_ONCE)])


def escaped(value: str, depth: int = 1) -> str:
    """`value` as it is written inside so many strings of JSON."""
    for _ in range(depth):
        value = json.dumps(value, ensure_ascii=False)[1:-1]
    return value
