"""Placeholders become the values again that they stand for: in a document that is there as a whole, and in a text that is
still being written.
"""

import json
import re
from bisect import bisect_left
from collections.abc import Sequence
from typing import Final, Protocol

import orjson

from extproc.errors import TooLarge
from extproc_filters.pii.edits import Edit, splice
from extproc_filters.pii.jsonedit import INNERMOST, INSIDE, is_document
from extproc_filters.pii.jsontext import NUMBER, VALUE, Token, tokens
from extproc_filters.pii.links import Joined, Links, Unknown
from extproc_filters.pii.paths import Path
from extproc_filters.pii.placeholders import IN_DOCUMENTS, LONGEST, WRITTEN, Placeholders
from extproc_filters.pii.where import Where
from extproc_filters.pii.work import FEW, Work

AT_ONCE: Final = 16 * 1024
"""Characters that are read between two pauses."""

STEP: Final = 64
"""What a string costs besides its characters, in characters."""

MOST: Final = 64 * 1024 * 1024
"""Characters that values may add to an answer, if nobody says less."""

GOES_ON: Final = re.compile(
    r"(?i)[\w-]{0,63}(?:(?:\\?\.|%2e|&(?:#0{0,8}46|#x0{0,8}2e|period);)\w"
    r"|\\?@|%40|&(?:#0{0,8}64|#x0{0,8}40|commat);)"
)
UNDECIDED: Final = re.compile(r"(?i)[\w-]{0,63}(?:\\?\.?|%[24]?[0e]?|&#?\w{0,12};?)\Z")
"""What makes a value the begin of a host, which is a link of its own for many readers; and what may still become that. The
stop may be escaped as in Markdown, in HTML or in an address.
"""

MOST_PLACES: Final = 1024
"""Places in the events of a stream at which it is known how the text there began."""

LONGEST_PLACE: Final = 1024
"""Characters of the names on the way to such a place."""

NEUTRAL: Final = "x"
"""What stands for a value where a text is read for its links: the value itself is not the text's."""


class Restorer:
    """Puts back the values of one exchange, which may add `limit` characters in all. `restored` counts them."""

    def __init__(self, placeholders: Placeholders, limit: int = MOST) -> None:
        self.restored = 0
        self._limit = limit
        self._room = limit
        self._placeholders = placeholders
        self._sorted = sorted(placeholders)

    def may_hold(self, text: str) -> bool:
        """Whether there is a placeholder of this exchange in `text`, which may be a document."""
        return any(self._placeholders.original(match[0]) is not None for match in IN_DOCUMENTS.finditer(text))

    def whole(self, text: str, depth: int = 0, links: "Reader | None" = None) -> Work[str]:
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

    def _linked(self, text: str, links: "Reader") -> Work[list[int]]:
        """Where in `text`, read as it is, placeholders stand in the target of a link."""
        found: list[int] = []
        at = 0
        for match in IN_DOCUMENTS.finditer(text):
            yield from read_on(links, text, at, match.start())
            if links.linked or GOES_ON.match(text, match.end()):
                found.append(match.start())
            links.read(NEUTRAL)
            at = match.end()
        yield from read_on(links, text, at, len(text))
        return found

    def document(
        self,
        text: str,
        depth: int = 0,
        spared: frozenset[Path] = frozenset(),
        linked: Sequence[int] = (),
        reading: "Places | None" = None,
    ) -> Work[str]:
        """A JSON document: its strings, but for those at places in `spared`, and those with one of the positions `linked`; what
        is none stays as it is. `reading` knows what came before at the same places, in documents before this one.

        Raises:
            TooLarge: it is too deep or too crowded, or grows too much.
        """
        if not (reading or self.may_hold(text)) or not is_document(text):
            return text
        edits: list[Edit] = []
        read, room = 0, self._limit
        reading = reading or Places()
        for token in (yield from tokens(text, strict=False)):
            content = text[token.start : token.end]
            held = token.kind != NUMBER and self.may_hold(content)
            kept = (spared and token.place in spared) or bisect_left(linked, token.start) < bisect_left(
                linked, token.end
            )
            links = None if kept or token.kind != VALUE else reading.links(token)
            if not kept and (links or held):
                old = str(orjson.loads(f'"{content}"')) if "\\" in content else content
                arguments = token.key == "arguments" and depth + 1 < INNERMOST and is_document(old)
                new = yield from (self.document(old, depth + 1) if arguments else self.whole(old, depth + 1, links))
                if new != old:
                    edits.append(Edit(token.start, token.end, escaped(new)))
                    room = _left(room, len(edits[-1].text) - len(content))
            read += STEP + token.end - token.start
            if read > AT_ONCE:
                read = 0
                yield
        return splice(text, edits)

    def text_being_written(self, *, document: bool = False, others: Links | None = None) -> "Restoring":
        """For one text that comes in pieces. `document`: it is JSON. `others` reads with it: what its reader sees it joined
        with.
        """
        return Restoring(self, Where(document=document, others=others))

    def value(self, placeholder: str) -> str | None:
        return self._placeholders.original(placeholder)

    def put(self, placeholder: str, value: str, depth: int) -> str:
        """`value` as it is written at `depth`. Raises: TooLarge."""
        written = escaped(value, depth)
        self.restored += 1
        self._room = _left(self._room, len(written) - len(placeholder))
        return written

    def is_begin(self, text: str) -> bool:
        """Whether `text` may become a placeholder of this exchange."""
        at = bisect_left(self._sorted, text)
        return at < len(self._sorted) and self._sorted[at].startswith(text)


def _left(room: int, grown: int) -> int:
    """Raises: TooLarge, before what has grown is there as a whole."""
    if grown > room:
        raise TooLarge("the answer has grown by more than the largest body")
    return room - grown


def _is_item(token: Token) -> bool:
    """Whether it is the text of an item in a list, as messages have them: readers join those to one text."""
    return token.key == "text" and isinstance(token.container.step, int)


class Places:
    """What is known of links in the strings of a document: items are joined by their readers, other strings are not."""

    def __init__(self) -> None:
        self.items = Links()

    def links(self, token: Token) -> "Reader | None":
        """What reads the string of `token`; None if nothing has to be known of what came before it."""
        return self.items if _is_item(token) else None


class StreamedPlaces(Places):
    """The same for documents that follow each other, each of which may bring a piece of a text. Of what stands at too many
    places, or at one with long names, nobody knows how it began: no value is put there.
    """

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[Path, Joined] = {}

    def links(self, token: Token) -> "Reader | None":
        place = token.place
        if place not in self._known:
            names = (step for step in place if isinstance(step, str))
            if len(self._known) >= MOST_PLACES or sum(map(len, names)) > LONGEST_PLACE:
                return Unknown()
            self._known[place] = Joined(self.items if _is_item(token) else Links())
        return self._known[place]


class Reader(Protocol):
    """What a text is read with, to know where in it a value would stand."""

    @property
    def depth(self) -> int: ...
    @property
    def linked(self) -> bool: ...
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

    def push(self, piece: str) -> Work[str]:
        """What may leave of all that has come. Raises: TooLarge."""
        return (yield from self._written(self._held + piece, last=False))

    def flush(self) -> Work[str]:
        """The rest: the text ends here. Raises: TooLarge."""
        return (yield from self._written(self._held, last=True))

    def _written(self, text: str, *, last: bool) -> Work[str]:
        pieces: list[str] = []
        at = 0
        end = None
        for number, match in enumerate(WRITTEN.finditer(text), 1):
            if (value := self._restorer.value(match[0])) is not None:
                yield from read_on(self._where, text, at, match.start())
                pieces.append(text[at : match.start()])
                at = match.start()
                if not (last or self._where.linked) and UNDECIDED.match(text, match.end()):
                    end = at
                    break
                pieces.append(self._put(match[0], value, alone=not GOES_ON.match(text, match.end())))
                at = match.end()
            if number % FEW == 0:
                yield
        if end is None:
            end = len(text) if last else self._end(text, at)
            yield from read_on(self._where, text, at, end)
            if end < len(text) and self._where.linked:
                yield from read_on(self._where, text, end, len(text))
                end = len(text)
        self._held = text[end:]
        return "".join((*pieces, text[at:end]))

    def _end(self, text: str, at: int) -> int:
        """Where what may still become a placeholder begins, or the end."""
        last = text.rfind("[", max(at, len(text) - LONGEST))
        if last >= 0 and self._restorer.is_begin(text[last:].replace("\\", "")):
            return last - (last > at and text[last - 1] == "\\")
        escape = text.endswith("\\", at) and not self._where.depth and self._restorer.is_begin("[")
        return len(text) - escape

    def _put(self, placeholder: str, value: str, *, alone: bool) -> str:
        """`alone`: nothing that follows makes a host of it."""
        if self._where.linked or not alone:
            self._where.read(placeholder)
            return placeholder
        depth = self._where.depth
        self._where.read(NEUTRAL)
        return self._restorer.put(placeholder, value, depth)


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
