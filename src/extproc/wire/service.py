"""The calls that are served, whatever carries them: ext_proc's one, and grpc.health.v1.

A stream that ends with OK tells Envoy to go on without us (PROTOCOL 1.4), so here is one place from which a stream can end
so: the client's own end, after every message was answered. Everything else is an error status with a fixed text.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, Protocol

from google.protobuf.message import DecodeError

from extproc.core.engine import Engine
from extproc.core.upstream import begin
from extproc.wire import codec
from extproc.wire.call import Gone
from extproc.wire.framing import ROOM
from extproc.wire.pb import health_pb2
from extproc.wire.standing import UNKNOWN, Standing
from extproc.wire.status import Ended, Status, ended

PRESENCE: Final = 5.0
"""Seconds after which it is seen whether one who watches is still there."""

GRPC: Final = re.compile(rb"application/grpc(?:\+proto)?(?:;.*)?")
INITIAL: Final = b"x-extproc-"
"""Of the initial metadata those that say what pass a stream is of."""

Fields = Iterable[tuple[bytes, bytes]]


class Call(Protocol):
    """A gRPC call, in the task that serves it. `gone`: the client went away, so that a cancellation comes from there."""

    gone: bool

    async def read(self) -> bytes | None: ...
    async def write(self, message: bytes) -> None: ...
    async def end(self, status: Status, text: str = "") -> None: ...
    async def wait(self, until: asyncio.Event, seconds: float) -> None: ...


Method = Callable[[Call, Fields], Awaitable[None]]


class Service:
    """The ext_proc service and grpc.health.v1. `engine` is asked once per stream, which keeps what it began with.

    `max_receive_bytes` is the largest body in one message; `ready` says whether this process should be given work.
    """

    def __init__(self, engine: Callable[[], Engine], max_receive_bytes: int, ready: Callable[[], bool]) -> None:
        self._engine = engine
        self.limit = max_receive_bytes + ROOM
        self._closed = False
        self._open = self._calls = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._methods: Mapping[str, Method] = {
            f"/{codec.SERVICE}/Process": self._process,
            "/grpc.health.v1.Health/Check": self._check,
            "/grpc.health.v1.Health/Watch": self._watch,
        }
        self.standing = Standing(ready)

    @property
    def streams(self) -> int:
        """Exchanges that are open now."""
        return self._open

    async def serve(self, call: Call, path: str, fields: Fields) -> None:
        """One call, to its end."""
        self._calls += 1
        self._idle.clear()
        try:
            await self._answer(call, path, fields)
        except Gone:
            return
        except asyncio.CancelledError:
            if not call.gone:
                raise
        finally:
            self._calls -= 1
            if not self._calls:
                self._idle.set()

    def drain(self) -> None:
        """Say NOT_SERVING at once; go on with what comes all the same."""
        self.standing.drain()

    async def close(self, grace: float) -> None:
        """Take nothing new, and wait until what is open has ended, for at most `grace` seconds."""
        self.standing.drain()
        self._closed = True
        self.standing.stop()
        try:
            async with asyncio.timeout(grace):
                await self._idle.wait()
        except TimeoutError:
            return

    async def _answer(self, call: Call, path: str, fields: Fields) -> None:
        """Raises: Gone."""
        try:
            await self._method(path, fields)(call, fields)
        except Gone:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it was: no exchange goes on without an answer
            told = ended(error)
            await call.end(told.status, told.text)
        else:
            await call.end(Status.OK)

    def _method(self, path: str, fields: Fields) -> Method:
        """Raises: Ended."""
        if (b"te", b"trailers") not in fields:  # else there would be no place for a status (gRPC over HTTP/2)
            raise Ended(Status.INTERNAL, "the call has no `te: trailers`")
        if path not in self._methods:
            raise Ended(Status.UNIMPLEMENTED, "no such method")
        return self._methods[path]

    async def _process(self, call: Call, fields: Fields) -> None:
        """One stream: one exchange, seen by one ext_proc filter."""
        if self._closed:
            raise Ended(Status.UNAVAILABLE, "the server stops")
        self._open += 1
        try:
            await self._converse(call, fields)
        finally:
            self._open -= 1

    async def _converse(self, call: Call, fields: Fields) -> None:
        """Answer each message before the next is read: Envoy matches answers to messages by their order. A body that is
        streamed both ways is not read faster than it is inspected, so what piles up stays with Envoy.
        """
        session = begin(self._engine(), _initial(fields))
        try:
            while (data := await call.read()) is not None:
                for outcome in await session.step(codec.parse(data)):
                    await call.write(codec.serialize(outcome))
        finally:
            session.close()

    async def _check(self, call: Call, _: Fields) -> None:
        status = self.standing.status(await _service(call))
        if status == UNKNOWN:
            raise Ended(Status.NOT_FOUND, "no such service")
        await call.write(_health(status))

    async def _watch(self, call: Call, _: Fields) -> None:
        name, told = await _service(call), None
        while not self.standing.stopped:
            changed, status = self.standing.changed, self.standing.status(name)
            if status != told:
                await call.write(_health(status))
                told = status
            await call.wait(changed, PRESENCE)
        raise Ended(Status.UNAVAILABLE, "the server stops")


def _initial(fields: Fields) -> list[tuple[str, str | bytes]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in fields if name.startswith(INITIAL)]


async def _service(call: Call) -> str:
    """The name that is asked for, in the only message of its call. Raises: Gone, Ended."""
    message = await call.read()
    if message is None or await call.read() is not None:
        raise Ended(Status.UNIMPLEMENTED, "the call takes one message")
    try:
        return str(health_pb2.HealthCheckRequest.FromString(message).service)
    except DecodeError:
        raise Ended(Status.INTERNAL, "a message that is no HealthCheckRequest") from None


def _health(status: Any) -> bytes:
    return health_pb2.HealthCheckResponse(status=status).SerializeToString()
