"""The server on grpc.aio: listeners, streams, drain.

A stream that ends with OK tells Envoy to go on without us (PROTOCOL 1.4), so here is one place from which a stream can end
so: the client's own end, after every message was answered. Everything else is an error status with a fixed text.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import grpc
import grpc.aio
import structlog
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from extproc.core.engine import Engine
from extproc.core.upstream import begin
from extproc.errors import ConfigError
from extproc.wire import codec
from extproc.wire.framing import ROOM
from extproc.wire.health import Health
from extproc.wire.listener import SOCKET_MODE, UNIX, Listener, check, claim
from extproc.wire.pace import settled
from extproc.wire.status import ended
from extproc.wire.tls import credentials

log = structlog.get_logger("extproc.wire")

GRACE: Final = 25.0
"""Seconds that exchanges which are open may take to end once the listener is closed: Kubernetes kills after 30."""

SETTLING: Final = 2.0
"""Seconds that exchanges which have ended may take to settle what they took, at the very end."""

Context = grpc.aio.ServicerContext[bytes, bytes]


class Server:
    """The ext_proc service on `listeners`. `engine` is asked once per stream, which keeps what it began with.

    `max_receive_bytes` is the largest body in one message; `ready` says whether this process should be given work.
    """

    def __init__(
        self,
        engine: Callable[[], Engine],
        listeners: Sequence[Listener],
        max_receive_bytes: int,
        ready: Callable[[], bool],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._engine = engine
        self._listeners = tuple(listeners)
        self._limit = max_receive_bytes + ROOM
        self._sleep = sleep
        self._servers: list[grpc.aio.Server] = []
        self._streams: list[Streams] = []
        self.health = Health(ready)

    @property
    def streams(self) -> int:
        """How many are open."""
        return sum(each.open for each in self._streams)

    async def start(self) -> None:
        """Open every listener, or none.

        Raises:
            ConfigError: a listener is not allowed, or its place is taken.
        """
        for listener in self._listeners:
            check(listener)
        try:
            for listener in self._listeners:
                claim(listener)
                server = self._build(listener)
                self._servers.append(server)
                _open(server, listener)
            for server in self._servers:
                await server.start()
        except BaseException:
            await self.stop()
            self._remove_sockets()
            raise

    async def drain(self, seconds: float) -> None:
        """Say NOT_SERVING at once, go on accepting for `seconds` until everybody has heard it, then close the listeners and
        let what is open end, for at most GRACE seconds.
        """
        self.health.drain()
        await self._sleep(seconds)
        await self.stop(GRACE)

    async def stop(self, grace: float | None = None) -> None:
        """Close the listeners. What is still open after `grace` seconds (None: at once) ends with an error."""
        self.health.drain()
        self.health.stop()
        await asyncio.gather(*(server.stop(grace) for server in self._servers))
        await settled(SETTLING)

    async def wait(self) -> None:
        """Until the server has stopped."""
        await asyncio.gather(*(server.wait_for_termination() for server in self._servers))

    def _remove_sockets(self) -> None:
        """Those of servers that never started: grpc leaves them behind."""
        for _, listener in zip(self._servers, self._listeners, strict=False):
            if path := listener.socket:
                path.unlink(missing_ok=True)

    def _build(self, listener: Listener) -> grpc.aio.Server:
        server = grpc.aio.server(options=_options(self._limit))
        allowed = frozenset(listener.tls.allowed_clients) if listener.tls else None
        streams = Streams(self._engine, allowed)
        self._streams.append(streams)
        handler: Any = grpc.stream_stream_rpc_method_handler(streams.process)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(codec.SERVICE, {"Process": handler}),))
        health_pb2_grpc.add_HealthServicer_to_server(self.health, server)
        reflection.enable_server_reflection((codec.SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        return server


class Streams:
    """The streams of one listener. `allowed` are the names of which a client's certificate needs one; None: no TLS."""

    def __init__(self, engine: Callable[[], Engine], allowed: frozenset[str] | None) -> None:
        self._engine = engine
        self._allowed = allowed
        self.open = 0

    async def process(self, _requests: object, context: Context) -> None:
        """One stream: one exchange, seen by one ext_proc filter."""
        if self._allowed is not None:
            await _admit(context, self._allowed)
        try:
            await self._converse(context)
        except Exception as error:  # noqa: BLE001 - whatever it was: no exchange goes on without an answer
            await _fail(context, error)

    async def _converse(self, context: Context) -> None:
        """Answer each message before the next is read: Envoy matches answers to messages by their order. A body that is
        streamed both ways is not read faster than it is inspected, so what piles up stays with Envoy.
        """
        session = begin(self._engine(), _initial(context))
        self.open += 1
        try:
            while isinstance(data := await context.read(), bytes):  # what is no bytes is the end of the client's half
                for outcome in await session.step(codec.parse(data)):
                    await context.write(codec.serialize(outcome))
        finally:
            self.open -= 1
            session.close()


async def _fail(context: Context, error: Exception) -> None:
    """End the stream with an error."""
    task = asyncio.current_task()
    if task and task.cancelling():  # the client has gone, or the server stops: there is nobody to tell
        raise error
    told = ended(error)
    await context.abort(grpc.StatusCode[told.status.name], told.text)


def _initial(context: Context) -> list[tuple[str, str | bytes]]:
    """The initial metadata, which say what pass a stream is of."""
    return [(name, value) for name, value in context.invocation_metadata() or ()]


async def _admit(context: Context, allowed: frozenset[str]) -> None:
    """Abort the stream unless the client's certificate has a name out of `allowed`. The certificate itself was verified
    in the handshake.
    """
    auth: dict[str, Any] = dict(context.auth_context() or {})
    kinds = {
        "peer_dns": False,
        "peer_uri": True,
    }  # a URI has a colon and a DNS name has none: neither passes for the other
    found = [(name.decode("latin-1"), is_uri) for kind, is_uri in kinds.items() for name in auth.get(kind, ())]
    names = {name for name, is_uri in found if (":" in name) is is_uri}
    if not names:
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, "a client certificate with a DNS or URI name is required")
    if not names & allowed:
        log.warning("client_refused", names=sorted(names))
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, "this client may not connect")


def _options(limit: int) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", limit),
        ("grpc.max_send_message_length", limit),
        ("grpc.so_reuseport", 0),  # else a second process would share the port in silence
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_ping_strikes", 0),  # Envoy's keepalive pings are no offence, however often they come
    ]


def _open(server: grpc.aio.Server, listener: Listener) -> None:
    """Bind. A socket is never open to more than SOCKET_MODE, not even for a moment."""
    path = listener.socket
    before = os.umask(0o777 & ~SOCKET_MODE)
    try:
        if listener.tls:
            server.add_secure_port(listener.address, credentials(listener.tls))
        else:
            server.add_insecure_port(listener.address.replace(UNIX, "unix:"))
    except RuntimeError:
        raise ConfigError(f"cannot listen on {listener.address}: it is taken, or not ours to use") from None
    finally:
        os.umask(before)
    if path:
        path.chmod(SOCKET_MODE)
