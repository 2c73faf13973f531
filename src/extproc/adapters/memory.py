"""Counters in the memory of one process: for one worker, and for tests."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush, heapreplace
from typing import Final

from extproc.adapters.meters import METERS, NEVER, SECOND, Meter, differences
from extproc.errors import Unavailable
from extproc.ports import Demand, Level, Tally

MOST_COUNTERS: Final = 100_000
MOST_TAKES: Final = 2_000_000
"""Entries that sliding windows keep, all together: 32 MB."""

SWEEP: Final = 16
"""Counters looked at on each take, so that aging costs no request much."""


@dataclass(slots=True)
class Receipt:
    """What one `take` took of which meter. Good for once."""

    parts: tuple[tuple[Meter, int], ...]


class Counters:
    """A `CounterStore`. `now` is seconds, best of a clock that no operator sets back; a step back counts as no time.

    It holds a limited number of counters and forgets only those that are as good as new. When all are in use it refuses
    (Unavailable): many key values must not reset anybody's counter.
    """

    def __init__(
        self, now: Callable[[], float], most_counters: int = MOST_COUNTERS, most_takes: int = MOST_TAKES
    ) -> None:
        self._clock = now
        self._now = 0
        self._most_counters = most_counters
        self._most_takes = most_takes
        self._takes = 0
        self._meters: dict[bytes, Meter] = {}
        self._aging: list[tuple[int, bytes]] = []

    @property
    def in_use(self) -> int:
        """How many counters it holds."""
        return len(self._meters)

    async def take(self, demands: Sequence[Demand]) -> Tally:
        """As the port says. No await stands between the question and the taking, so nothing comes between them.

        Raises:
            Unavailable: no room for another counter, or for another take to remember.
            ValueError: two demands name one counter.
        """
        if len({demand.counter for demand in demands}) < len(demands):
            raise ValueError("one counter in two demands of one take")
        now = self._tick()
        self._sweep(now, SWEEP)
        meters = [self._meter(demand) for demand in demands]
        waits = self._waits(meters, demands, now)
        if any(waits):
            return Tally(False, _levels(meters, demands, waits, now))
        self._reserve(demands, now)
        parts = tuple(
            (meter, self._take(meter, demand, demand.cost, now)) for meter, demand in zip(meters, demands, strict=True)
        )
        return Tally(True, _levels(meters, demands, waits, now), Receipt(parts))

    async def settle(self, demands: Sequence[Demand], receipt: object, used: Sequence[int]) -> None:
        """As the port says.

        Raises:
            Unavailable: no room for what is to be remembered. What was used beyond what was taken is then not charged.
            ValueError: a number that is negative or absurd, or not one for each demand.
        """
        if not isinstance(receipt, Receipt):
            raise TypeError("settle wants the receipt of a take that was admitted")
        changes = differences(demands, used)
        parts, receipt.parts = receipt.parts, ()
        if not parts or not any(changes):
            return
        now = self._tick()
        more = []
        for (meter, part), demand, change in zip(parts, demands, changes, strict=True):
            if change < 0:
                self._put_back(meter, demand, -change, part, now)
            elif change > 0:
                more.append((demand, change))
        self._reserve([demand for demand, _ in more], now)
        for demand, change in more:
            self._take(self._meter(demand), demand, change, now)

    def _tick(self) -> int:
        self._now = max(self._now, int(self._clock() * SECOND))
        return self._now

    def _meter(self, demand: Demand) -> Meter:
        """The counter, or a new one that is kept only if something is taken."""
        meter = self._meters.get(demand.counter)
        return METERS[demand.algorithm](demand) if meter is None else meter

    def _waits(self, meters: list[Meter], demands: Sequence[Demand], now: int) -> list[int]:
        before = sum(meter.size() for meter in meters)
        waits = [meter.wait(demand, now) for meter, demand in zip(meters, demands, strict=True)]
        self._takes += sum(meter.size() for meter in meters) - before  # asking makes them forget what has aged
        return waits

    def _take(self, meter: Meter, demand: Demand, amount: int, now: int) -> int:
        before = meter.size()
        part = meter.take(demand, amount, now)
        self._takes += meter.size() - before
        if demand.counter not in self._meters:
            self._meters[demand.counter] = meter
            heappush(self._aging, (meter.fresh_at(now), demand.counter))
        return part

    def _put_back(self, meter: Meter, demand: Demand, amount: int, part: int, now: int) -> None:
        before = meter.size()
        meter.put_back(demand, amount, part, now)
        if self._meters.get(demand.counter) is meter:
            self._takes += meter.size() - before

    def _reserve(self, demands: Sequence[Demand], now: int) -> None:
        """Room for what `demands` add. Raises: Unavailable."""
        new = sum(demand.counter not in self._meters for demand in demands)
        if self._full(new, len(demands)):
            self._sweep(now, len(self._aging))
        if self._full(new, len(demands)):
            raise Unavailable(f"{len(self._meters)} rate limit counters are in use, as many as this process keeps")

    def _full(self, counters: int, takes: int) -> bool:
        return len(self._meters) + counters > self._most_counters or self._takes + takes > self._most_takes

    def _sweep(self, now: int, most: int) -> None:
        """Forget counters that are as good as new. `_aging` has each counter once, at a time at or before that one."""
        while most and self._aging and self._aging[0][0] <= now:
            most -= 1
            counter = self._aging[0][1]
            meter = self._meters[counter]
            fresh_at = meter.fresh_at(now)
            if fresh_at > now:
                heapreplace(self._aging, (fresh_at, counter))
                continue
            heappop(self._aging)
            del self._meters[counter]
            self._takes -= meter.size()


def _levels(meters: list[Meter], demands: Sequence[Demand], waits: list[int], now: int) -> tuple[Level, ...]:
    return tuple(
        Level(
            meter.left(demand, now),
            math.inf if wait == NEVER else wait / SECOND,
            (meter.fresh_at(now) - now) / SECOND,
        )
        for meter, demand, wait in zip(meters, demands, waits, strict=True)
    )
