"""Records as OpenTelemetry spans: one for the exchange (or the try), one below it for each phase, and in that an event for each
extension. Names and words, as everywhere in a record.

They are made after the fact, so the engine knows nothing of them.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    TraceState,
    set_span_in_context,
)

from extproc.core.event import Record
from extproc.core.journal import Decision, Skip
from extproc.core.trace import Trace

NANO: Final = 1_000_000_000
LONGEST: Final = 256
"""Characters of a value: codes are words of filters'."""

MOST_MEMBERS: Final = 32
MEMBER: Final = re.compile(
    r"(?P<key>[a-z0-9][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
    r"=(?P<value>[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e])"
)
"""Of `tracestate` (W3C Trace Context, section 3.3.1.3)."""

Done = Decision | Skip


class Ended(SpanProcessor):
    """Keeps the spans that have ended until they are taken."""

    def __init__(self) -> None:
        self._spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self._spans.append(span)

    def __len__(self) -> int:
        return len(self._spans)

    def take(self) -> list[ReadableSpan]:
        taken, self._spans = self._spans, []
        return taken


def trace(tracer: Tracer, record: Record, ended: float, since: float) -> None:
    """Make the spans of `record`, which was told of at `ended`; both that and its own times are on a clock that stood at 0 at
    `since` (Unix seconds). Whether they are wanted is the sampler's to say.
    """

    def at(seconds: float) -> int:
        return int((since + (seconds or record.began or ended)) * NANO)

    name = "extproc try" if record.is_try else "extproc exchange"
    span = tracer.start_span(name, _parent(record.trace), attributes=dict(_about(record)), start_time=at(record.began))
    if span.is_recording():
        below = set_span_in_context(span, Context())
        for phase, done in _phases(record).items():
            part = tracer.start_span(phase, below, start_time=at(min(one.began for one in done)))
            for one in sorted(done, key=lambda one: one.ended):
                part.add_event("extension", _told(one), at(one.ended))
            part.end(at(max(one.ended for one in done)))
        for skip in record.unsettled:
            span.add_event("unsettled", _told(skip), at(skip.ended))
        _judge(span, record)
    span.end(at(ended))


def state_of(text: str) -> TraceState:
    """`tracestate` as it was written; an empty one if a member of it is none (section 3.3.1)."""
    members = [member.strip(" \t") for member in text.split(",")]
    found = [MEMBER.fullmatch(member) for member in members if member]
    pairs = {match["key"]: match["value"] for match in found if match}
    return TraceState(list(pairs.items())) if len(pairs) == len(found) <= MOST_MEMBERS else TraceState()


def _parent(trace: Trace | None) -> Context:
    """Where a span without a parent begins a trace of its own."""
    if trace is None:
        return Context()
    ids = int(trace.trace_id, 16), int(trace.parent_id, 16)
    context = SpanContext(*ids, is_remote=True, trace_flags=TraceFlags(trace.flags), trace_state=state_of(trace.state))
    return set_span_in_context(NonRecordingSpan(context), Context())


def _phases(record: Record) -> Mapping[str, list[Done]]:
    """What was done in each phase, in the order in which the phases were first met."""
    found: dict[str, list[Done]] = {}
    done: Iterable[Done] = (*record.decisions, *record.skips)
    for one in sorted(done, key=lambda one: one.began):
        found.setdefault(str(one.phase), []).append(one)
    return found


def _about(record: Record) -> Iterator[tuple[str, str]]:
    named = {
        "gateway": record.gateway,
        "route": record.route,
        "backend": record.backend,
        "namespace": record.namespace,
        "serviceAccount": record.service_account,
        "code": record.code,
        "cause": record.failure,
        "extension": record.extension,
        "phase": record.phase,
    }
    return ((f"extproc.{name}", value[:LONGEST]) for name, value in named.items() if value)


def _told(one: Done) -> dict[str, str | float]:
    told: dict[str, str | float] = {"extproc.extension": one.extension, "extproc.seconds": one.seconds}
    if isinstance(one, Skip):
        return {**told, "extproc.decision": "skipped", "extproc.cause": str(one.cause)}
    return {**told, "extproc.decision": one.word[:LONGEST]}


def _judge(span: Span, record: Record) -> None:
    """A failure is an error; a denial is what the exchange was to get."""
    if record.failure:
        span.set_status(Status(StatusCode.ERROR, str(record.failure)))
