"""Envoys with the application inside, kept running. Envoy itself ends at once when it is told to, so the application is told
first, on a socket that only its parent can reach: it lets what is open end, and says when.
"""

import asyncio
import signal
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from extproc.workers import Crew, _Worker

DRAIN: Final = b"drain\n"
DRAINED: Final = b"drained\n"


@dataclass(slots=True)
class Keeper(Crew):
    """A crew of Envoys. `controls` are their sockets."""

    controls: tuple[Path, ...] = ()
    _served: bool = False
    _draining: asyncio.Future[None] | None = None
    _leaving: dict[int, asyncio.Future[None]] = field(default_factory=dict)

    def stop(self, how: signal.Signals) -> None:
        """SIGTERM lets them drain, SIGINT ends them at once; a second SIGTERM changes nothing."""
        if how is not signal.SIGTERM:
            super(Keeper, self).stop(how)
        elif self._draining is None:
            self._stopping.set()
            self._draining = asyncio.ensure_future(self._drain())

    async def _live(self, worker: _Worker) -> int:
        """An Envoy that could not start the first time is not started again: its port is taken, or the like."""
        code = await super(Keeper, self)._live(worker)
        if not self._served:
            self.stop(signal.SIGTERM)
        return code

    def _became(self, worker: _Worker, *, ready: bool) -> None:
        self._served = self._served or ready
        super(Keeper, self)._became(worker, ready=ready)

    def replace(self, index: int) -> None:
        """Envoy is told to end once the application in it has drained."""
        self._leaving[index] = asyncio.ensure_future(self._left(index))

    async def _left(self, index: int) -> None:
        process = self._workers[index].process
        await self._told(self.controls[index])
        if self._workers[index].process is process:
            super(Keeper, self).replace(index)

    async def _drain(self) -> None:
        await asyncio.gather(*(self._told(control) for control in self.controls))
        super(Keeper, self).stop(signal.SIGTERM)

    async def _told(self, control: Path) -> None:
        """One that is not there, or ends, has nothing to drain."""
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(self.patience.drain):
                reader, writer = await asyncio.open_unix_connection(control)
                try:
                    writer.write(DRAIN)
                    await reader.read(len(DRAINED))
                finally:
                    writer.close()
