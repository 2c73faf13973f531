"""Answers on their way to the client: read, and where it must be, changed."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

import orjson

from extproc import Verdict
from extproc.core.filter import EndOfBody
from extproc.core.verdict import DENIALS
from extproc.errors import Malformed, TooLarge
from extproc_filters.pii.media import Coding
from extproc_filters.sse import Event, Events
from extproc_filters.usage.answer import HELD, USAGE, Answer, Seen, Stream
from extproc_filters.usage.inflow import Inflow
from extproc_filters.usage.size import tokens_of

ROUNDS: Final = 64
LATE: Final = 256
"""Slices that are read of one piece of an answer, and of what had to wait when it has ended. One that is only watched is not
worth more time.
"""

Tell = Callable[[Seen], Verdict]
"""What is said of an answer when it is over, or has broken off."""


class Watch:
    """An answer that is read, and left alone whatever it is."""

    def __init__(self, answer: Answer, coding: Coding | None, tell: Tell) -> None:
        self._answer = answer
        self._inflow = Inflow(coding)
        self._tell = tell
        self._readable = True
        self._unread = 0
        self._rounds = 0

    @property
    def behind(self) -> bool:
        return self._readable and self._inflow.behind and self._rounds < ROUNDS

    def feed(self, chunk: bytes) -> bytes:
        if not self._readable:
            self._unread += len(chunk)
            return chunk
        self._rounds = 0 if chunk else self._rounds + 1
        try:
            for data in self._inflow.put(chunk):
                self._answer.feed(data)
        except (Malformed, TooLarge):
            self._readable = False
        return chunk

    def finish(self) -> Iterator[bytes]:
        if not self._readable:
            return
        try:
            for data in islice(self._inflow.rest(), LATE):
                self._answer.feed(data)
                yield b""
        except (Malformed, TooLarge):
            self._readable = False
        if self._inflow.finished:
            self._answer.end()

    def conclude(self) -> Verdict:
        seen = self._answer.seen()
        return self._tell(replace(seen, size=seen.size + tokens_of(self._unread + self._inflow.waiting)))


@dataclass(frozen=True, slots=True)
class Cut:
    """Ends a stream when it has cost more than `most` tokens, `prompt` of them for the request."""

    most: float
    prompt: int
    request_id: str = ""


class Rewrite:
    """An event stream that is taken apart: `strip` takes out the event that tells the usage because we asked for it. Whatever
    stays, stays as it is, byte for byte.
    """

    def __init__(self, coding: Coding | None, tell: Tell, *, strip: bool, cut: Cut | None = None) -> None:
        self._inflow = Inflow(coding)
        self._events = Events(HELD, parts=True)
        self._stream = Stream()
        self._tell = tell
        self._strip = strip
        self._cut = cut
        self._named = False

    @property
    def behind(self) -> bool:
        return self._inflow.behind

    def feed(self, chunk: bytes) -> bytes:
        """Raises: EndOfBody; Malformed and TooLarge, if it cannot be decoded."""
        passed: list[bytes] = []
        for data in self._inflow.put(chunk):
            for event in self._events.feed(data):
                passed.append(self._passed(event))
                if self._cut and self._stream.so_far(self._cut.prompt) > self._cut.most:
                    raise EndOfBody(b"".join(passed) + self._error(event, self._cut))
        return b"".join(passed)

    def finish(self) -> Iterator[bytes]:
        """Raises: Malformed, also if the end of what is encoded is missing."""
        for data in self._inflow.rest():
            yield b"".join(map(self._passed, self._events.feed(data)))
        yield from map(self._passed, self._events.close())
        self._stream.end()

    def conclude(self) -> Verdict:
        return self._tell(self._stream.seen())

    def _passed(self, event: Event) -> bytes:
        self._named = self._named or bool(event.name)
        self._stream.read(event)
        return b"" if self._strip and is_extra(event) else event.raw

    def _error(self, last: Event, cut: Cut) -> bytes:
        """What a client reads as an error: OpenAI's by its `error`, Anthropic's by the event's name and its `type`."""
        code = "rate_limited"
        error = {"type": "egress_denied", "code": code, "message": DENIALS[code][1], "request_id": cut.request_id}
        begin = b"\n\n" if last.more else b""
        if self._named:
            return begin + b"event: error\ndata: %b\n\n" % _json({"type": "error", "error": error})
        return begin + b"data: %b\n\n" % _json({"error": error})


def is_extra(event: Event) -> bool:
    """Whether this is the event that OpenAI's `include_usage` adds: no choice, and the usage."""
    if event.data is None or not USAGE.search(event.data):
        return False
    try:
        found = orjson.loads(event.data)
    except ValueError:
        return False
    return isinstance(found, dict) and found.get("choices") == [] and isinstance(found.get("usage"), dict)


def _json(value: object) -> bytes:
    return json.dumps(value).encode()
