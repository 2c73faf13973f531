"""TCP with mutual TLS. Each connection is accepted here, and not by the loop's own server: the certificates are those of the
moment, and a stranger's handshake holds nobody up.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

from extproc.wire.http2.connection import PATIENCE, Connection, Serve
from extproc.wire.http2.frames import Code
from extproc.wire.http2.stream import Stream
from extproc.wire.seldom import Seldom
from extproc.wire.status import Ended
from extproc.wire.tls import Certificates, admitted

BACKLOG: Final = 100
PAUSE: Final = 0.1
"""Seconds after a connection could not be accepted, mostly for want of files."""

OPTIONS: Final = {
    (socket.IPPROTO_TCP, socket.TCP_NODELAY): 1,
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE): 1,
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE): 60,
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL): 15,
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT): 4,
}
"""Nothing waits for an acknowledgement; a host that is gone without a word is noticed within two minutes."""


class Guarded(Connection):
    """A client's connection that must have a certificate of ours, with a name out of `allowed`: one without such a name is told
    so by call.
    """

    def __init__(
        self, serve: Serve, limit: int, lost: Callable[[Connection], None], allowed: frozenset[str], log: Seldom
    ) -> None:
        super().__init__(serve, limit, lost)
        self._allowed, self._log = allowed, log
        self.handshake: asyncio.Task[None] | None = None
        self.shaken = self._refused = False

    @property
    def welcome(self) -> bool:
        return super().welcome and not self._refused

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.shaken = True
        if refusal := admitted(transport.get_extra_info("peercert"), self._allowed, self._log):
            self.serve, self._refused = _Refusing(refusal), True
        super().connection_made(transport)

    def close(self, code: Code = Code.NO_ERROR) -> None:
        if self.shaken:
            super().close(code)
        else:
            self.abort()

    def abort(self) -> None:
        if self.handshake and not self.shaken:
            self.handshake.cancel()
        super().abort()


class Gate:
    """Accepts at `place`, a host and a port; `admit` makes a connection, or None where there is no room.

    Raises:
        OSError: the place is taken, or not ours to use.
    """

    def __init__(
        self, place: tuple[str, int], admit: Callable[[], Guarded | None], certificates: Certificates, log: Seldom
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._admit, self._certificates, self._log = admit, certificates, log
        self._accepting = [self._begin(each) for each in _listening(*place)]

    def close(self) -> None:
        """Take no more connections."""
        for task in self._accepting:
            task.cancel()

    def _begin(self, listening: socket.socket) -> asyncio.Task[None]:
        task = self._loop.create_task(self._accept(listening))
        task.add_done_callback(lambda _: listening.close())
        return task

    async def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                came, _ = await self._loop.sock_accept(listening)
            except OSError as error:
                self._log.warning("accept_failed", why=error.strerror)
                await asyncio.sleep(PAUSE)
                continue
            if connection := self._admit():
                connection.handshake = self._loop.create_task(self._shake(connection, came))
                connection.handshake.add_done_callback(partial(_over, connection, came))
            else:
                came.close()

    async def _shake(self, connection: Guarded, came: socket.socket) -> None:
        """A client without a certificate that was verified goes no further."""
        try:
            for (level, option), value in OPTIONS.items():
                came.setsockopt(level, option, value)
            context = self._certificates.context()
            await self._loop.connect_accepted_socket(
                lambda: connection, came, ssl=context, ssl_handshake_timeout=PATIENCE
            )
        except ssl.SSLError as error:
            self._log.warning("handshake_failed", why=error.reason or type(error).__name__)
        except OSError:  # it hung up, or took too long
            return


def _over(connection: Guarded, came: socket.socket, _: asyncio.Task[None]) -> None:
    """Nothing is left of one whose handshake came to nothing, or was given up before it began."""
    if not connection.shaken:
        came.close()
        connection.connection_lost(None)


def _listening(host: str, port: int) -> list[socket.socket]:
    """A socket for each address that the host has, which /etc/hosts may say twice. Raises: OSError."""
    found: list[socket.socket] = []
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    try:
        for family, _, _, _, place in dict.fromkeys(addresses):
            found.append(socket.create_server(place, family=family, backlog=BACKLOG))
            found[-1].setblocking(False)
    except OSError:
        for each in found:
            each.close()
        raise
    return found


class _Refusing:
    """Ends each call of a client that may not connect."""

    def __init__(self, refusal: Ended) -> None:
        self._refusal = refusal

    def __call__(self, stream: Stream) -> Coroutine[Any, Any, None]:
        return stream.end(self._refusal.status, self._refusal.text)
