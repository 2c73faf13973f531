"""What a dialect is: how a request is read, and how an answer is said, at once or as events."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from extproc.stub.events import Event
from extproc.stub.said import Json, Question, Said


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: its JSON object, and the parts of its path that vary."""

    body: Json
    path: Mapping[str, str]
    events: bool
    """Whether the query asks for events (Gemini's `alt=sse`)."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """One operation of one provider's API. `streams`: whether the answer is to be a stream, and of what."""

    path: str
    read: Callable[[Asked], Question]
    whole: Callable[[Said, Asked], Json]
    error: Callable[[int], Json]
    events: Callable[[Said, Asked], Iterator[Event]] | None = None
    streams: Callable[[Asked], bool] = lambda asked: asked.body.get("stream") is True
    array: Callable[[Asked], bool] = lambda _: False
    """Whether the stream is a JSON array, and no text/event-stream."""
