"""One process that serves on HTTP/2 of its own: the engine behind its listeners, its admin port, and what follows a change of
its configuration; until it is told to end.
"""

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from extproc.compose import listeners
from extproc.reload.following import Follower, Obedient, following
from extproc.reload.source import Loaded
from extproc.tether import Tether
from extproc.wire.http2.server import Server
from extproc.worker import Worker

log = structlog.get_logger("extproc.serve")

INTERRUPTED: Final = 130
"""Exit code after SIGINT, as shells have it."""


@dataclass(slots=True)
class Process:
    """Worker `index` of those that the configuration asks for, which begins with `loaded`. `admin` is where its admin port
    listens; `tied`: it is told by a parent when to take over another configuration.
    """

    loaded: Loaded
    index: int
    admin: str
    tied: Tether | None = None
    _worker: Worker | None = None
    _told: dict[signal.Signals, asyncio.Event] = field(init=False)

    async def run(self, on_ready: Callable[[], None]) -> int:
        """Serve until SIGTERM (drain, then 0) or SIGINT (at once, 130).

        Raises:
            ConfigError: a listener cannot be had.
        """
        worker = self._worker = Worker(self.loaded, self.admin, lambda: server.streams)
        where = listeners(self.loaded.resolved, self.index)
        server = Server(lambda: worker.engine, where, worker.largest, lambda: worker.ready)
        loop = asyncio.get_running_loop()
        follower = self._follower(worker)
        self._told = {number: asyncio.Event() for number in (signal.SIGTERM, signal.SIGINT)}
        for number, told in self._told.items():
            loop.add_signal_handler(number, told.set)
        await server.start()
        follows: asyncio.Task[None] | None = None
        try:
            await worker.start()
            worker.serves()
            follows = asyncio.ensure_future(follower.run())
            on_ready()
            log.info("serving", gateway=self.loaded.resolved.gateway, listen=[each.address for each in where])
            return await self._until_asked(server, worker)
        finally:
            if follows:
                follows.cancel()
            await server.stop()
            await worker.stop()

    def _follower(self, worker: Worker) -> Follower | Obedient:
        """Who takes over what changes. SIGHUP: now, or once it serves; a worker leaves that to its parent."""
        follower = following(worker, self.tied)
        again = follower.changes.asked.set if isinstance(follower, Follower) else lambda: None
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, again)
        return follower

    async def _until_asked(self, server: Server, worker: Worker) -> int:
        """A second SIGTERM changes nothing: only SIGINT cuts a drain short."""
        ending = asyncio.ensure_future(self._told[signal.SIGTERM].wait())
        interrupted = asyncio.ensure_future(self._told[signal.SIGINT].wait())
        await asyncio.wait((ending, interrupted), return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        worker.ready = False
        draining = asyncio.ensure_future(self._drain(server, worker))
        await asyncio.wait((draining, interrupted), return_when=asyncio.FIRST_COMPLETED)
        if interrupted.done():
            draining.cancel()
            return INTERRUPTED
        interrupted.cancel()
        draining.result()
        return 0

    @staticmethod
    async def _drain(server: Server, worker: Worker) -> None:
        seconds = worker.resolved.settings.drain_seconds
        log.info("draining", seconds=seconds)
        await server.drain(seconds)
