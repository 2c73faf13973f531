"""An answer for everybody who asks at the same time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Final, Generic, TypeVar

T = TypeVar("T")
Source = Callable[[], T | Awaitable[T]]

LONGEST: Final = 1.0
"""Seconds that somebody who asks may have to wait for the rest after the last answer: less than a parent waits for a worker."""


class Shared(Generic[T]):
    """Asks `source` for one answer at a time, however many want it, and then lets it rest for `rest` times as long as that
    took. An answer is never older than the question: who comes while one is being made gets the next.
    """

    def __init__(
        self,
        source: Source[T],
        rest: float = 0.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source, self._rest, self._sleep, self._clock = source, rest, sleep, clock
        self._turn = asyncio.Lock()
        self._next: asyncio.Task[T] | None = None
        self._free = 0.0

    async def __call__(self) -> T:
        """Raises: what `source` raises."""
        if self._next is None:
            self._next = asyncio.create_task(self._ask())
        return await asyncio.shield(self._next)

    async def _ask(self) -> T:
        async with self._turn:
            try:
                if (wait := self._free - self._clock()) > 0:
                    await self._sleep(wait)
            finally:
                self._next = None
            began = self._clock()
            try:
                found = self._source()
                return await found if isawaitable(found) else found
            finally:
                took = self._clock() - began
                self._free = self._clock() + min(LONGEST, self._rest * took)
