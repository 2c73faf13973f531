"""How one counter counts, by each algorithm of DESIGN section 7.

Time is whole nanoseconds and never runs backwards: the caller sees to that. With whole numbers nothing is rounded, so a
limit is kept exactly. A meter is asked first (`wait`) and then told (`take`); `take` gives a receipt for `give_back`.
"""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Protocol

from extproc.ports import Algorithm, Demand

SECOND: Final = 1_000_000_000
NEVER: Final = -1
"""A wait for more than the counter can ever hold."""


class Meter(Protocol):
    """One counter. All times are nanoseconds of the same clock."""

    def wait(self, demand: Demand, now: int) -> int:
        """How long until there is room for `demand`: 0 if there is, NEVER if there cannot be."""
        ...

    def left(self, demand: Demand, now: int) -> int:
        """How much could be taken now."""
        ...

    def fresh_at(self, now: int) -> int:
        """When it is as good as new, if nothing more is taken."""
        ...

    def take(self, demand: Demand, now: int) -> int:
        """Take what `wait` said there is room for; the receipt."""
        ...

    def give_back(self, demand: Demand, receipt: int, now: int) -> None:
        """Return what that `take` took; nothing, if time has returned it already."""
        ...

    def size(self) -> int:
        """How many takes it remembers one by one."""
        ...


class SlidingWindow:
    """Exact: what was taken and when, as long as it is within the window that ends now.

    Two flat arrays cost 16 bytes for each take; `_first` is the oldest entry that still counts.
    """

    __slots__ = ("_amounts", "_first", "_times", "_used", "_window")

    def __init__(self, demand: Demand) -> None:
        self._window = window_of(demand)
        self._times = array("q")
        self._amounts = array("q")
        self._first = 0
        self._used = 0

    def size(self) -> int:
        return len(self._times)

    def wait(self, demand: Demand, now: int) -> int:
        if demand.cost > demand.limit:
            return NEVER
        self._forget(now)
        missing = self._used + demand.cost - demand.limit
        index = self._first
        until = now
        while missing > 0:
            missing -= self._amounts[index]
            until = self._times[index] + self._window
            index += 1
        return until - now

    def left(self, demand: Demand, now: int) -> int:
        self._forget(now)
        return max(0, demand.limit - self._used)

    def fresh_at(self, now: int) -> int:
        return max(now, self._times[-1] + self._window) if self._times else now

    def take(self, demand: Demand, now: int) -> int:
        self._times.append(now)
        self._amounts.append(demand.cost)
        self._used += demand.cost
        return now

    def give_back(self, demand: Demand, receipt: int, now: int) -> None:
        self._forget(now)
        index = bisect_left(self._times, receipt, self._first)
        while index < len(self._times) and self._times[index] == receipt:
            if self._amounts[index] == demand.cost:
                self._used -= demand.cost
                del self._times[index], self._amounts[index]
                return
            index += 1

    def _forget(self, now: int) -> None:
        times, first, end = self._times, self._first, now - self._window
        while first < len(times) and times[first] <= end:
            self._used -= self._amounts[first]
            first += 1
        if first * 2 > len(times):  # at most every second time: what is moved was paid for by what is dropped
            del times[:first], self._amounts[:first]
            first = 0
        self._first = first


class FixedWindow:
    """So much in each window of the clock: windows of a minute begin with the minute."""

    __slots__ = ("_start", "_used", "_window")

    def __init__(self, demand: Demand) -> None:
        self._window = window_of(demand)
        self._start = 0
        self._used = 0

    def size(self) -> int:
        return 0

    def wait(self, demand: Demand, now: int) -> int:
        if demand.cost > demand.limit:
            return NEVER
        return 0 if demand.cost <= self.left(demand, now) else self._start + self._window - now

    def left(self, demand: Demand, now: int) -> int:
        self._turn(now)
        return max(0, demand.limit - self._used)

    def fresh_at(self, now: int) -> int:
        return max(now, self._start + self._window) if self._used else now

    def take(self, demand: Demand, now: int) -> int:
        self._turn(now)
        self._used += demand.cost
        return self._start

    def give_back(self, demand: Demand, receipt: int, now: int) -> None:
        self._turn(now)
        if receipt == self._start:
            self._used -= demand.cost

    def _turn(self, now: int) -> None:
        start = now - now % self._window
        if start != self._start:
            self._start, self._used = start, 0


class TokenBucket:
    """GCRA (ITU-T I.371): `_full_at` is when the bucket would be full again. At most burst + limit * t / window leave it in
    any time t. Time is counted in nanoseconds times the limit, so that one unit (`window`) is a whole number.
    """

    __slots__ = ("_full_at", "_last", "_limit", "_taken")

    def __init__(self, demand: Demand) -> None:
        self._limit = demand.limit
        self._full_at = 0
        self._last = 0
        self._taken = 0

    def size(self) -> int:
        return 0

    def wait(self, demand: Demand, now: int) -> int:
        if demand.cost > demand.burst:
            return NEVER
        missing = self._debt(demand, now) + (demand.cost - demand.burst) * window_of(demand)
        return max(0, -(-missing // demand.limit))

    def left(self, demand: Demand, now: int) -> int:
        window = window_of(demand)
        return max(0, (demand.burst * window - self._debt(demand, now)) // window)

    def fresh_at(self, now: int) -> int:
        return max(now, -(-self._full_at // self._limit))

    def take(self, demand: Demand, now: int) -> int:
        debt = self._debt(demand, now)
        self._full_at = now * demand.limit + debt + demand.cost * window_of(demand)
        self._taken += demand.cost
        self._last = now
        return self._taken

    def give_back(self, demand: Demand, receipt: int, now: int) -> None:
        """Had this take never been, a bucket that was nearly full would have overflowed and lost what now seems to be left:
        so it is not filled further than the later takes allow.
        """
        self._debt(demand, now)
        window = window_of(demand)
        full_at = self._full_at - demand.cost * window
        if later := self._taken - receipt:
            full_at = max(full_at, min(self._full_at, self._last * demand.limit + later * window))
        self._full_at = full_at

    def _debt(self, demand: Demand, now: int) -> int:
        """What is missing from a full bucket. It stays missing when the limit is changed, which changes the scale of time."""
        debt = max(0, self._full_at - now * self._limit)
        if demand.limit != self._limit:
            self._limit = demand.limit
            self._full_at = now * demand.limit + debt
        return debt


METERS: Final[Mapping[Algorithm, Callable[[Demand], Meter]]] = MappingProxyType(
    {
        Algorithm.SLIDING_WINDOW: SlidingWindow,
        Algorithm.FIXED_WINDOW: FixedWindow,
        Algorithm.TOKEN_BUCKET: TokenBucket,
    }
)


def window_of(demand: Demand) -> int:
    return round(demand.window * SECOND)
