"""The servers alone: conversations of headers and a body, without Envoy, by ghz."""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from bench import ghz
from bench.amount import Amount
from bench.conversation import conversation, messages
from bench.gateway import tail, written
from bench.legs import CONSTANT, GO_HEADER, Leg, Server, four_in_memory, header, serving
from bench.load import Load
from bench.process import cpu_seconds
from bench.ready import await_serving
from bench.through_envoy import request_body
from extproc.wire.codec import SERVICE
from extproc.wire.pb.external_processor_pb2 import ProcessingRequest, ProcessingResponse

PATIENCE = 20.0
WARM_UP = 500
"""Conversations."""


@dataclass(frozen=True)
class Alone:
    """`cpu`: microseconds of the server's processor time for each conversation, with as many callers as it can take."""

    leg: Leg
    closed: Load
    steady: tuple[Load, ...]
    cpu: float


@dataclass(frozen=True)
class Running:
    """`ready`: seconds from its start until it said SERVING."""

    leg: Leg
    socket: Path
    data: Path
    pid: int
    ready: float

    def closed(self, seconds: int) -> tuple[Load, float]:
        before = cpu_seconds(self.pid)
        load = ghz.closed(self.socket, self.data, seconds=seconds)
        return load, (cpu_seconds(self.pid) - before) * 1e6 / max(1, load.requests)


def legs(servers: Sequence[Server]) -> tuple[Leg, ...]:
    """In-process there is nothing to call."""
    ours = [server for server in servers if server is not Server.INSIDE]
    both = [(header(server), four_in_memory(server)) for server in ours]
    return (GO_HEADER, CONSTANT, *(leg for pair in both for leg in pair))


def measure(wanted: Sequence[Leg], amount: Amount, progress: Callable[[str], None]) -> list[Alone]:
    """One after the other; then each at the same rates, parts of what the slowest can. Raises: RuntimeError."""
    closed: dict[Leg, tuple[Load, float]] = {}
    for leg in wanted:
        progress(f"{leg.name}, {ghz.CALLERS} at a time")
        with alone(leg) as running:
            ghz.many(running.socket, running.data, WARM_UP)
            closed[leg] = running.closed(amount.direct)
    slowest = min(load.rate for load, _ in closed.values())
    rates = [round(slowest * fraction, -1) or 10.0 for fraction in amount.fractions]
    found = []
    for leg in wanted:
        progress(f"{leg.name}, at {' and '.join(f'{rate:,.0f}' for rate in rates)} a second")
        with alone(leg) as running:
            ghz.many(running.socket, running.data, WARM_UP)
            steady = tuple(ghz.steady(running.socket, running.data, rate=rate, seconds=amount.direct) for rate in rates)
        found.append(Alone(leg, closed[leg][0], steady, closed[leg][1]))
    return found


@contextmanager
def alone(leg: Leg) -> Iterator[Running]:
    """The server of `leg`, ready, and the conversation for it. Raises: RuntimeError."""
    with tempfile.TemporaryDirectory(prefix="xpb-") as name:
        directory = Path(name)
        config = written(leg.config, directory)
        data = directory / "conversation.json"
        data.write_text(conversation(request_body(), buffered=leg.config == "four"))
        begun = time.monotonic()
        with serving(leg, directory, config) as pid:
            if pid is None:
                raise RuntimeError(f"{leg.name} is in Envoy's process: there is nothing to call")
            socket = directory / "extproc.sock"
            try:
                await_serving(socket, pid, PATIENCE)
            except RuntimeError as error:
                raise RuntimeError(f"{leg.name}: {error}; the logs end with:\n{tail(directory)}") from None
            ready = time.monotonic() - begun
            converse(socket, data)
            yield Running(leg, socket, data, pid, ready)


def converse(socket: Path, data: Path) -> list[ProcessingResponse]:
    """The answers to the conversation in the file `data`. Raises: RuntimeError, if it is refused."""
    answers: list[ProcessingResponse] = []
    with grpc.insecure_channel(f"unix:{socket}") as channel:
        call = channel.stream_stream(
            f"/{SERVICE}/Process",
            request_serializer=ProcessingRequest.SerializeToString,
            response_deserializer=ProcessingResponse.FromString,
        )
        try:
            for answer in call(iter(messages(data.read_text())), timeout=PATIENCE):
                answers.append(answer)
                if answer.HasField("immediate_response"):
                    told = answer.immediate_response
                    raise RuntimeError(f"the conversation is refused with {told.status.code}: {told.body.decode()}")
        except grpc.RpcError as error:
            raise RuntimeError(f"the conversation is broken off: {error}") from None
    return answers
