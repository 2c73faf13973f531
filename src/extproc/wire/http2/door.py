"""Where clients come in by one listener: a Unix socket, or TCP, nearly always with mutual TLS."""

import asyncio
import os
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final

from extproc.errors import ConfigError
from extproc.wire.http2.connection import PATIENCE, Connection, Serve
from extproc.wire.http2.stream import Stream
from extproc.wire.listener import SOCKET_MODE, Listener, claim
from extproc.wire.status import Ended
from extproc.wire.tls import Certificates, admitted

MOST_CONNECTIONS: Final = 1024
"""At once: an Envoy has one for each of its threads."""


LINGER: Final = 0.5
"""Seconds for the last bytes of a connection."""


class Door:
    """Hands the calls that come by `listener` to `serve`. `limit` are the bytes of the largest message."""

    def __init__(self, listener: Listener, serve: Serve, limit: int) -> None:
        self._listener, self._serve, self._limit = listener, serve, limit
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Bind. A socket is never open to more than SOCKET_MODE, not even for a moment.

        Raises:
            ConfigError: its place is taken, or its certificates cannot be used.
        """
        claim(self._listener)
        loop, tls = asyncio.get_running_loop(), self._listener.tls
        before = os.umask(0o777 & ~SOCKET_MODE)
        try:
            if path := self._listener.socket:
                self._server = await loop.create_unix_server(self._plain, path)
            else:
                host, _, port = self._listener.address.rpartition(":")
                made = _secured(self, Certificates(tls), frozenset(tls.allowed_clients)) if tls else self._plain
                self._server = await loop.create_server(made, host.strip("[]"), int(port))
        except OSError:
            address = self._listener.address
            raise ConfigError(f"cannot listen on {address}: it is taken, or not ours to use") from None
        finally:
            os.umask(before)

    def finish(self) -> None:
        """Take no more connections, and no more calls on those that there are; each closes when its calls have ended."""
        if self._server is None:
            return
        self._server.close()
        if path := self._listener.socket:
            path.unlink(missing_ok=True)
        for connection in list(self._connections):
            connection.finish()

    async def close(self, *, politely: bool) -> None:
        """End what is still open. `politely`: clients that were told to go may do so by themselves, which saves them from
        taking the last answers for lost. Who does not read what is on its way to it is not waited for.
        """
        if politely:
            await self._emptied()
        for end in (Connection.close, Connection.abort):
            for connection in list(self._connections):
                end(connection)
            await self._emptied()

    def connection(self) -> Connection:
        """For a client that came."""
        made = Connection(self._serve, self._limit, self._connections.discard)
        self._connections.add(made)
        return made

    @property
    def full(self) -> bool:
        return len(self._connections) >= MOST_CONNECTIONS

    async def _emptied(self) -> None:
        """Until there is no connection any more, but no longer than LINGER."""
        if self._connections:
            await asyncio.wait([each.ended for each in self._connections], timeout=LINGER)

    def _plain(self) -> asyncio.Protocol:
        return _Closed() if self.full else self.connection()


class _Closed(asyncio.Protocol):
    """A connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def _secured(door: Door, certificates: Certificates, allowed: frozenset[str]) -> type[asyncio.Protocol]:
    """What begins as TCP, and is ours once both sides have shown their certificates."""

    class Handshake(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            if door.full:
                transport.close()
            else:
                self.task = asyncio.get_running_loop().create_task(_shake(door, transport, certificates, allowed))

    return Handshake


async def _shake(
    door: Door, transport: asyncio.BaseTransport, certificates: Certificates, allowed: frozenset[str]
) -> None:
    """A client without a certificate that was verified goes no further; one without an allowed name is told so by call."""
    connection, loop = door.connection(), asyncio.get_running_loop()
    made: asyncio.Transport | None = None
    with suppress(OSError):  # ssl's errors are such: it hung up, spoke no TLS, or has no certificate of ours
        made = await loop.start_tls(
            transport,  # type: ignore[arg-type] # typeshed asks for a WriteTransport, which it is
            connection,
            certificates.context(),
            server_side=True,
            ssl_handshake_timeout=PATIENCE,
        )
    if made is None:
        transport.close()
        connection.connection_lost(None)
        return
    if refusal := admitted(made.get_extra_info("peercert"), allowed):
        connection.serve = _Refusing(refusal)
    connection.connection_made(made)


class _Refusing:
    """Ends each call of a client that may not connect."""

    def __init__(self, refusal: Ended) -> None:
        self._refusal = refusal

    def __call__(self, stream: Stream) -> Coroutine[Any, Any, None]:
        return stream.end(self._refusal.status, self._refusal.text)
