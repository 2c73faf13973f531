"""The usage that an answer tells, read while it passes."""

import re
from dataclasses import dataclass
from typing import Final, Protocol

from extproc.errors import Malformed
from extproc_filters.sse import Event, Events
from extproc_filters.usage.counts import Usage
from extproc_filters.usage.members import Members
from extproc_filters.usage.size import Deltas, tokens_of
from extproc_filters.usage.told import NAMES, TREE, Told

USAGE: Final = re.compile(rb'"usage(?:Metadata)?"[ \t\r\n]*+:[ \t\r\n]*+\{')
"""What an event that tells a usage holds somewhere. Within a JSON string its quotes would be escaped."""

DATA: Final = b"data:"
DONE: Final = b"[DONE]"
LINE_END: Final = re.compile(rb"[\r\n]")

HELD: Final = 64 * 1024
"""Bytes of an event that are held until it is whole; larger ones are read as they come."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of an answer. `usage` is the last that was told, `unreadable` says that the last was no sensible one;
    `size` is an estimate of the tokens that were seen; `whole`: nothing that counts can have followed.
    """

    usage: Usage | None = None
    unreadable: bool = False
    size: int = 0
    whole: bool = False


class Answer(Protocol):
    """An answer as it passes, decoded. It never fails: what cannot be read is not known."""

    def feed(self, data: bytes) -> None: ...

    def end(self) -> None:
        """The answer has ended, and was not broken off."""
        ...

    def seen(self) -> Seen: ...


class Other:
    """An answer whose bytes are counted."""

    def __init__(self) -> None:
        self._bytes = 0
        self._ended = False

    def feed(self, data: bytes) -> None:
        self._bytes += len(data)

    def end(self) -> None:
        self._ended = True

    def seen(self) -> Seen:
        return Seen(size=tokens_of(self._bytes), whole=self._ended)


class Json:
    """One JSON document, or one list of them. Only its usage is kept."""

    def __init__(self) -> None:
        self._told = Told()
        self._members: Members | None = Members(TREE)
        self._bytes = 0
        self._ended = False

    def feed(self, data: bytes) -> None:
        self._bytes += len(data)
        if self._members is None or not data:
            return
        try:
            self._told.take(self._members.feed(data))
        except Malformed:
            self._members = None

    def end(self) -> None:
        self._ended = True

    def seen(self) -> Seen:
        """A document that breaks or does not end tells nothing."""
        whole = self._members is not None and self._members.complete
        usage = self._told.usage if whole else None
        return Seen(usage, self._told.unreadable, tokens_of(self._bytes), whole or self._ended)


class Stream:
    """An event stream. An event is held while it is not whole, up to HELD bytes."""

    def __init__(self) -> None:
        self._events = Events(HELD, parts=True)
        self._told = Told()
        self._deltas = Deltas()
        self._large: Large | None = None
        self._ended = False

    def feed(self, data: bytes) -> None:
        for event in self._events.feed(data):
            self.read(event)

    def end(self) -> None:
        for event in self._events.close():
            self.read(event)
        self._ended = True

    def read(self, event: Event) -> None:
        """The next event, for one who has taken the stream apart already."""
        if event.more or self._large:
            self._read_part(event)
        elif event.data is not None:
            if event.data == DONE:
                self._ended = True
                return
            self._deltas.add(len(event.data), event.name)
            if USAGE.search(event.data):
                self._read(event.data)

    def so_far(self, prompt: int) -> int:
        """Tokens up to here: as they were told, or else `prompt` and an estimate of the answer's."""
        return self._told.usage.total if self._told.usage else prompt + self._size

    def seen(self) -> Seen:
        told = self._told
        return Seen(told.usage, told.unreadable, self._size, self._ended or told.final)

    @property
    def _size(self) -> int:
        return self._deltas.tokens + (tokens_of(self._large.size) if self._large else 0)

    def _read(self, data: bytes) -> None:
        members = Members(TREE)
        try:
            found = members.feed(data)
        except Malformed:
            self._told.spoil()
            return
        self._told.take(found)
        if not members.complete:
            self._told.spoil()

    def _read_part(self, event: Event) -> None:
        self._large = self._large or Large(self._told)
        self._large.feed(event.raw)
        if not event.more:
            self._large.end()
            self._deltas.add(self._large.size, "")
            self._large = None


class Lines(Stream):
    """One document on each line (`application/x-ndjson`, as Ollama streams): read as events are."""

    def __init__(self) -> None:
        super().__init__()
        self._line = bytearray()

    def feed(self, data: bytes) -> None:
        *whole, rest = data.split(b"\n")
        for each in whole:
            self._read_line(bytes(self._line) + each)
            self._line.clear()
        self._line += rest
        if len(self._line) > HELD:
            self._read_line(bytes(self._line))
            self._line.clear()

    def end(self) -> None:
        self._read_line(bytes(self._line))
        self._line.clear()
        super().end()

    def _read_line(self, line: bytes) -> None:
        if line.strip():
            self.read(Event(line, line, ""))


class Large:
    """An event that comes in parts. The names of its fields are taken out as it comes; what is left is its data."""

    def __init__(self, told: Told) -> None:
        self.size = 0
        self._told = told
        self._tells = False
        self._members: Members | None = Members(TREE)
        self._line = b""  # the beginning of the line, while its field is not known

    def feed(self, raw: bytes) -> None:
        for number, text in enumerate(LINE_END.split(raw)):
            if number:
                self._line = b""
            self._data(self._field(text))

    def end(self) -> None:
        """A usage in what proves to be no document is none."""
        if self._tells and not (self._members and self._members.complete):
            self._told.spoil()

    def _field(self, text: bytes) -> bytes:
        """What `text`, the next of its line, adds to the data."""
        if len(self._line) < len(DATA):
            text = self._line + text
            self._line, text = text[: len(DATA)], text[len(DATA) :]
        return text if self._line == DATA else b""

    def _data(self, data: bytes) -> None:
        self.size += len(data)
        if self._members is None or not data:
            return
        try:
            found = self._members.feed(data)
        except Malformed:
            self._members = None
        else:
            self._tells = self._tells or any(member.path and member.path[-1] in NAMES for member in found)
            self._told.take(found)
