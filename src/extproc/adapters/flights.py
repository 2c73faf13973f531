"""Work that many ask for at once and that is done once."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class Flights:
    """One task for each key in flight. It belongs to nobody who waits for it, so no waiter's cancel ends it."""

    def __init__(self) -> None:
        self._tasks: dict[Hashable, asyncio.Task[Any]] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._tasks

    def start(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        """The task of this key: the one in flight, else a new one that does `work`."""
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = asyncio.create_task(work())
            task.add_done_callback(lambda _: self._tasks.pop(key, None))
        return task

    async def join(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What comes of it. Cancelled is the wait, not the work."""
        return await asyncio.shield(self.start(key, work))

    async def landed(self) -> None:
        """Wait until nothing is in flight. The work is bounded by what it calls; who waits for it gets an answer."""
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))
