"""What is on disk, looked at each second.

Nothing else sees everything: the swap of the link in a mounted ConfigMap, an editor that writes another file and renames it, a
folder that goes and comes back, a file system of another machine. Of the last one inotify tells nothing, and of the others
something else each. Reading some kilobytes and hashing them, in a thread, takes less than a thousandth of the second.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from extproc.reload.snapshot import Look, Snapshot, look, name, snapshot
from extproc.reload.thread import in_thread

log = structlog.get_logger("extproc.reload")

EVERY: Final = 1.0
"""Seconds between two looks."""

STILL: Final = 0.2
"""Seconds for which nothing may change before it counts: somebody may be in the middle of writing."""

RESTLESS: Final = 10
"""How often it is waited for that before it is told. It is never taken over meanwhile: the first half of a file may be valid,
and lack the policy that is in the second.
"""

AGAIN: Final = 10.0
"""Seconds until what could not be taken over is tried again, if that was no fault of its own: a full disk, no memory."""

Sleep = Callable[[float], Awaitable[None]]


@dataclass(slots=True)
class Changes:
    """Of the configuration at `path`, beginning with the one that is in force. `looks` are the other files that it was made
    from, and `name` names it.
    """

    path: Path
    looks: Mapping[Path, Look]
    name: str
    sleep: Sleep = asyncio.sleep
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by whoever wants it loaded now, changed or not."""
    forced: bool = False
    """Whether the last one came because somebody asked."""
    _pause: float = EVERY

    async def next(self) -> Snapshot:
        """What is there, once that is something else than the last time, and stands still; or once somebody asks."""
        while True:
            asked = await self._second()
            found = await self._look()
            if not asked and self.name != found.name:
                found = await self._still()
            if asked or self.name != found.name:
                self.looks, self.name, self.forced = found.looks, found.name, asked
                return found.snapshot

    def tried(self, found: Snapshot, looks: Mapping[Path, Look], *, again: bool = False) -> None:
        """It was refused, after these files were looked at; `again`: it is to be found once more, after a while."""
        self.looks = {**self.looks, **looks}
        self.name = name(found, self.looks)
        if again:
            self.failed()

    def accepted(self, found: Snapshot, looks: Mapping[Path, Look]) -> None:
        """It is in force: nothing counts but what it was made from."""
        self.looks = looks
        self.name = name(found, looks)

    def failed(self) -> None:
        """It could not be taken over, and not for what it says: it is to be found again, after a while."""
        self.name, self._pause = "", AGAIN

    async def _second(self) -> bool:
        """Wait a second, or more after a failure; or less, if somebody asks."""
        resting = asyncio.ensure_future(self.sleep(self._pause))
        self._pause = EVERY
        asking = asyncio.ensure_future(self.asked.wait())
        try:
            await asyncio.wait((resting, asking), return_when=asyncio.FIRST_COMPLETED)
        finally:
            resting.cancel()
            asking.cancel()
        asked = self.asked.is_set()
        self.asked.clear()
        return asked

    async def _still(self) -> "_Found":
        """What is there once it stands still."""
        looks, found = 0, await self._look()
        while True:
            before = found
            await self.sleep(STILL)
            found = await self._look()
            if found.name == before.name or self.asked.is_set():
                return found
            looks += 1
            if looks % RESTLESS == 0:
                log.warning("configuration_restless", seconds=looks * STILL)

    async def _look(self) -> "_Found":
        return await in_thread(partial(_look, self.path, self.looks), "look")


@dataclass(frozen=True, slots=True)
class _Found:
    snapshot: Snapshot
    looks: Mapping[Path, Look]
    name: str


def _look(path: Path, others: Mapping[Path, Look]) -> _Found:
    found = snapshot(path)
    looks = {other: look(other, counts=before.counts) for other, before in others.items()}
    return _Found(found, looks, name(found, looks))
