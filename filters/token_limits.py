"""What an exchange may cost in tokens, what it has cost, and how that is laid on its limits. All pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

from extproc.core.filter import Reading
from extproc.core.headers import Headers
from extproc.core.message import Request, Response
from extproc.errors import Malformed
from extproc.ports import Demand
from extproc_filters.limiter import Taken
from extproc_filters.limits import Rule
from extproc_filters.pii.media import Coding, read_coding
from extproc_filters.usage.answer import Seen
from extproc_filters.usage.counts import MOST, Usage

BODILESS: Final = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})
"""Methods whose requests have no body unless they say so."""

LINES: Final = frozenset(
    f"application/{name}"
    for name in ("x-ndjson", "ndjson", "jsonl", "x-jsonlines", "jsonlines", "json-seq", "jsonstream")
)
"""What nobody has registered, but for `json-seq` (RFC 7464)."""

EMPTY: Final = frozenset({204, 304})
"""Statuses of answers without a body (RFC 9110 section 6.4.1)."""


@dataclass(slots=True)
class Fate:
    """What became of a reservation. A refusal stands at once, whatever its return takes: that waits for the end."""

    refused: bool = False


@dataclass(frozen=True, slots=True)
class Reserved:
    """What an exchange has taken so far. `tokens` is what it may cost, `prompt` what of that is the request's own; `bodiless`:
    there is none. `asked`: we made its stream tell the usage. `seen` is what is known of the answer.
    """

    takes: tuple[Taken, ...]
    tokens: int
    prompt: int
    bodiless: bool = False
    asked: bool = False
    seen: Seen | None = None
    fate: Fate = field(default_factory=Fate, compare=False)


def length_of(headers: Headers) -> int | None:
    """`content-length`, or None if there is none that can be read."""
    text = headers.get("content-length") or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 18 else None


def is_bodiless(request: Request) -> bool:
    length = length_of(request.headers)
    chunked = "transfer-encoding" in request.headers
    return length == 0 or (length is None and request.method in BODILESS and not chunked)


def more_of(taken: Taken, tokens: int) -> tuple[tuple[Rule, ...], tuple[Demand, ...]]:
    """What is still to be taken if the exchange may cost so many tokens."""
    pairs = [
        (rule, replace(demand, cost=min(tokens, rule.most) - demand.cost))
        for rule, demand in zip(taken.rules, taken.demands, strict=True)
        if rule.tokens and min(tokens, rule.most) > demand.cost
    ]
    return tuple(rule for rule, _ in pairs), tuple(demand for _, demand in pairs)


def price(reserved: Reserved, status: int | None, taken: int, *, reached: bool) -> int:
    """Tokens that a limit of which so many were taken is charged in the end. `status` is the answer's, None if none came.

    What is told counts. Where nothing sensible is told to the end, it is the most that is known: what was taken, what was
    told so far, what the bytes come to. An error costs nothing unless it tells a usage, nor does what went nowhere.
    """
    seen = reserved.seen or Seen()
    if not reached:
        return 0
    if seen.usage and seen.whole:
        return seen.usage.total
    if status is not None and status >= 400 and not seen.usage and not seen.unreadable:
        return 0
    if reserved.bodiless and not seen.usage:
        return taken
    return min(MOST, max(taken, reserved.prompt + seen.size, seen.usage.total if seen.usage else 0))


def charges(reserved: Reserved, status: int | None, *, reached: bool) -> Iterator[tuple[Taken, list[int]]]:
    """What of each question was used in the end: of a limit's charge the earlier question bears what it took, and the last
    the rest. A request that was counted stays counted.
    """
    whole: dict[bytes, int] = {}
    for demand in _of_tokens(reserved):
        whole[demand.counter] = whole.get(demand.counter, 0) + demand.cost
    left = {counter: price(reserved, status, taken, reached=reached) for counter, taken in whole.items()}
    last = {demand.counter: demand for demand in _of_tokens(reserved)}
    for taken in reserved.takes:
        used: list[int] = []
        for rule, demand in zip(taken.rules, taken.demands, strict=True):
            if not rule.tokens:
                used.append(demand.cost)
            else:
                rest = left[demand.counter]
                used.append(rest if last[demand.counter] is demand else min(rest, demand.cost))
                left[demand.counter] -= used[-1]
        yield taken, used


def _of_tokens(reserved: Reserved) -> Iterator[Demand]:
    for taken in reserved.takes:
        for rule, demand in zip(taken.rules, taken.demands, strict=True):
            if rule.tokens:
                yield demand


def told(usage: Usage | None) -> Mapping[str, int | str]:
    """The usage as a report."""
    if usage is None:
        return {}
    return {"input_tokens": usage.input, "output_tokens": usage.output, "total_tokens": usage.total}


class Kind(Enum):
    """What an answer is, by its content type."""

    STREAM = "an event stream"
    JSON = "JSON"
    LINES = "JSON on each line"
    TEXT = "text, or who knows"
    OTHER = "no text"


def media_type(headers: Headers) -> str:
    return (headers.get("content-type") or "").partition(";")[0].strip().lower()


def is_json(headers: Headers) -> bool:
    kind = media_type(headers)
    return kind == "application/json" or kind.endswith("+json")


def kind_of(headers: Headers) -> Kind:
    kind = media_type(headers)
    if kind == "text/event-stream":
        return Kind.STREAM
    if is_json(headers):
        return Kind.JSON
    if kind in LINES:
        return Kind.LINES
    return Kind.TEXT if kind.startswith("text/") or not kind else Kind.OTHER


def coding_of(headers: Headers) -> tuple[bool, Coding | None]:
    """Whether the content encoding is one that we read, and which."""
    try:
        return True, read_coding(headers)
    except Malformed:
        return False, None


def answer_reading(request: Request, response: Response, *, rewrites: bool) -> Reading:
    """How much of an answer is needed; `rewrites`: whether an event stream is to be changed."""
    kind = kind_of(response.headers)
    empty = request.method == "HEAD" or response.status in EMPTY or length_of(response.headers) == 0
    if empty or kind is Kind.OTHER:
        return Reading.NOTHING
    readable, _ = coding_of(response.headers)
    return Reading.STREAM if rewrites and readable and kind is Kind.STREAM else Reading.WATCH
