"""Time that passes when a test says so, and waiting for what threads do meanwhile."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Time:
    """A clock and the sleep that goes with it. `pauses` are all that were slept, in order."""

    seconds: float = 1000.0
    pauses: list[float] = field(default_factory=list)
    _asleep: list[tuple[float, asyncio.Future[None]]] = field(default_factory=list)

    def __call__(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        woken = asyncio.get_running_loop().create_future()
        self._asleep.append((self.seconds + seconds, woken))
        await woken

    def advance(self, seconds: float) -> None:
        self.seconds += seconds
        for due, woken in self._asleep:
            if due <= self.seconds and not woken.done():
                woken.set_result(None)


async def until(ready: Callable[[], bool]) -> None:
    """Give the loop and the threads their turns until it is so. Raises: TimeoutError."""
    async with asyncio.timeout(10):
        while not ready():  # noqa: ASYNC110 - what is waited for happens in another process
            await asyncio.sleep(0.002)
