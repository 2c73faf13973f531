"""The engine alone, and the codec: microseconds of one core, with no wire between."""

import asyncio
import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

from extproc import Continue, Exchange, Phase, Verdict
from extproc.core.admission import Admission
from extproc.core.chain import Chain
from extproc.core.engine import Engine, Selection
from extproc.core.event import BodyMode, Event, Outcome, Record
from extproc.core.headers import Headers
from extproc.core.secret import Secret
from extproc.core.session import Session
from extproc.testing import FixedPolicy, body, chain, headers, link, response
from extproc.wire.codec import decode, encode, parse, serialize
from extproc.wire.pace import PACE
from extproc.wire.pb.external_processor_pb2 import ProcessingRequest

ROUNDS = 15
EXCHANGES = 1000
FILTERS = 4
HEADERS = 20
PHASES = (Phase.REQUEST_HEADERS, Phase.REQUEST_BODY, Phase.RESPONSE_HEADERS)
NOTHING = Continue()


@dataclass(frozen=True)
class Cost:
    """Microseconds of one core: the median of the rounds, and the best of them."""

    name: str
    median: float
    best: float


class Nothing:
    """A filter that does nothing."""

    phases: ClassVar[frozenset[Phase]] = frozenset(PHASES)

    async def decide(self, phase: Phase, exchange: Exchange) -> Verdict:  # noqa: ARG002 - the protocol's signature
        return NOTHING


def measure() -> list[Cost]:
    """All of it, in about five seconds."""
    return [*asyncio.run(_phases()), *_codec()]


def nothing_engine() -> Engine:
    """With FILTERS extensions in each phase that do nothing."""
    return Engine(FixedPolicy(Selection(_nothing_chain())), PACE, Admission(), _unmasked, _untold)


def _nothing_chain() -> Chain:
    return chain(*(link(Nothing(), f"{phase}-{n}", phase=phase) for phase in PHASES for n in range(FILTERS)))


def events() -> tuple[Event, ...]:
    """An exchange of three phases."""
    fields = {f"x-header-{number}": f"value-{number}" * 4 for number in range(HEADERS - 4)}
    modes = (BodyMode.BUFFERED, BodyMode.BUFFERED)
    return (
        replace(headers(fields), configured=modes),
        body(b"x" * 2048),
        response(200, {**fields, "content-type": "application/json"}),
    )


async def _phases() -> list[Cost]:
    """One exchange of three phases, over and over; each phase is timed apart, and the two clock readings are in it."""
    engine, played = nothing_engine(), events()
    rounds = [await _round(engine, played) for _ in range(ROUNDS + 1)][1:]  # the first warms up
    return [
        Cost(f"engine, {phase}", statistics.median(times), min(times))
        for phase, times in zip((*PHASES, "begin and close"), zip(*rounds, strict=True), strict=True)
    ]


async def _round(engine: Engine, events: tuple[Event, ...]) -> list[float]:
    """Microseconds of each phase, and of the beginning and end of an exchange."""
    spent = [0] * (len(events) + 1)
    clock = time.perf_counter_ns
    await asyncio.sleep(0)
    gc.collect()
    for _ in range(EXCHANGES):
        start = clock()
        session = Session(engine)
        spent[-1] += clock() - start
        for number, event in enumerate(events):
            start = clock()
            await session.step(event)
            spent[number] += clock() - start
        start = clock()
        session.close()
        spent[-1] += clock() - start
    return [nanoseconds / EXCHANGES / 1000 for nanoseconds in spent]


def _codec() -> list[Cost]:
    """A request's headers in, an answer that sets two headers out; with and without the bytes on the wire."""
    event = events()[0]
    message = ProcessingRequest()
    for name, value in event.fields:
        if isinstance(value, bytes):
            message.request_headers.headers.headers.add(key=name, raw_value=value)
    data = message.SerializeToString()
    outcome = asyncio.run(_answer(event))
    return [
        _timed("codec, bytes to event", lambda: parse(data)),
        _timed("codec, message to event", lambda: decode(message)),
        _timed("codec, outcome to message", lambda: encode(outcome)),
        _timed("codec, outcome to bytes", lambda: serialize(outcome)),
    ]


async def _answer(event: Event) -> Outcome:
    class SetsTwo(Nothing):
        async def decide(self, phase: Phase, exchange: Exchange) -> Verdict:  # noqa: ARG002
            return Continue(set_headers={"authorization": "Bearer " + "x" * 40, "x-added": "value"})

    engine = Engine(FixedPolicy(Selection(chain(SetsTwo()))), PACE, Admission(), _unmasked, _untold)
    return (await Session(engine).step(event))[0]


def _timed(name: str, work: Callable[[], object]) -> Cost:
    rounds = []
    for _ in range(ROUNDS):
        gc.collect()
        start = time.perf_counter_ns()
        for _ in range(EXCHANGES):
            work()
        rounds.append((time.perf_counter_ns() - start) / EXCHANGES / 1000)
    return Cost(name, statistics.median(rounds), min(rounds))


def _unmasked(fields: Headers, secrets: tuple[Secret, ...]) -> Headers:  # noqa: ARG001 - the engine's signature
    return fields


def _untold(record: Record) -> None:
    """Nobody listens."""
