"""Event streams (WHATWG HTML section 9.2.6, text/event-stream): whole events from pieces cut anywhere, byte for byte."""

import re
from typing import Final, NamedTuple

from extproc.errors import TooLarge

BOM: Final = b"\xef\xbb\xbf"

LINE: Final = re.compile(rb"([^\r\n]*)(\r\n|\n|\r|\Z)")
END: Final = re.compile(rb"\r\n(?:\r\n|\n|\r(?=[^\n]))|(?<!\r)\n[\r\n]|\r\r")
"""A line end and an empty line. An empty line that ends in `\\r` may go on with `\\n`: it is waited for where lines have ended
in `\\r\\n`, and nowhere else, because in a stream whose lines end in `\\r` alone it would hold back each event until the next.
"""

ONE: Final = re.compile(rb"data: ?([^\r\n]*)(?:\n\n|\r\n\r\n)")
"""What most events are: one line of data."""

CONTEXT: Final = 3
"""Bytes before the last one at which an `END` that is not complete can have begun."""

NEWLINE, RETURN = b"\n\r"


class Event(NamedTuple):
    """One event, or what stands in the place of one: a comment, a keep-alive, an empty line."""

    raw: bytes
    """Exactly as it came, with the empty line that ends it. A `\\n` that belongs to the event before may come first."""
    data: bytes | None
    """The `data` lines joined by `\\n`; None if there is none."""
    name: str
    """The `event` field, or empty."""
    more: bool = False
    """Whether this is a part of an event that is too large to be held, and more of it follows. Parts say no data."""


class Events:
    """The events of one stream. `limit` is how many bytes are held of one that is not complete; with `parts` a larger one is
    given in parts, as it comes. The work is linear in what is fed, however it is cut; whole events do not depend on the cuts.
    """

    def __init__(self, limit: int, *, parts: bool = False) -> None:
        self._limit = limit
        self._parts = parts
        self._inside = False  # whether parts of the event at hand have been given
        self._held = bytearray()
        self._searched = 0
        self._first = True
        self._plain = True  # whether no \r has come
        self._paired = False  # whether the last line ended in \r\n
        self._stray = False  # whether a \n that comes next belongs to a \r that has ended an event

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that `chunk` completes, and parts. Raises: TooLarge, unless they are given in parts."""
        self._held += chunk
        self._plain = self._plain and b"\r" not in chunk
        events: list[Event] = []
        start = 0
        while (end := self._end(start)) is not None:
            self._check(end - start)
            events.append(self._event(start, end))
            start, self._searched = end, 0
        del self._held[:start]
        if self._parts and len(self._held) > (CONTEXT if self._inside else max(self._limit, CONTEXT)):
            events.append(self._part())
        self._searched = len(self._held)
        self._check(self._searched)
        return events

    def close(self) -> list[Event]:
        """The stream has ended: its unfinished event, if there is one, as a client sees it that reads line by line and does
        not wait for an empty one.
        """
        last = [self._event(0, len(self._held))] if self._held else []
        self._held.clear()
        return last

    def _check(self, size: int) -> None:
        if size > self._limit and not self._parts:
            raise TooLarge(f"an event of the stream is larger than {self._limit} bytes")

    def _part(self) -> Event:
        """What is held, but for what may be the beginning of the end."""
        raw = bytes(self._held[:-CONTEXT])
        del self._held[:-CONTEXT]
        self._inside, self._first = True, False
        return Event(raw, None, "", more=True)

    def _event(self, start: int, end: int) -> Event:
        raw = bytes(memoryview(self._held)[start:end])
        if self._inside:
            self._inside = False
            return Event(raw, None, "")
        if one := ONE.fullmatch(raw):
            data, name = one[1], ""
        elif len(raw) <= 2:
            data, name = None, ""  # line ends
        else:
            data, name = _fields(raw.removeprefix(BOM) if self._first else raw)
        self._first = False
        return Event(raw, data, name)

    def _end(self, start: int) -> int | None:
        """Where the event that begins at `start` ends, or None if that has not come yet."""
        held = self._held
        line = start
        if self._inside:
            return self._ended(line)
        if self._stray and line < len(held):
            if held[line] == NEWLINE:
                line, self._paired = line + 1, True
            else:
                self._stray = False
        if line == len(held):
            return None
        if held[line] in (NEWLINE, RETURN):
            return self._empty(line)
        return self._ended(line)

    def _ended(self, line: int) -> int | None:
        """The end of an event that has begun on the line at `line`."""
        held = self._held
        searched = max(line, self._searched - CONTEXT)
        if self._plain:
            end = held.find(b"\n\n", searched)
            return end + 2 if end >= 0 else None
        found = END.search(held, searched)
        if found is None:
            return None
        ended = bytes(held[found.start() : found.end()])
        self._paired = ended.endswith(b"\r\n")
        self._stray = ended in (b"\n\r", b"\r\r")
        return found.end()

    def _empty(self, line: int) -> int | None:
        """The end of an empty line, which is an event of its own if nothing came before it."""
        held = self._held
        if held[line] == RETURN and self._paired:
            if line + 1 == len(held):
                return None
            self._paired, self._stray = held[line + 1] == NEWLINE, False
            return line + 2 if self._paired else line + 1
        self._paired, self._stray = False, held[line] == RETURN
        return line + 1


def event(data: bytes, like: Event) -> bytes:
    """`like` with other data, and everything else of it as it was."""
    text = _without_bom(like)
    lines = [(match[1], match[2]) for match in LINE.finditer(text) if match[0]]
    places = [number for number, (line, _) in enumerate(lines) if _is_data(line)]
    written = (number for number, (line, _) in enumerate(lines) if line)
    at = places[0] if places else next(written, 0)
    model, ending = lines[at] if lines else (b"", b"")
    said = re.split(rb"\r\n|\r|\n", data)
    tight = model.startswith(b"data:") and not model.startswith(b"data: ")
    prefix = b"data:" if tight and not any(line.startswith(b" ") for line in said) else b"data: "
    new = [(prefix + line, ending or b"\n") for line in said]
    kept = [*lines[:at], *new, *(line for line in lines[at:] if not _is_data(line[0]))]
    bom = like.raw[: len(like.raw) - len(text)]
    return bom + b"".join(map(_ended, kept, [*kept[1:], (b"", b"")]))


def _ended(line: tuple[bytes, bytes], following: tuple[bytes, bytes]) -> bytes:
    """A line with its end: that of the empty line behind it, where the two together could be read as something else. A
    carriage return and a line feed would be one end, not two.
    """
    mixed = following in ((b"", b"\n"), (b"", b"\r\n")) and line[1] != b"\r\n"
    return line[0] + (following[1] if mixed else line[1])


def _without_bom(like: Event) -> bytes:
    """The text of an event. A byte order mark is one at the very start of a stream; later it is part of a name that
    nobody knows.
    """
    text = like.raw.removeprefix(BOM)
    return text if _fields(text)[0] == like.data else like.raw


def _is_data(line: bytes) -> bool:
    return line == b"data" or line.startswith(b"data:")


def _fields(text: bytes) -> tuple[bytes | None, str]:
    """Data and name of an event. Comments, `id`, `retry` and unknown fields say neither."""
    data: list[bytes] = []
    name = b""
    for line in re.split(rb"\r\n|\r|\n", text):
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ")
    return (b"\n".join(data) if data else None), name.decode("utf-8", "replace")
