"""What outlives a configuration: the counters in memory, the clients of dependencies, and caches. A configuration borrows what
it wants under a key that says all that it is made from; so the next one that wants the same goes on with it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final, TypeVar

import structlog

from extproc.adapters.memory import Counters

log = structlog.get_logger("extproc.reload")

T = TypeVar("T")
Close = Callable[[Any], Awaitable[None]]

CLOSING: Final = 10.0
"""Seconds that something may take to close. Then it is left as it is: what comes after it must not wait for ever."""


@dataclass(slots=True)
class _Entry:
    value: Any
    close: Close | None
    borrowers: int = 0


class Kept:
    """Of one process. A configuration may borrow in a thread, while those before it give back in the event loop."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        """`now` gives Unix seconds."""
        self.now: Final = now
        self.memory: Final = Counters(steady(now))
        self._entries: dict[Hashable, _Entry] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def lease(self) -> "Lease":
        """For one configuration."""
        return Lease(self)

    def take(self, key: Hashable, make: Callable[[], T], close: Close | None) -> T:
        """What is there under `key`, or what `make` makes. Each take wants one `give_back`."""
        with self._lock:  # in one step: between two of them the last borrower could give it back, and close it
            if entry := self._entries.get(key):
                entry.borrowers += 1
                found: T = entry.value
                return found
        made = make()  # not under the lock: it may borrow what it needs
        with self._lock:  # somebody else may have been faster; nobody knows of ours, and it has no connection yet
            entry = self._entries.setdefault(key, _Entry(made, close))
            entry.borrowers += 1
        winner: T = entry.value
        return winner

    async def give_back(self, key: Hashable) -> None:
        """The last one to give it back closes it."""
        with self._lock:
            entry = self._entries[key]
            entry.borrowers -= 1
            if entry.borrowers:
                return
            del self._entries[key]
        if entry.close:
            async with asyncio.timeout(CLOSING):
                await entry.close(entry.value)


@dataclass(slots=True)
class Lease:
    """What one configuration has borrowed."""

    kept: Kept
    _keys: dict[Hashable, Any] = field(default_factory=dict)

    def get(self, key: Hashable, make: Callable[[], T], close: Close | None = None) -> T:
        """What is kept under `key`; it is made if nobody has it, and given to `close` when nobody has it any more."""
        if key not in self._keys:
            self._keys[key] = self.kept.take(key, make, close)
        found: T = self._keys[key]
        return found

    async def end(self) -> None:
        """Give everything back, the last first: what was borrowed later may need what was borrowed before. One that cannot be
        closed keeps no other from it.
        """
        while self._keys:
            key, _ = self._keys.popitem()
            try:
                await self.kept.give_back(key)
            except Exception as error:  # noqa: BLE001 - told without its text: what is closed may hold what nobody is to read
                log.error("close_failed", error=type(error).__name__)  # noqa: TRY400


def steady(now: Callable[[], float], ticks: Callable[[], float] = time.monotonic) -> Callable[[], float]:
    """A clock that begins at `now` and is never set: what a limit counts by must not jump."""
    offset = now() - ticks()
    return lambda: ticks() + offset
