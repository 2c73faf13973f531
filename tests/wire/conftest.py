"""A policy of one chain, filters made of one function, and a client that speaks ext_proc to a real server."""

import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import grpc.aio
import pytest

from extproc.core.admission import Admission
from extproc.core.chain import Chain
from extproc.core.engine import Engine, Selection
from extproc.core.event import Record
from extproc.core.exchange import Exchange
from extproc.core.link import Link
from extproc.core.message import Request
from extproc.core.peer import Backend
from extproc.core.phase import Phase
from extproc.core.verdict import Continue, Verdict
from extproc.wire.codec import mask
from extproc.wire.http2.server import Server
from extproc.wire.listener import Listener
from extproc.wire.pace import PACE
from extproc.wire.pb.external_processor_pb2 import ProcessingRequest, ProcessingResponse
from tests.calls import process


@dataclass(frozen=True)
class OneChain:
    """The same chain for every request."""

    chain: Chain
    backend: Backend | None = None
    gateway: str = "egress/egress"
    budget: float = 5.0
    identity_headers: frozenset[str] = frozenset()
    request_trailers: frozenset[str] = frozenset()

    def select(self, request: Request, cluster: str) -> Selection:
        return Selection(self.chain, backend=self.backend)


class Doing:
    """A filter that does what it is told."""

    phases: ClassVar[frozenset[Phase]] = frozenset(Phase)

    def __init__(self, deed: Callable[[Exchange], Awaitable[Verdict]]) -> None:
        self.deed = deed

    async def decide(self, phase: Phase, exchange: Exchange) -> Verdict:
        return await self.deed(exchange)


async def go_on(exchange: Exchange) -> Verdict:
    return Continue(set_headers={"x-seen": "yes"})


@dataclass
class Told:
    records: list[Record] = field(default_factory=list)


ANYWHERE = Backend("egress", "any", "api.example.com", 443, frozenset({""}))
"""A backend that fits a request without `xds.cluster_name`."""


def chain_of(
    *deeds: Callable[[Exchange], Awaitable[Verdict]], phase: Phase = Phase.REQUEST_HEADERS, timeout: float = 10
) -> Chain:
    links = (Link(f"f{n}", phase, Doing(deed), n, timeout=timeout) for n, deed in enumerate(deeds))
    return Chain(tuple(links), authentication=False)


def engine_of(chain: Chain, told: Told | None = None, *, backend: bool = False) -> Engine:
    policy = OneChain(chain, ANYWHERE if backend else None)
    return Engine(policy, PACE, Admission(), mask, (told or Told()).records.append)


def headers(*, end: bool = True, body_mode: int = 0, **more: str) -> ProcessingRequest:
    message = ProcessingRequest()
    fields = {":method": "GET", ":scheme": "http", ":authority": "api.example.com", ":path": "/v1", **more}
    for name, value in fields.items():
        message.request_headers.headers.headers.add(key=name, raw_value=value.encode("latin-1"))
    message.request_headers.end_of_stream = end
    message.protocol_config.request_body_mode = body_mode
    return message


def body(data: bytes, *, end: bool = True) -> ProcessingRequest:
    message = ProcessingRequest()
    message.request_body.body = data
    message.request_body.end_of_stream = end
    return message


def response_headers(fields: Mapping[str, str] | None = None) -> ProcessingRequest:
    message = ProcessingRequest()
    for name, value in {":status": "200", **(fields or {})}.items():
        message.response_headers.headers.headers.add(key=name, raw_value=value.encode("latin-1"))
    message.response_headers.end_of_stream = True
    return message


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for sockets."""
    path = Path(tempfile.mkdtemp(prefix="xp-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@asynccontextmanager
async def serving(
    folder: Path, chain: Chain, told: Told | None = None, *, backend: bool = False, **more: Any
) -> AsyncIterator[Server]:
    options: dict[str, Any] = {"max_receive_bytes": 1024 * 1024, "ready": lambda: True, **more}
    engine = engine_of(chain, told, backend=backend)
    server = Server(lambda: engine, [Listener(f"unix://{folder}/x.sock")], **options)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def connected(folder: Path, **options: int) -> AsyncIterator[grpc.aio.Channel]:
    named = [(f"grpc.{name}", value) for name, value in options.items()]
    async with grpc.aio.insecure_channel(f"unix:{folder}/x.sock", options=named) as channel:
        yield channel


def stream(channel: grpc.aio.Channel) -> Any:
    return process(channel)()


async def play(channel: grpc.aio.Channel, *messages: ProcessingRequest) -> list[ProcessingResponse]:
    """The answers to `messages`, one by one, of a stream that then ends with OK."""
    call = stream(channel)
    answers = []
    for message in messages:
        await call.write(message)
        answer = await call.read()
        assert answer is not grpc.aio.EOF, await call.code()
        answers.append(answer)
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK
    return answers
