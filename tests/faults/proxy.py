"""A TCP proxy on loopback that stands before a real server, and fails as it is told."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from tests.faults.background import Background


class Mode(StrEnum):
    """What becomes of a connection."""

    PASS = "pass"
    REFUSE = "refuse"
    """Nobody listens; connections that were open are reset."""
    BLACK_HOLE = "black hole"
    """They are accepted, and nothing is ever answered. One that lost a byte so stays dead when the fault is over."""
    SLOW = "slow"
    """Each part of an answer comes `delay` seconds late."""
    CUT = "cut"
    """They are reset as soon as something is asked."""


@dataclass(eq=False)
class Link:
    """One connection. `dead`: something that was sent on it was lost."""

    writers: list[asyncio.StreamWriter]
    dead: bool = False

    def reset(self) -> None:
        """With a RST, not with a FIN."""
        for writer in self.writers:
            if not writer.transport.is_closing():
                at_once = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
                writer.transport.abort()

    def close(self) -> None:
        for writer in self.writers:
            writer.close()


class Proxy:
    """To the port `target` of loopback, which may change."""

    def __init__(self, background: Background, target: int) -> None:
        self.target = target
        self.mode, self.delay = Mode.PASS, 0.0
        self._background = background
        self._links: set[Link] = set()
        self._listener: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._guard = _bound(0)  # keeps the port ours while nobody listens
        self.port = int(self._guard.getsockname()[1])
        self.become(Mode.PASS)

    def become(self, mode: Mode, delay: float = 0.0) -> None:
        self._background.run(self._become(mode, delay))

    @contextmanager
    def failing(self, mode: Mode, delay: float = 0.0) -> Iterator[None]:
        self.become(mode, delay)
        try:
            yield
        finally:
            self.become(Mode.PASS)

    @contextmanager
    def leading_to(self, target: int) -> Iterator[None]:
        """Connections that are open are reset, so that nobody stays with the server before."""
        before = self.target
        self._background.run(self._lead(target))
        try:
            yield
        finally:
            self._background.run(self._lead(before))

    def close(self) -> None:
        self.become(Mode.REFUSE)
        self._guard.close()

    async def _lead(self, target: int) -> None:
        self.target = target
        self._reset()

    async def _become(self, mode: Mode, delay: float) -> None:
        self.mode, self.delay = mode, delay
        if mode is Mode.REFUSE and self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        elif mode is not Mode.REFUSE and self._listener is None:
            self._listener = listener = _bound(self.port)
            listener.setblocking(False)
            listener.listen(128)
            asyncio.get_running_loop().add_reader(listener, self._accept, listener)
        if mode in (Mode.REFUSE, Mode.CUT):
            self._reset()

    def _reset(self) -> None:
        for link in tuple(self._links):
            link.reset()

    def _accept(self, listener: socket.socket) -> None:
        """In one step, so that no connection is lost between two of them when the listener is closed."""
        with contextlib.suppress(BlockingIOError):
            accepted, _ = listener.accept()
            task = asyncio.ensure_future(self._serve(accepted))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, accepted: socket.socket) -> None:
        accepted.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=accepted)
        link = Link([writer], dead=self.mode is Mode.BLACK_HOLE)
        self._links.add(link)
        try:
            await self._connect(link, reader, writer)
        except OSError:
            link.reset()
        finally:
            link.close()
            self._links.discard(link)

    async def _connect(self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mode is Mode.REFUSE:
            link.reset()
            return
        if link.dead:
            while await reader.read(65536):
                pass
            return
        answers, asked = await asyncio.open_connection("127.0.0.1", self.target)
        link.writers.append(asked)
        pumps = [
            asyncio.ensure_future(self._pump(link, reader, asked, answering=False)),
            asyncio.ensure_future(self._pump(link, answers, writer, answering=True)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(
        self, link: Link, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, answering: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                if self.mode is Mode.CUT:
                    link.reset()
                    return
                if answering and self.mode is Mode.SLOW:
                    await asyncio.sleep(self.delay)
                link.dead = link.dead or self.mode is Mode.BLACK_HOLE
                if not link.dead:
                    sink.write(data)
                    await sink.drain()


def _bound(port: int) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", port))
    return made
