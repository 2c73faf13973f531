"""Where clients come in by one listener: a Unix socket, or TCP, nearly always with mutual TLS."""

import asyncio
import os
from contextlib import suppress
from typing import Final

from extproc.errors import ConfigError
from extproc.wire.http2.connection import Connection, Serve
from extproc.wire.http2.gate import Gate, Guarded
from extproc.wire.listener import SOCKET_MODE, Listener, claim
from extproc.wire.seldom import Seldom
from extproc.wire.tls import Certificates

MOST_CONNECTIONS: Final = 1024
"""At once: an Envoy has one for each of its threads."""

LINGER: Final = 0.5
"""Seconds for the last bytes of a connection."""


class Door:
    """Hands the calls that come by `listener` to `serve`. `limit` are the bytes of the largest message."""

    def __init__(self, listener: Listener, serve: Serve, limit: int) -> None:
        self._listener, self._serve, self._limit = listener, serve, limit
        self._connections: dict[Connection, None] = {}
        self._server: asyncio.Server | Gate | None = None
        self._log = Seldom()

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
            elif tls:
                self._server = Gate(self._listener.place, self._guarded, Certificates(tls), self._log)
            else:
                self._server = await loop.create_server(self._plain, *self._listener.place)
        except OSError:
            address = self._listener.address
            raise ConfigError(f"cannot listen on {address}: it is taken, or not ours to use") from None
        finally:
            os.umask(before)

    def finish(self) -> None:
        """Take no more connections, and ask those that there are to begin no more calls. A socket goes while somebody listens
        at it, and once: what is there afterwards is another server's.
        """
        if self._server is None:
            return
        if path := self._listener.socket:
            path.unlink(missing_ok=True)
        self._server.close()
        self._server = None
        for connection in list(self._connections):
            connection.finish()

    async def part(self) -> None:
        """Take no more calls, once the clients have heard of it, or could have."""
        if self._connections:
            await asyncio.wait([each.parted for each in self._connections], timeout=LINGER)
        for connection in list(self._connections):
            connection.part()

    async def close(self, *, politely: bool) -> None:
        """End what is still open. `politely`: clients that were told to go may do so by themselves, which saves them from
        taking the last answers for lost. Who does not read what is on its way to it is not waited for.
        """
        if politely:
            await self._emptied()
        for connection in list(self._connections):
            connection.close()
        await self._emptied()
        for connection in list(self._connections):
            connection.abort()
        await self._emptied()

    async def _emptied(self) -> None:
        """Until there is no connection any more, but no longer than LINGER."""
        if self._connections:
            await asyncio.wait([each.ended for each in self._connections], timeout=LINGER)

    def _plain(self) -> asyncio.Protocol:
        if not self._has_room():
            return _Closed()
        made = Connection(self._serve, self._limit, self._lost)
        self._connections[made] = None
        return made

    def _guarded(self) -> Guarded | None:
        if not self._has_room():
            return None
        tls = self._listener.tls
        allowed = frozenset(tls.allowed_clients) if tls else frozenset[str]()
        made = Guarded(self._serve, self._limit, self._lost, allowed, self._log)
        self._connections[made] = None
        return made

    def _has_room(self) -> bool:
        """Whether there is room for one more. Anybody may knock, so who has done that for longest makes room for who comes:
        else strangers could keep out clients.
        """
        if len(self._connections) < MOST_CONNECTIONS:
            return True
        stranger = next((each for each in self._connections if not each.welcome), None)
        if stranger is None:
            self._log.warning("connections_full", most=MOST_CONNECTIONS)
            return False
        stranger.abort()
        self._connections.pop(stranger, None)
        return True

    def _lost(self, connection: Connection) -> None:
        self._connections.pop(connection, None)
        if connection.fault:
            self._log.warning("connection_closed", why=connection.fault.text)


class _Closed(asyncio.Protocol):
    """A connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        with suppress(OSError):
            transport.close()
