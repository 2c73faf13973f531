"""What a streamed answer costs: for each event in the engine alone, and in time as a client sees it through Envoy."""

import asyncio
import gc
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.chat import REQUEST, answer
from bench.conversation import headers
from bench.gateway import written
from extproc.compose import configure, engine
from extproc.core.engine import Engine
from extproc.core.event import BodyMode, Record
from extproc.core.session import Session
from extproc.wire.codec import parse, serialize
from extproc.wire.pb.external_processor_pb2 import ProcessingRequest
from extproc.wire.pb.processing_mode_pb2 import ProcessingMode

ROUNDS = 5
EVENTS = 300
VARIANTS = {
    "token usage": ("x-without-restore",),
    "restore": ("x-without-tokens",),
    "token usage and restore": (),
}
"""What reads the stream, and the headers that switch the rest off."""


@dataclass(frozen=True)
class PerEvent:
    """Microseconds of one core for each event: the engine, and with the codec. `mode` is how Envoy sends the stream."""

    reads: str
    mode: str
    engine: float
    with_codec: float


def measure() -> list[PerEvent]:
    """About five seconds. Raises: RuntimeError."""
    with tempfile.TemporaryDirectory(prefix="xpb-") as directory:
        config = written("chat", Path(directory))
        return asyncio.run(_measure(config))


async def _measure(config: Path) -> list[PerEvent]:
    resolved = configure(config)
    shared = engine(resolved, untold)
    try:
        return [await _variant(shared, name, without) for name, without in VARIANTS.items()]
    finally:
        if resolved.outside:
            await resolved.outside.close()


async def _variant(shared: Engine, name: str, without: Sequence[str]) -> PerEvent:
    rounds = [await _round(shared, without) for _ in range(ROUNDS + 1)][1:]  # the first warms up
    alone, whole, modes = zip(*rounds, strict=True)
    return PerEvent(name, modes[0], statistics.median(alone), statistics.median(whole))


async def _round(shared: Engine, without: Sequence[str]) -> tuple[float, float, str]:
    session, mode = await begun(shared, without)
    pieces = [piece(data).SerializeToString() for data in answer(EVENTS)]
    gc.collect()
    spent, start = 0, time.perf_counter_ns()
    for each in pieces:
        event = parse(each)
        started = time.perf_counter_ns()
        outcomes = await session.step(event)
        spent += time.perf_counter_ns() - started
        for outcome in outcomes:
            serialize(outcome)
    took = time.perf_counter_ns() - start
    session.close()
    await asyncio.sleep(0.01)  # it settles
    return spent / len(pieces) / 1000, took / len(pieces) / 1000, mode.value


async def begun(shared: Engine, without: Sequence[str]) -> tuple[Session, BodyMode]:
    """An exchange whose answer's body is to come, and how it will come. Raises: RuntimeError."""
    session, mode = Session(shared), BodyMode.NONE
    for message in _until_the_answer(without):
        for outcome in await session.step(parse(message.SerializeToString())):
            mode = outcome.modes.response_body if outcome.modes else mode
    if mode in {BodyMode.NONE, BodyMode.BUFFERED}:
        raise RuntimeError(f"the chat is not streamed but {mode.value}")
    return session, mode


def _until_the_answer(without: Sequence[str]) -> Iterator[ProcessingRequest]:
    first = headers(len(REQUEST), buffered=True)
    first.protocol_config.response_body_mode = ProcessingMode.BUFFERED
    for name in without:
        first.request_headers.headers.headers.add(key=name, raw_value=b"yes")
    yield first
    body = ProcessingRequest()
    body.request_body.body, body.request_body.end_of_stream = REQUEST, True
    yield body
    response = ProcessingRequest()
    for name, value in {":status": b"200", "content-type": b"text/event-stream"}.items():
        response.response_headers.headers.headers.add(key=name, raw_value=value)
    response.attributes["envoy.filters.http.ext_proc"].fields["response.code_details"].string_value = "via_upstream"
    yield response


def piece(data: bytes) -> ProcessingRequest:
    """A piece of the answer; `[DONE]` is the last."""
    message = ProcessingRequest()
    message.response_body.body = data
    message.response_body.end_of_stream = data.startswith(b"data: [DONE]")
    return message


def untold(record: Record) -> None:
    """Nobody listens."""
