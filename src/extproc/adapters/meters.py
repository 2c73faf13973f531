"""How one counter counts, by each algorithm of DESIGN section 7.

Time is whole nanoseconds and never runs backwards: the caller sees to that. With whole numbers nothing is rounded, so a
limit is kept exactly. A meter is asked first (`wait`) and then told (`take`); `take` gives a receipt for `put_back`. What is
taken without asking may leave a counter overdrawn: it then waits until time has repaid that too.
"""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Protocol

from extproc.ports import Algorithm, Demand

SECOND: Final = 1_000_000_000
NEVER: Final = -1
"""A wait for more than the counter can ever hold."""

MOST_ENTRIES: Final = 100_000
"""Of one sliding window, each at its exact time; what is taken beyond them shares entries (see SlidingWindow)."""

MOST_SEEN: Final = 2048
"""Entries that one question looks at: where more are in the way of it, the wait is at least so long."""

MOST_USED: Final = 2**40
"""What one take may be settled to: sums of it stay whole numbers in every store."""


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

    def take(self, demand: Demand, amount: int, now: int) -> int:
        """Take so much, whether there is room or not; the receipt."""
        ...

    def put_back(self, demand: Demand, amount: int, receipt: int, now: int) -> None:
        """Return so much of what that `take` took; nothing, if time has returned it already."""
        ...

    def size(self) -> int:
        """How many entries it keeps in memory."""
        ...


class SlidingWindow:
    """Exact: what was taken and when, as long as it is within the window that ends now.

    Two flat arrays cost 16 bytes for each entry; `_first` is the oldest one that still counts. What is taken at one instant
    is one entry, whatever it amounts to. Where there are MOST_ENTRIES, what is taken within one tick of window / MOST_ENTRIES
    is one entry too, at the end of the tick: it counts for so much longer, and there are never more than
    2 * MOST_ENTRIES + 1 that count.
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
        until = now
        for index in range(self._first, min(self._first + MOST_SEEN, len(self._times))):
            if missing <= 0:
                break
            missing -= self._amounts[index]
            until = self._times[index] + self._window
        return until - now

    def left(self, demand: Demand, now: int) -> int:
        self._forget(now)
        return max(0, demand.limit - self._used)

    def fresh_at(self, now: int) -> int:
        return max(now, self._times[-1] + self._window) if self._times else now

    def take(self, demand: Demand, amount: int, now: int) -> int:  # noqa: ARG002 - the window is known
        self._forget(now)
        if amount == 0:
            return now
        self._used += amount
        time = self._time(now)
        if self._times and self._times[-1] == time:
            self._amounts[-1] += amount
        else:
            self._times.append(time)
            self._amounts.append(amount)
        return time

    def put_back(self, demand: Demand, amount: int, receipt: int, now: int) -> None:  # noqa: ARG002 - the window is known
        self._forget(now)
        index = bisect_left(self._times, receipt, self._first)
        if index == len(self._times) or self._times[index] != receipt:
            return
        self._used -= amount
        self._amounts[index] -= amount
        if self._amounts[index] == 0:
            del self._times[index], self._amounts[index]

    def _time(self, now: int) -> int:
        """Of the entry for what is taken now: not before the last one, which may be at the end of its tick."""
        if self._times and self._times[-1] >= now:
            return self._times[-1]
        if len(self._times) - self._first < MOST_ENTRIES:
            return now
        tick = -(-self._window // MOST_ENTRIES)
        return -(-now // tick) * tick

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
        self._turn(now)
        return 0 if self._used + demand.cost <= demand.limit else self._start + self._window - now

    def left(self, demand: Demand, now: int) -> int:
        self._turn(now)
        return max(0, demand.limit - self._used)

    def fresh_at(self, now: int) -> int:
        return max(now, self._start + self._window) if self._used else now

    def take(self, demand: Demand, amount: int, now: int) -> int:  # noqa: ARG002 - the window is known
        self._turn(now)
        self._used += amount
        return self._start

    def put_back(self, demand: Demand, amount: int, receipt: int, now: int) -> None:  # noqa: ARG002 - the window is known
        self._turn(now)
        if receipt == self._start:
            self._used -= amount

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

    def take(self, demand: Demand, amount: int, now: int) -> int:
        debt = self._debt(demand, now)
        self._full_at = now * demand.limit + debt + amount * window_of(demand)
        self._taken += amount
        self._last = now
        return self._taken

    def put_back(self, demand: Demand, amount: int, receipt: int, now: int) -> None:
        """Had that take been smaller, a bucket that was nearly full would have overflowed and lost what now seems to be left:
        so it is not filled further than the later takes allow.
        """
        self._debt(demand, now)
        window = window_of(demand)
        full_at = self._full_at - amount * window
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


def differences(demands: Sequence[Demand], used: Sequence[int]) -> list[int]:
    """How much more than was taken (or less, below 0) each demand used in the end.

    Raises: ValueError.
    """
    if len(used) != len(demands):
        raise ValueError(f"{len(demands)} demands are settled with {len(used)} numbers: there is one for each")
    if any(not 0 <= amount <= MOST_USED for amount in used):
        raise ValueError(f"{list(used)} were used: wanted are numbers from 0 to {MOST_USED}")
    return [amount - demand.cost for amount, demand in zip(used, demands, strict=True)]
