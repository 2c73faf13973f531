"""Events of a text/event-stream as bytes, in each form that the standard (WHATWG HTML, section 9.2) allows."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import orjson

from extproc.stub.wishes import Wishes

PADDING: Final = "obfuscation"
"""The member that OpenAI fills with random text, so that lengths tell nothing."""


class Event(NamedTuple):
    """One event. `value`: a JSON object, or a text as it is."""

    value: Mapping[str, Any] | str
    name: str = ""


def framed(events: Iterable[Event], wishes: Wishes) -> Iterator[bytes]:
    """The bytes of each event, with all that comes before it."""
    # No `id` in the noise: after one, the client of openai 3.52 takes each empty line for an event.
    for number, event in enumerate(events):
        padded = _padded(event, wishes.long) if number == 0 and wishes.long else event
        noise = [": keep-alive", "", ":", "retry: 3000", "unknown: field"] if wishes.noise else []
        lines = [*noise, *([f"event: {event.name}"] if event.name else []), *_data(padded, wishes), "", ""]
        yield wishes.lines.join(line.encode() for line in lines)


def _data(event: Event, wishes: Wishes) -> list[str]:
    if isinstance(event.value, str):
        return [f"data: {event.value}"]
    text = orjson.dumps(event.value, option=orjson.OPT_INDENT_2 if wishes.multiline else 0).decode()
    return [f"data:{line}" if wishes.noise else f"data: {line}" for line in text.split("\n")]


def _padded(event: Event, size: int) -> Event:
    if isinstance(event.value, str):
        return event
    return event._replace(value={**event.value, PADDING: "x" * size})
