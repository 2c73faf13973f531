"""HTTP for people and machines that look after the gateway. It reads only, and everything it does is bounded.

Each connection is good for one request and lives for at most ten seconds, there are at most 64 of them, and an answer that many
ask for is made once: whoever can reach the port can at worst make it slow to answer, and never the exchanges.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import orjson
from aiohttp import web

from extproc.admin.address import is_near, names, parse
from extproc.admin.entrance import MOST_CONNECTIONS, Entrance
from extproc.admin.shared import Shared, Source
from extproc.errors import ConfigError, Place
from extproc.policy.names import Address
from extproc.telemetry.exposition import CONTENT_TYPE

REST: Final = 3.0
"""So many times as long as it takes to write the metrics, they are not written: that is work for Python, and only one thread
at a time can do such.
"""

PIECE: Final = 64 * 1024
"""Bytes of an answer that are written at once."""

PUBLIC: Final = frozenset({"/healthz", "/readyz", "/startupz", "/metrics"})
"""What is served to others than this machine, or this pod."""


@dataclass(frozen=True, slots=True)
class Health:
    """How it stands with a process that answers. `ready` while it takes new exchanges, `started` from the first time it did;
    `problems` are sentences that say why it is not ready; `notes` say what is worth a word though it is.
    """

    ready: bool = False
    started: bool = False
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Admin:
    """The admin port of one process.

    Raises:
        ConfigError: `address` is none.
    """

    def __init__(
        self,
        address: str,
        *,
        health: Source[Health],
        metrics: Source[bytes],
        status: Source[Mapping[str, Any]],
        catalog: Source[Mapping[str, Any]],
    ) -> None:
        self.address: Address = parse(address)
        asked = Shared(health)
        self._routes: Mapping[str, Callable[[], Awaitable[web.Response]]] = {
            "/healthz": _alive,
            "/readyz": _told(asked, lambda told: told.ready, notes=True),
            "/startupz": _told(asked, lambda told: told.started),
            "/metrics": _bytes(Shared(metrics, REST)),
            "/status": _json(Shared(status)),
            "/catalog": _json(Shared(catalog)),
        }
        self._server: web.Server | None = None
        self._entrance: Entrance | None = None
        self._listener: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen. `address` has the port that was chosen, where 0 was asked for.

        Raises:
            ConfigError: the address is taken, or cannot be had.
        """
        server = web.Server(self._answer, access_log=None, lingering_time=0, max_line_size=2048, max_field_size=4096)
        self._entrance = Entrance(server)
        try:
            self._listener = await self._listen(self._entrance)
        except OSError as error:
            what = f"cannot listen on {self.address}: {error.strerror or error}"
            raise ConfigError(f"{what}; choose another address, or end what uses it", Place(field="admin")) from error
        self._server = server

    async def stop(self) -> None:
        """Close the port; what is being answered is cut off."""
        if self._server is None or self._listener is None:
            return
        if self.address.path:  # before anybody else can listen there
            self.address.path.unlink(missing_ok=True)
        self._listener.close()
        if self._entrance:
            self._entrance.close()
        await self._server.shutdown(0)
        self._server = self._listener = None

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        """Only what this address may show, and only to who asked for this address."""
        if request.path not in self._routes:
            return _text(404, f"Here are {', '.join(self._routes)}.\n")
        if request.path not in PUBLIC and not (self.address.loopback or is_near(_peer(request))):
            return _text(404, "From afar only health and metrics are served.\n")
        if request.path not in PUBLIC and not names(request.headers.get("host", ""), self.address):
            return _text(403, "The Host header does not name this address.\n")
        if request.method not in ("GET", "HEAD"):
            return _text(405, "Only GET and HEAD are served.\n")
        return await self._routes[request.path]()

    async def _listen(self, connection: Callable[[], asyncio.BaseProtocol]) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        if path := self.address.path:
            _clear(path)
            listener = await loop.create_unix_server(connection, path)
            path.chmod(0o600)
            return listener
        listener = await loop.create_server(connection, self.address.host, self.address.port, backlog=MOST_CONNECTIONS)
        self.address = replace(self.address, port=listener.sockets[0].getsockname()[1])
        return listener


def _peer(request: web.BaseRequest) -> Any:
    return request.transport.get_extra_info("peername") if request.transport else None


async def _alive() -> web.Response:
    """It is alive if it answers: whatever else may be slow, a probe of this is not to kill it for that."""
    return _text(200, "ok\n")


def _told(
    source: Shared[Health], good: Callable[[Health], bool], *, notes: bool = False
) -> Callable[[], Awaitable[web.Response]]:
    async def answer() -> web.Response:
        told = await source()
        more = "".join(f"{note}\n" for note in told.notes) if notes else ""
        if good(told):
            return _text(200, f"ok\n{more}")
        return _text(503, "".join(f"{problem}\n" for problem in told.problems) + more or "not yet, or no longer\n")

    return answer


def _bytes(source: Shared[bytes]) -> Callable[[], Awaitable[web.Response]]:
    async def answer() -> web.Response:
        return _response(200, await source(), CONTENT_TYPE)

    return answer


def _json(source: Shared[Mapping[str, Any]]) -> Callable[[], Awaitable[web.Response]]:
    async def answer() -> web.Response:
        body = orjson.dumps(await source(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        return _response(200, body, "application/json")

    return answer


def _text(status: int, text: str) -> web.Response:
    return _response(status, text.encode(), "text/plain; charset=utf-8")


def _response(status: int, body: bytes, content_type: str) -> web.Response:
    headers = {
        "Content-Type": content_type,
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Server": "extproc",
    }
    response = web.Response(status=status, body=_pieces(body), headers=headers)
    response.force_close()
    return response


async def _pieces(body: bytes) -> AsyncIterator[memoryview]:
    """The next one when the one before was read: who asks and does not read gets no copy of what all others are told."""
    for at in range(0, len(body), PIECE):
        yield memoryview(body)[at : at + PIECE]


def _clear(path: Path) -> None:
    """Remove a socket that nobody listens on any more. Raises: OSError, if somebody does or if it is something else."""
    if not os.path.lexists(path):
        return
    if not path.is_socket() or path.is_symlink():
        raise FileExistsError(17, "it exists and is no socket")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        if probe.connect_ex(str(path)) == 0:
            raise OSError(98, "Address already in use")
    path.unlink()
