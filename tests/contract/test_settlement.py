"""What every `CounterStore` keeps when it is told what a take used in the end."""

import asyncio
from dataclasses import dataclass, field
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.adapters.meters import MOST_USED
from extproc.errors import Unavailable
from extproc.ports import Algorithm, Demand, Tally
from extproc.testing import Clock
from tests.contract.counter_stores import Store, demand, every_algorithm, every_store

TICK = 1 / 64
"""Steps of time that are whole in binary and in microseconds: the model and the store see the same instant."""

MILLION = 10**6


async def left(counters: object, wanted: Demand) -> int:
    """Asked with a take of nothing."""
    return (await counters.take([demand(wanted.algorithm, wanted.limit, wanted.window, cost=0)])).levels[0].remaining


@every_store
@every_algorithm
@pytest.mark.parametrize(("used", "remaining"), [(0, MILLION), (1, MILLION - 1), (300, MILLION - 300)])
async def test_what_was_not_used_is_returned(store: Store, algorithm: Algorithm, used: int, remaining: int) -> None:
    counters, wanted = store(Clock(6000.0)), demand(algorithm, MILLION, cost=MILLION)
    tally = await counters.take([wanted])
    assert tally.levels[0].remaining == 0
    await counters.settle([wanted], tally.receipt, [used])
    assert await left(counters, wanted) == remaining


@every_store
@every_algorithm
async def test_what_was_used_beyond_is_taken_even_without_room(store: Store, algorithm: Algorithm) -> None:
    counters, wanted = store(Clock(6000.0)), demand(algorithm, 1000, cost=600)
    tally = await counters.take([wanted])
    await counters.settle([wanted], tally.receipt, [900])
    assert await left(counters, wanted) == 100
    other = demand(algorithm, 1000, cost=100)
    tally = await counters.take([other])
    await counters.settle([other], tally.receipt, [5000])
    refused = await counters.take([demand(algorithm, 1000, cost=1)])
    assert not refused.admitted
    assert refused.levels[0].remaining == 0
    assert refused.levels[0].retry_after > 0


@every_store
@every_algorithm
@pytest.mark.parametrize("cost", [0, 1, 1000])
async def test_an_overdrawn_counter_says_how_long_it_takes(store: Store, algorithm: Algorithm, cost: int) -> None:
    clock = Clock(6000.0)
    counters, wanted = store(clock), demand(algorithm, 1000, 8.0, cost=1000)
    tally = await counters.take([wanted])
    clock.advance(2)
    await counters.settle([wanted], tally.receipt, [3000])
    asked = demand(algorithm, 1000, 8.0, cost=cost)
    wait = (await counters.take([asked])).levels[0].retry_after
    match algorithm:
        case Algorithm.SLIDING_WINDOW:
            assert wait == 8  # 1000 are gone in 6 seconds, the other 2000 only in 8
        case Algorithm.FIXED_WINDOW:
            assert wait == 6  # 6000 seconds is the begin of a window
        case Algorithm.TOKEN_BUCKET:
            assert wait == 22 - (1000 - cost) / 125  # 3000 at 125 a second, 2 seconds of which have passed
    clock.advance(wait - TICK)
    assert not (await counters.take([asked])).admitted
    clock.advance(TICK)
    assert (await counters.take([asked])).admitted


@every_store
@every_algorithm
async def test_as_much_as_was_taken_changes_nothing(store: Store, algorithm: Algorithm) -> None:
    counters, wanted = store(Clock(6000.0)), demand(algorithm, 1000, cost=600)
    tally = await counters.take([wanted])
    await counters.settle([wanted], tally.receipt, [600])
    assert await left(counters, wanted) == 400
    await counters.settle([wanted], tally.receipt, [0])
    assert await left(counters, wanted) == 400


@every_store
@every_algorithm
@pytest.mark.parametrize("first", [0, 300, 900])
@pytest.mark.parametrize("second", [0, 300, 900])
async def test_a_receipt_is_good_for_once(store: Store, algorithm: Algorithm, first: int, second: int) -> None:
    counters, wanted = store(Clock(6000.0)), demand(algorithm, 1000, cost=600)
    tally = await counters.take([wanted])
    await counters.settle([wanted], tally.receipt, [first])
    await counters.settle([wanted], tally.receipt, [second])
    assert await left(counters, wanted) == 1000 - first


@every_store
@every_algorithm
@pytest.mark.parametrize("used", [[-1], [MOST_USED + 1], [], [0, 0]])
async def test_an_absurd_number_is_a_mistake_and_settles_nothing(
    store: Store, algorithm: Algorithm, used: list[int]
) -> None:
    counters, wanted = store(Clock(6000.0)), demand(algorithm, 1000, cost=600)
    tally = await counters.take([wanted])
    with pytest.raises(ValueError, match=r"settled with|wanted are numbers"):
        await counters.settle([wanted], tally.receipt, used)
    await counters.settle([wanted], tally.receipt, [0])
    assert await left(counters, wanted) == 1000


@every_store
@every_algorithm
async def test_what_was_refused_has_no_receipt(store: Store, algorithm: Algorithm) -> None:
    counters, wanted = store(Clock(6000.0)), demand(algorithm, 1, cost=2)
    refused = await counters.take([wanted])
    with pytest.raises((TypeError, Unavailable)):
        await counters.settle([wanted], refused.receipt, [0])


@every_store
@every_algorithm
async def test_the_largest_numbers_are_exact(store: Store, algorithm: Algorithm) -> None:
    billion = 10**9
    counters, wanted = store(Clock(1_800_000_000.0)), demand(algorithm, billion, 3600.0, cost=billion)
    tally = await counters.take([wanted])
    await counters.settle([wanted], tally.receipt, [billion - 1])
    assert await left(counters, wanted) == 1
    one = demand(algorithm, billion, 3600.0)
    tally = await counters.take([one])
    await counters.settle([one], tally.receipt, [MOST_USED])
    refused = await counters.take([one])
    assert (refused.admitted, refused.levels[0].remaining) == (False, 0)


@every_store
@every_algorithm
async def test_late_excess_counts_when_it_is_told(store: Store, algorithm: Algorithm) -> None:
    clock = Clock(6000.0)
    counters, wanted = store(clock), demand(algorithm, 1000, 8.0, cost=600)
    tally = await counters.take([wanted])
    clock.advance(800)
    await counters.settle([wanted], tally.receipt, [1000])
    assert await left(counters, wanted) == 600
    clock.advance(8)
    assert await left(counters, wanted) == 1000


@every_store
@every_algorithm
async def test_what_time_has_returned_is_not_returned_again(store: Store, algorithm: Algorithm) -> None:
    clock = Clock(6000.0)
    counters, wanted = store(clock), demand(algorithm, 1000, 8.0, cost=600)
    old = await counters.take([wanted])
    clock.advance(8)
    await counters.take([wanted])
    await counters.settle([wanted], old.receipt, [0])
    assert await left(counters, wanted) == 400


@every_store
@every_algorithm
async def test_what_is_never_settled_ages(store: Store, algorithm: Algorithm) -> None:
    clock = Clock(6000.0)
    counters, wanted = store(clock), demand(algorithm, 1000, 8.0, cost=10)
    for _ in range(5):
        admitted = [(await counters.take([wanted])).admitted for _ in range(101)]
        assert admitted == [True] * 100 + [False]
        clock.advance(8)
    assert await left(counters, wanted) == 1000


@every_store
async def test_several_demands_are_settled_each_by_its_own_number(store: Store) -> None:
    counters = store(Clock(6000.0))
    demands = [
        demand(algorithm, 1000, counter=b"%d" % used + algorithm.value.encode(), cost=100, group=b"g")
        for algorithm in Algorithm
        for used in (0, 40, 100, 170)
    ]
    tally = await counters.take(demands)
    await counters.settle(demands, tally.receipt, [0, 40, 100, 170] * 3)
    again = await counters.take(demands)
    assert [level.remaining for level in again.levels] == [900, 860, 800, 730] * 3


@every_store
@every_algorithm
async def test_takes_and_settlings_at_once_lose_nothing(store: Store, algorithm: Algorithm) -> None:
    """Each receipt is settled by two who do not know of each other."""
    counters, wanted = store(Clock(6000.0)), demand(algorithm, 20_000, cost=100)

    async def exchange(used: int) -> bool:
        tally = await counters.take([wanted])
        await asyncio.gather(*(counters.settle([wanted], tally.receipt, [used]) for _ in range(2)))
        return tally.admitted

    assert all(await asyncio.gather(*map(exchange, range(50, 150))))
    remaining = await left(counters, wanted)
    used = sum(range(50, 150))
    if algorithm is Algorithm.TOKEN_BUCKET:  # what may have overflowed is not returned
        assert 20_000 - used - sum(range(50)) - 50 <= remaining <= 20_000 - used
    else:
        assert remaining == 20_000 - used


@dataclass
class Entry:
    """What was taken at a time (ticks); `certain` is what a store may still count of it after a refund."""

    time: int
    amount: int
    certain: int


@dataclass
class Model:
    """What was taken, and changed when it was settled: the letter of DESIGN section 7, by adding it all up."""

    wanted: Demand
    entries: list[Entry] = field(default_factory=list)

    @property
    def window(self) -> int:
        return int(self.wanted.window / TICK)

    def take(self, time: int, amount: int) -> Entry:
        self.entries.append(Entry(time, amount, amount))
        return self.entries[-1]

    def settle(self, time: int, entry: Entry, used: int) -> None:
        if used > entry.amount:
            self.take(time, used - entry.amount)
            return
        entry.amount = used
        if entry is self.entries[-1] or self.wanted.algorithm is not Algorithm.TOKEN_BUCKET:
            entry.certain = used

    def room(self, now: int, *, certain: bool = False) -> Fraction:
        """What is left, below 0 if it is overdrawn."""
        taken = [(each.time, each.certain if certain else each.amount) for each in self.entries]
        match self.wanted.algorithm:
            case Algorithm.SLIDING_WINDOW:
                return Fraction(self.wanted.limit - sum(many for time, many in taken if time > now - self.window))
            case Algorithm.FIXED_WINDOW:
                begin = now - now % self.window
                return Fraction(self.wanted.limit - sum(many for time, many in taken if time >= begin))
            case Algorithm.TOKEN_BUCKET:
                return self.wanted.burst - self._debt(taken, now)

    def _debt(self, taken: list[tuple[int, int]], now: int) -> Fraction:
        debt, last = Fraction(0), 0
        for time, many in [*taken, (now, 0)]:
            debt = max(Fraction(0), debt - Fraction(self.wanted.limit * (time - last), self.window)) + many
            last = time
        return debt

    def agrees(self, tally: Tally, now: int, cost: int) -> None:
        """That a store may say this when it is asked for `cost`: exactly this, but for a bucket to which was returned what
        might have overflowed. It may then hold less than the letter says, and never more.
        """
        most, least = self.room(now), self.room(now, certain=True)
        assert tally.admitted <= (cost <= most)
        assert tally.admitted >= (cost <= least)
        taken = cost if tally.admitted else 0
        assert max(0, least - taken) // 1 <= tally.levels[0].remaining <= max(0, most - taken) // 1
        assert tally.admitted == (tally.levels[0].retry_after == 0)

    def waits(self, tally: Tally, now: int, cost: int) -> None:
        """That the told wait is true: there is no room for `cost` before, and there is then."""
        wait = tally.levels[0].retry_after
        if cost > min(self.wanted.limit, self.wanted.burst):
            assert wait == float("inf")
        elif wait and self.wanted.algorithm is not Algorithm.TOKEN_BUCKET:
            then = now + round(wait / TICK)
            assert then - now == wait / TICK
            assert self.room(then - 1) < cost <= self.room(then)


STEPS = st.lists(
    st.tuples(
        st.one_of(st.just(0), st.integers(0, 8), st.integers(0, 300)),
        st.integers(0, 110),
        st.one_of(st.none(), st.integers(0, 5)),
        st.one_of(st.just(0), st.just(100), st.integers(0, 250), st.integers(250, 2000)),
    ),
    min_size=20,
    max_size=60,
)
"""Each: ticks that pass; what is asked for, in percent of the limit; which of the last takes is settled first, if any, and
what it used, in percent of what it took. What is never chosen is never settled.
"""


@every_store
@every_algorithm
@settings(max_examples=60, deadline=None)
@given(
    steps=STEPS,
    limit=st.sampled_from([1, 3, 7, 100, 12_345, MILLION, 10**9]),
    window=st.sampled_from([0.25, 1.0, 7.0]),
)
async def test_every_level_is_what_adding_up_says(
    store: Store,
    algorithm: Algorithm,
    steps: list[tuple[int, int, int | None, int]],
    limit: int,
    window: float,
) -> None:
    clock, now = Clock(0.0), 10_000
    counters, model = store(clock), Model(demand(algorithm, limit, window))
    held: list[tuple[Demand, Entry, object]] = []
    for passed, percent, chosen, part in steps:
        now += passed
        clock.seconds = now * TICK
        if chosen is not None and chosen < len(held):
            wanted, entry, receipt = held.pop(-1 - chosen)
            used = wanted.cost * part // 100
            await counters.settle([wanted], receipt, [used])
            model.settle(now, entry, used)
        wanted = demand(algorithm, limit, window, cost=limit * percent // 100)
        tally = await counters.take([wanted])
        model.agrees(tally, now, wanted.cost)
        if tally.admitted:
            held.append((wanted, model.take(now, wanted.cost), tally.receipt))
        else:
            model.waits(tally, now, wanted.cost)
