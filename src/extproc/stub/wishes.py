"""What a request may ask of the stub: `x-stub-*`, as headers or as members of the body's `metadata`."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from extproc.schema import seconds
from extproc.stub.received import Received

PREFIX: Final = "x-stub-"
ENDS: Final[Mapping[str, bytes]] = {"lf": b"\n", "crlf": b"\r\n", "cr": b"\r"}
CODINGS: Final = ("gzip", "deflate", "br")
NONE: Final = "none"


class Unreadable(ValueError):
    """A wish that is not understood; the text says what would be."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """How an answer is to be given. The header of `break_after` is `x-stub-break-after`, and so on."""

    delta: int | None = None
    """Characters in each piece of a text, where it is not words; of a transcript, bytes."""
    delay: float = 0.0
    """Seconds before each event. Written with a unit."""
    gate: str | None = None
    """Each event waits for its `POST /__release/<gate>`."""
    status: int | None = None
    """Answer with this error."""
    fail_first: str | None = None
    """Only the first request with this word fails: with `status`, else 503."""
    retry_after: str | None = None
    """That header, for an error."""
    lines: bytes = b"\n"
    """The line end of events: `lf`, `crlf`, `cr`."""
    noise: bool = False
    """Comments, keep-alives, retry times and unknown fields between events. `yes` or `no`, as for all that are bool."""
    multiline: bool = False
    """The data of each event over several lines."""
    long: int = 0
    """So many bytes more in the first event."""
    coding: str | None = None
    """The content coding: `gzip`, `deflate`, `br`."""
    trailers: bool = False
    """An answer in chunks that ends with a trailer."""
    usage: tuple[Any, Any] | str | None = None
    """The input and output tokens that are claimed, any JSON: `100/20`, `-1/"many"`. None at all: `none`."""
    break_after: int | None = None
    """Break the connection off after so many events; a whole answer, in its middle."""
    transcript: str | None = None
    """Answer with these bytes, which were `PUT` to `/__transcripts/<name>` before; with `status`, if that is given."""


def read_wishes(received: Received) -> Wishes:
    """The wishes of a request; of two for the same thing the header's counts. Raises: Unreadable."""
    found: dict[str, Any] = {}
    for name, text in [*_metadata(received.body), *received.headers]:
        if name.lower().startswith(PREFIX):
            wish = name.lower().removeprefix(PREFIX)
            if wish not in READERS:
                raise Unreadable(f"{name} is no wish; there are {', '.join(PREFIX + known for known in READERS)}")
            try:
                found[wish.replace("-", "_")] = READERS[wish](text)
            except ValueError as error:
                raise Unreadable(f"{name}: {error}") from error
    return Wishes(**found)


def _metadata(body: bytes) -> Iterator[tuple[str, str]]:
    """The members of the body's `metadata` that are texts."""
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError:
        return
    metadata = asked.get("metadata") if isinstance(asked, dict) else None
    for name, value in (metadata if isinstance(metadata, dict) else {}).items():
        if isinstance(value, str):
            yield name, value


def _number(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most):
            raise ValueError(f"{text!r} is no number from {least} to {most}")
        return int(text)

    return read


def _one_of(known: Mapping[str, Any]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        if text not in known:
            raise ValueError(f"{text!r} is none of {', '.join(known)}")
        return known[text]

    return read


def _usage(text: str) -> tuple[Any, Any] | str:
    given, slash, made = text.partition("/")
    if text == NONE:
        return NONE
    try:
        return orjson.loads(given), orjson.loads(made if slash else "")
    except orjson.JSONDecodeError:
        raise ValueError(f"{text!r} is no usage: write none, or two JSON values such as 100/20") from None


_FLAG: Final = _one_of({"yes": True, "no": False})

READERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "delta": _number(1, 1_000_000),
    "delay": seconds,
    "gate": str,
    "status": _number(400, 599),
    "fail-first": str,
    "retry-after": str,
    "lines": _one_of(ENDS),
    "noise": _FLAG,
    "multiline": _FLAG,
    "long": _number(0, 100_000_000),
    "coding": _one_of({name: name for name in CODINGS}),
    "trailers": _FLAG,
    "usage": _usage,
    "break-after": _number(0, 1_000_000),
    "transcript": str,
}
