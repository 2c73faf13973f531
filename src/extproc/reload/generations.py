"""The configurations of one process: the one in force, one that is ready to follow it, and those before it that some exchange
is still of.
"""

import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import structlog

from extproc.core.engine import Engine
from extproc.reload.source import Loaded

log = structlog.get_logger("extproc.reload")

LINGER: Final = 3600.0
"""Seconds for which a configuration is kept for its exchanges once another one is in force: as long as a passport is good."""

MOST: Final = 16
"""Configurations that are kept for tries alone. Nobody tells when the last try of an exchange has been made: so each with an
upstream pass is kept for LINGER, but for this many.
"""


@dataclass(frozen=True, slots=True)
class Generation:
    """A configuration, and the engine of its exchanges."""

    loaded: Loaded
    engine: Engine


@dataclass(slots=True)
class Former:
    """One that was in force until `since`. Its exchanges are those who hold its engine, and the tasks that settle them: when
    nobody does any more (`engine` here is for tries), they have ended.
    """

    loaded: Loaded
    engine: Engine | None
    since: float
    held: "weakref.ref[Engine]"


class Generations:
    """`now` gives seconds of a clock that is never set back."""

    def __init__(self, first: Generation, now: Callable[[], float]) -> None:
        self.current = first
        self.next: Generation | None = None
        self._now = now
        self._former: list[Former] = []

    def __len__(self) -> int:
        """How many are in use: the one in force, and those that exchanges are still of."""
        return 1 + sum(former.held() is not None for former in self._former)

    def find(self, name: str) -> Engine | None:
        """The engine of a configuration by its name, for a try of an exchange that began with it, here or in another worker."""
        return next((engine for engine in self._engines() if engine.generation == name), None)

    def _engines(self) -> Iterator[Engine]:
        yield self.current.engine
        if self.next:
            yield self.next.engine
        yield from (engine for former in reversed(self._former) if (engine := former.held()))

    def commit(self) -> None:
        """From now on new exchanges are of the next one."""
        if self.next is None:
            raise RuntimeError("there is no configuration that is ready")
        last, self.current, self.next = self.current, self.next, None
        kept = last.engine if last.loaded.resolved.upstream else None
        self._former.append(Former(last.loaded, kept, self._now(), weakref.ref(last.engine)))

    async def drop(self) -> None:
        """The next one is not wanted any more."""
        if dropped := self.next:
            self.next = None
            await dropped.loaded.lease.end()

    async def sweep(self) -> None:
        """Give back what those had borrowed whose exchanges have ended, or have had their time."""
        now = self._now()
        for former in [former for former in self._former if former.engine][:-MOST]:
            former.engine = None
        for former in list(self._former):
            late = now - former.since >= LINGER
            if late:
                former.engine = None
            if late and former.held():
                log.warning("configuration_given_up", hash=former.loaded.hash, seconds=LINGER)
            if late or former.held() is None:
                self._former.remove(former)
                await former.loaded.lease.end()

    async def close(self) -> None:
        """The process ends."""
        await self.drop()
        for loaded in (*(former.loaded for former in self._former), self.current.loaded):
            await loaded.lease.end()
        self._former.clear()
