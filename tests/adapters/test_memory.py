"""Counters in memory: bounded, and never at the cost of a counter that is in use. What they count is in `contract/`."""

from dataclasses import replace

import pytest

from extproc.adapters.memory import Counters
from extproc.adapters.meters import MOST_ENTRIES, MOST_SEEN, SECOND, SlidingWindow
from extproc.errors import Unavailable
from extproc.ports import Algorithm, Demand
from extproc.testing import Clock


def demand(name: str, algorithm: Algorithm = Algorithm.SLIDING_WINDOW, limit: int = 2, window: float = 10.0) -> Demand:
    return Demand(name.encode(), algorithm, limit, window, limit)


every_algorithm = pytest.mark.parametrize("algorithm", Algorithm)


@every_algorithm
async def test_many_keys_reset_nobody(algorithm: Algorithm) -> None:
    counters = Counters(Clock(), most_counters=3)
    spent = demand("victim", algorithm, 1)
    assert (await counters.take([spent])).admitted
    refused = 0
    for number in range(50):
        try:
            await counters.take([demand(f"attack-{number}", algorithm)])
        except Unavailable:
            refused += 1
    assert refused == 48
    assert not (await counters.take([spent])).admitted


@every_algorithm
async def test_a_known_counter_is_served_when_all_are_in_use(algorithm: Algorithm) -> None:
    counters = Counters(Clock(), most_counters=1)
    for _ in range(2):
        assert (await counters.take([demand("a", algorithm, 3)])).admitted
    with pytest.raises(Unavailable):
        await counters.take([demand("a", algorithm, 3), demand("b", algorithm)])
    assert counters.in_use == 1
    assert (await counters.take([demand("a", algorithm, 3)])).levels[0].remaining == 0


@every_algorithm
async def test_counters_that_are_as_good_as_new_are_forgotten(algorithm: Algorithm) -> None:
    clock = Clock(6000.0)
    counters = Counters(clock, most_counters=100)
    for number in range(100):
        await counters.take([demand(str(number), algorithm)])
    clock.advance(10.1)
    assert (await counters.take([demand("one more", algorithm)])).admitted
    for _ in range(10):
        await counters.take([demand("one more", algorithm)])
    assert counters.in_use == 1


async def test_a_counter_in_use_outlives_its_first_window() -> None:
    clock = Clock(6000.0)
    counters = Counters(clock, most_counters=2)
    for _ in range(20):
        await counters.take([demand("busy", limit=1)])
        clock.advance(6)
        await counters.take([demand("busy", limit=1)])
        assert counters.in_use == 1
    await counters.take([demand("busy", limit=1)])
    assert not (await counters.take([demand("busy", limit=1)])).admitted


async def test_what_sliding_windows_remember_is_bounded() -> None:
    clock = Clock(6000.0)
    counters = Counters(clock, most_takes=10)
    for _ in range(10):
        await counters.take([demand("a", limit=100)])
        clock.advance(0.1)
    with pytest.raises(Unavailable):
        await counters.take([demand("a", limit=100)])
    with pytest.raises(Unavailable):
        await counters.take([demand("b", limit=100)])
    clock.advance(10)
    for _ in range(10):
        await counters.take([demand("a", limit=100)])
        clock.advance(0.1)
    with pytest.raises(Unavailable):
        await counters.take([demand("a", limit=100)])


async def test_taking_and_giving_back_leaves_nothing_behind() -> None:
    counters = Counters(Clock(), most_takes=3)
    for _ in range(50):
        tally = await counters.take([demand("a", limit=100), demand("b", limit=100)])
        await counters.settle([demand("a", limit=100), demand("b", limit=100)], tally.receipt, [0, 0])
    assert (await counters.take([demand("a", limit=100)])).levels[0].remaining == 99


async def test_what_is_taken_at_one_instant_is_one_entry_whatever_it_amounts_to() -> None:
    counters = Counters(Clock(), most_takes=2)
    wanted = demand("a", limit=10**9)
    for cost in (1, 10**6, 7 * 10**8):
        assert (await counters.take([replace(wanted, cost=cost)])).admitted


async def test_a_window_of_many_takes_keeps_a_bounded_number_and_loses_none() -> None:
    """Beyond MOST_ENTRIES an entry counts up to a tick longer than the take; never shorter, and none gets lost."""
    window, takes, total = 12.0, 300_000, 0
    wanted = demand("a", limit=10**9, window=window)
    meter = SlidingWindow(wanted)
    step = int(window * SECOND) // takes
    tick = int(window * SECOND) // MOST_ENTRIES
    receipts = []
    for number in range(takes):
        now = number * step
        receipts.append((now, meter.take(wanted, number % 3, now)))
        total += number % 3
        assert meter.size() <= 2 * MOST_ENTRIES + 1
    assert meter.size() > MOST_ENTRIES
    assert all(0 <= entry - taken < tick for taken, entry in receipts)
    assert [taken for taken, entry in receipts[:MOST_ENTRIES]] == [entry for _, entry in receipts[:MOST_ENTRIES]]
    for number in range(5, takes, takes // 100):
        meter.put_back(wanted, number % 3, receipts[number][1], now)
        total -= number % 3
    assert meter.left(wanted, now) == 10**9 - total
    assert meter.left(wanted, now + tick + int(window * SECOND)) == 10**9


def test_one_question_looks_at_a_bounded_number_of_takes() -> None:
    """Who is over a budget of a day, and asks for much, must not have the loop look at a day's takes each time."""
    wanted = demand("a", limit=10**9, window=10.0)
    meter = SlidingWindow(wanted)
    for now in range(MOST_SEEN + 100):
        meter.take(wanted, 1, now)
    for missing in (1, MOST_SEEN, MOST_SEEN + 50):
        asked = replace(wanted, limit=10_000, cost=10_000 - (MOST_SEEN + 100) + missing)
        assert meter.wait(asked, 5000) == min(missing, MOST_SEEN) - 1 + 10 * SECOND - 5000


@every_algorithm
async def test_what_was_used_beyond_is_charged_though_the_counter_was_forgotten(algorithm: Algorithm) -> None:
    clock = Clock(6000.0)
    counters = Counters(clock)
    wanted = demand("a", algorithm)
    tally = await counters.take([wanted])
    clock.advance(100)
    await counters.take([demand("b", algorithm)])
    assert counters.in_use == 1
    await counters.settle([wanted], tally.receipt, [3])
    assert counters.in_use == 2
    assert (await counters.take([replace(wanted, cost=0)])).levels[0].remaining == 0


async def test_what_was_used_beyond_finds_no_room() -> None:
    """What can be returned is; the excess is told, and the receipt is used up."""
    clock = Clock(6000.0)
    counters = Counters(clock, most_counters=2)
    demands = [demand("a"), demand("b", window=1000.0)]
    tally = await counters.take(demands)
    clock.advance(100)
    await counters.take([demand("c")])
    with pytest.raises(Unavailable):
        await counters.settle(demands, tally.receipt, [2, 0])
    await counters.settle(demands, tally.receipt, [2, 2])
    assert (await counters.take([demand("b", window=1000.0)])).levels[0].remaining == 1


async def test_a_refusal_makes_no_counter() -> None:
    counters = Counters(Clock())
    await counters.take([demand("full", limit=1)])
    for number in range(10):
        assert not (await counters.take([demand("full", limit=1), demand(str(number))])).admitted
    assert counters.in_use == 1


@every_algorithm
async def test_a_clock_that_is_set_back_frees_nothing_and_holds_nothing(algorithm: Algorithm) -> None:
    clock = Clock(6000.0)
    counters = Counters(clock)
    await counters.take([demand("a", algorithm, 1)])
    clock.advance(-3000)
    assert not (await counters.take([demand("a", algorithm, 1)])).admitted
    clock.advance(3010.1)
    assert (await counters.take([demand("a", algorithm, 1)])).admitted


async def test_one_counter_twice_in_one_take_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="one counter"):
        await Counters(Clock()).take([demand("a"), demand("a")])


async def test_a_receipt_of_nothing_is_a_mistake() -> None:
    with pytest.raises(TypeError):
        await Counters(Clock()).settle([demand("a")], None, [0])
