"""What every `CounterStore` keeps when it is asked, whatever it is made of. What it keeps when a take is settled is in
`test_settlement`.
"""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.ports import Algorithm, Demand
from extproc.testing import Clock
from tests.contract.counter_stores import Store, demand, every_algorithm, every_store

TICK = 1 / 512
"""Steps of time that are whole in binary and in nanoseconds: the model and the store see the same instant."""


@every_store
@every_algorithm
async def test_the_limit_is_reached_and_then_refused(store: Store, algorithm: Algorithm) -> None:
    clock = Clock(6000.0)
    counters, wanted = store(clock), demand(algorithm)
    tallies = [await counters.take([wanted]) for _ in range(7)]
    assert [tally.admitted for tally in tallies] == [True] * 5 + [False] * 2
    assert [tally.levels[0].remaining for tally in tallies] == [4, 3, 2, 1, 0, 0, 0]
    assert all(tally.levels[0].retry_after == 0 for tally in tallies[:5])
    assert 0 < tallies[5].levels[0].retry_after <= tallies[5].levels[0].reset_after <= 60


@every_store
@every_algorithm
async def test_retry_after_is_true(store: Store, algorithm: Algorithm) -> None:
    clock = Clock(6000.0)
    counters, wanted = store(clock), demand(algorithm)
    for _ in range(5):
        await counters.take([wanted])
        clock.advance(1)
    wait = (await counters.take([wanted])).levels[0].retry_after
    clock.advance(wait - TICK)
    assert not (await counters.take([wanted])).admitted
    clock.advance(TICK)
    assert (await counters.take([wanted])).admitted


@every_store
@every_algorithm
async def test_reset_after_is_true(store: Store, algorithm: Algorithm) -> None:
    clock = Clock(6000.0)
    counters, wanted = store(clock), demand(algorithm)
    await counters.take([wanted])
    clock.advance(1)
    level = (await counters.take([wanted])).levels[0]
    clock.advance(level.reset_after)
    fresh = await counters.take([wanted])
    assert fresh.levels[0].remaining == 4
    assert fresh.levels[0].reset_after == (await store(clock).take([wanted])).levels[0].reset_after


@every_store
@every_algorithm
async def test_several_limits_are_taken_together_or_not_at_all(store: Store, algorithm: Algorithm) -> None:
    counters = store(Clock())
    narrow, wide = demand(algorithm, 2, counter=b"narrow"), demand(algorithm, 9, counter=b"wide")
    for _ in range(2):
        assert (await counters.take([wide, narrow])).admitted
    for _ in range(5):
        refused = await counters.take([wide, narrow])
        assert not refused.admitted
        assert refused.levels[0].retry_after == 0 < refused.levels[1].retry_after
    assert (await counters.take([wide])).levels[0].remaining == 6


@every_store
@every_algorithm
async def test_counters_are_apart(store: Store, algorithm: Algorithm) -> None:
    counters = store(Clock())
    for counter in (b"a", b"b", b""):
        assert (await counters.take([demand(algorithm, 1, counter=counter)])).admitted


@every_store
@every_algorithm
async def test_more_than_it_ever_holds_is_refused_for_ever(store: Store, algorithm: Algorithm) -> None:
    tally = await store(Clock()).take([demand(algorithm, 5, cost=6)])
    assert not tally.admitted
    assert tally.levels[0].retry_after == float("inf")
    assert tally.levels[0].remaining == 5


@every_store
@every_algorithm
async def test_a_limit_that_was_changed_counts_what_was_taken(store: Store, algorithm: Algorithm) -> None:
    clock = Clock(6000.0)
    counters = store(clock)
    for _ in range(4):
        await counters.take([demand(algorithm, 6)])
    assert not (await counters.take([demand(algorithm, 3, burst=3)])).admitted
    assert (await counters.take([demand(algorithm, 9, burst=9)])).admitted


@dataclass
class Model:
    """What was admitted and not given back: (time in ticks, cost), by the letter of DESIGN section 7."""

    wanted: Demand
    taken: list[tuple[int, int]] = field(default_factory=list)

    def within_limit(self) -> bool:
        return all(map(self._within_limit_at, range(len(self.taken))))

    def _within_limit_at(self, last: int) -> bool:
        """Whether no stretch of takes that ends with this one is more than is allowed in the time it took."""
        amount = 0
        for time, cost in reversed(self.taken[: last + 1]):
            amount += cost
            if not self._allowed(amount, time, self.taken[last][0]):
                return False
        return True

    def _allowed(self, amount: int, start: int, end: int) -> bool:
        window = int(self.wanted.window / TICK)
        match self.wanted.algorithm:
            case Algorithm.SLIDING_WINDOW:
                return end - start >= window or amount <= self.wanted.limit
            case Algorithm.FIXED_WINDOW:
                return start // window != end // window or amount <= self.wanted.limit
            case Algorithm.TOKEN_BUCKET:
                return amount * window <= self.wanted.burst * window + self.wanted.limit * (end - start)


STEPS = st.lists(
    st.tuples(
        st.one_of(st.just(0), st.integers(0, 40), st.integers(0, 3000)),
        st.integers(1, 3),
        st.one_of(st.none(), st.integers(0, 6)),
    ),
    min_size=30,
    max_size=60,
)
"""Each: ticks that pass, the cost that is asked for, and which of the last takes is given back first, if any."""


@every_store
@every_algorithm
@settings(max_examples=60, deadline=None)
@given(
    steps=STEPS, limit=st.integers(1, 7), window=st.sampled_from([0.25, 1.0, 7.0]), extra=st.sampled_from([-3, 0, 4])
)
async def test_never_more_is_admitted_than_the_rule_says(
    store: Store,
    algorithm: Algorithm,
    steps: list[tuple[int, int, int | None]],
    limit: int,
    window: float,
    extra: int,
) -> None:
    clock, now = Clock(0.0), 10_000
    counters = store(clock)
    burst = max(1, limit + extra)
    model = Model(demand(algorithm, limit, window, burst=burst))
    held: list[tuple[tuple[int, int], Demand, object]] = []
    for passed, cost, back in steps:
        now += passed
        clock.seconds = now * TICK
        if back is not None and back < len(held):
            entry, wanted, receipt = held.pop(-1 - back)
            await counters.settle([wanted], receipt, [0])
            model.taken.remove(entry)
        wanted = demand(algorithm, limit, window, burst=burst, cost=cost)
        tally = await counters.take([wanted])
        assert tally.admitted == (tally.levels[0].retry_after == 0)
        assert tally.levels[0].remaining >= 0
        if tally.admitted:
            model.taken.append((now, cost))
            held.append(((now, cost), wanted, tally.receipt))
    assert model.within_limit()


@every_store
@every_algorithm
@settings(max_examples=60, deadline=None)
@given(steps=STEPS, limit=st.integers(1, 7), window=st.sampled_from([0.25, 1.0, 7.0]))
async def test_nothing_is_refused_that_the_rule_allows(
    store: Store,
    algorithm: Algorithm,
    steps: list[tuple[int, int, int | None]],
    limit: int,
    window: float,
) -> None:
    clock, now = Clock(0.0), 10_000
    counters = store(clock)
    model = Model(demand(algorithm, limit, window))
    for passed, cost, _ in steps:
        now += passed
        clock.seconds = now * TICK
        tally = await counters.take([demand(algorithm, limit, window, cost=cost)])
        would_be = Model(model.wanted, [*model.taken, (now, cost)])
        assert tally.admitted == would_be.within_limit()
        if tally.admitted:
            model = would_be


@every_store
@every_algorithm
@settings(max_examples=40, deadline=None)
@given(steps=STEPS, limit=st.integers(1, 7))
async def test_a_take_that_is_given_back_at_once_never_was(
    store: Store, algorithm: Algorithm, steps: list[tuple[int, int, int | None]], limit: int
) -> None:
    clock = Clock(0.0)
    plain, disturbed, now = store(clock), store(clock), 10_000
    for passed, cost, back in steps:
        now += passed
        clock.seconds = now * TICK
        wanted = demand(algorithm, limit, 1.0, cost=cost)
        if back is not None:
            tally = await disturbed.take([wanted])
            if tally.admitted:
                await disturbed.settle([wanted], tally.receipt, [0])
        one, other = await plain.take([wanted]), await disturbed.take([wanted])
        assert (one.admitted, one.levels) == (other.admitted, other.levels)
