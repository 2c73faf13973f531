"""How Redis counts, compared with counters in memory and with fractions; its keys; clocks that are set back.

What every store keeps is in `contract/`.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Iterator
from fractions import Fraction
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.adapters.memory import Counters
from extproc.adapters.meters import MOST_ENTRIES, MOST_USED
from extproc.adapters.redis import RedisCounters
from extproc.adapters.redis_script import MICRO, key
from extproc.ports import Algorithm, Demand, Tally
from extproc.testing import Clock
from tests.adapters.redis_server import BINARY, MISSING, RedisServer, redis_server

pytestmark = pytest.mark.skipif(BINARY is None, reason=MISSING)
every_algorithm = pytest.mark.parametrize("algorithm", Algorithm)

TICK = 1 / 64
"""Whole in binary and in microseconds."""

FRESH = count()
OPENED: list[RedisCounters] = []


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as started:
        yield started


@pytest.fixture(autouse=True)
async def _close() -> AsyncIterator[None]:
    yield
    while OPENED:
        await OPENED.pop().close()


def counters(server: RedisServer, clock: Clock | None = None, prefix: str = "") -> RedisCounters:
    """As a new one each time, by a prefix of its own."""
    prefix = prefix or f"counting-{next(FRESH)}:"
    opened = RedisCounters(server.url, 5.0, connections=1, prefix=prefix, now=clock)
    OPENED.append(opened)
    return opened


def demand(algorithm: Algorithm, limit: int = 5, window: float = 60.0, **more: object) -> Demand:
    return Demand(**{"counter": b"c", "algorithm": algorithm, "limit": limit, "window": window, "burst": limit, **more})


def rounded(tally: Tally) -> tuple[bool, list[tuple[int, int | float, int]]]:
    """With times in whole microseconds, rounded up: Redis tells no finer time."""
    return tally.admitted, [
        (
            level.remaining,
            level.retry_after if math.isinf(level.retry_after) else math.ceil(round(level.retry_after * MICRO, 3)),
            math.ceil(round(level.reset_after * MICRO, 3)),
        )
        for level in tally.levels
    ]


COUNTERS = [(name, algorithm) for algorithm in Algorithm for name in (b"one", b"other")]
STEPS = st.lists(
    st.tuples(
        st.one_of(st.just(0), st.integers(0, 40), st.integers(0, 1500)),
        st.sets(st.integers(0, len(COUNTERS) - 1), min_size=1),
        st.integers(0, 4),
        st.integers(1, 9),
        st.one_of(st.none(), st.integers(0, 6)),
    ),
    min_size=40,
    max_size=80,
)
"""Each: ticks that pass, which counters are asked together, for how much, of what limit, and what is settled before."""


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, window=st.sampled_from([0.25, 1.0, 7.0]), extra=st.integers(-2, 4), changing=st.booleans())
async def test_it_counts_as_the_counters_in_memory_do(
    server: RedisServer,
    steps: list[tuple[int, set[int], int, int, int | None]],
    window: float,
    extra: int,
    changing: bool,
) -> None:
    """Thousands of takes in all, of several counters at once, with limits that change or takes that are settled. Not with
    both: a bucket is counted by the limit of who asked last, and memory and Redis forget full ones at different times.
    """
    clock = Clock(1000.0)
    memory, shared = Counters(clock), counters(server, clock)
    held: list[tuple[list[Demand], object, object]] = []
    for passed, chosen, cost, limit, back in steps:
        clock.advance(passed * TICK)
        if back is not None and back < len(held) and not changing:
            demands, one, other = held.pop(-1 - back)
            used = [demand.cost * part // 2 for part, demand in enumerate(demands, passed % 5)]
            await memory.settle(demands, one, used)
            await shared.settle(demands, other, used)
        bound = limit if changing else 5
        demands = [
            Demand(name + algorithm.value.encode(), algorithm, bound, window, max(1, bound + extra), cost)
            for name, algorithm in map(COUNTERS.__getitem__, sorted(chosen))
        ]
        expected, found = await memory.take(demands), await shared.take(demands)
        assert rounded(found) == rounded(expected)
        if found.admitted:
            held.append((demands, expected.receipt, found.receipt))


@settings(max_examples=60, deadline=None)
@given(
    limit=st.integers(1, 10**9),
    window=st.integers(1, 31 * 24 * 3600 * 64),
    share=st.floats(0.001, 3),
    steps=st.lists(st.tuples(st.integers(0, 5000), st.floats(0, 0.5)), min_size=5, max_size=40),
)
async def test_a_bucket_of_any_size_is_exact(
    server: RedisServer, limit: int, window: int, share: float, steps: list[tuple[int, float]]
) -> None:
    """At today's time, where a product of time and limit is far past what a double of Lua holds."""
    clock = Clock(1_800_000_000.0)
    burst = max(1, int(limit * share))
    shared, full_at = counters(server, clock), Fraction(0)
    for passed, part in steps:
        clock.advance(passed * TICK)
        now, cost = Fraction(clock()), max(1, int(burst * part))
        unit = Fraction(window, 64) / limit
        debt = max(Fraction(0), full_at - now)
        tally = await shared.take([demand(Algorithm.TOKEN_BUCKET, limit, window / 64, burst=burst, cost=cost)])
        assert tally.admitted == (debt + (cost - burst) * unit <= 0)
        if tally.admitted:
            debt += cost * unit
            full_at = now + debt
        assert tally.levels[0].remaining == max(0, (burst * unit - debt) // unit)


@settings(max_examples=60, deadline=None)
@given(
    first=st.integers(1, 10**9),
    second=st.integers(1, 10**9),
    window=st.integers(1, 31 * 24 * 3600 * 64),
    part=st.floats(0.1, 1),
)
async def test_a_bucket_whose_limit_is_changed_gains_nothing(
    server: RedisServer, first: int, second: int, window: int, part: float
) -> None:
    """What is missing stays missing, exactly or rounded up by a few microseconds where the numbers are huge."""
    shared = counters(server, Clock(1_800_000_000.0))
    cost = max(1, int(first * part))
    burst = max(second, cost + 1)
    await shared.take([demand(Algorithm.TOKEN_BUCKET, first, window / 64, cost=cost)])
    if burst * window * 15625 // second > 2**52:
        return
    asked = demand(Algorithm.TOKEN_BUCKET, second, window / 64, burst=burst, cost=0)
    remaining = (await shared.take([asked])).levels[0].remaining
    lost = math.ceil(Fraction(4 * second, window * 15625)) + 1
    assert burst - cost - lost <= remaining <= burst - cost


@every_algorithm
async def test_a_clock_that_is_set_back_a_little_counts_as_no_time(server: RedisServer, algorithm: Algorithm) -> None:
    clock = Clock(6000.0)
    shared = counters(server, clock)
    await shared.take([demand(algorithm, 1, 10.0)])
    clock.advance(-9)
    assert not (await shared.take([demand(algorithm, 1, 10.0)])).admitted
    clock.advance(19)
    assert (await shared.take([demand(algorithm, 1, 10.0)])).admitted


@every_algorithm
async def test_a_clock_that_is_set_back_far_frees_nothing_and_holds_for_one_window(
    server: RedisServer, algorithm: Algorithm
) -> None:
    clock = Clock(6000.0)
    shared = counters(server, clock)
    for _ in range(3):
        await shared.take([demand(algorithm, 3, 10.0)])
    clock.advance(-3000)
    refused = await shared.take([demand(algorithm, 3, 10.0)])
    assert not refused.admitted
    assert refused.levels[0].retry_after <= 10
    assert not (await shared.take([demand(algorithm, 3, 10.0)])).admitted
    clock.advance(10)
    assert (await shared.take([demand(algorithm, 3, 10.0)])).admitted


@every_algorithm
async def test_keys_age_out(server: RedisServer, algorithm: Algorithm) -> None:
    """By the time of Redis. The key lives as long as it counts, and not much longer."""
    shared = counters(server, prefix=f"aging-{algorithm}:")
    for _ in range(3):
        await shared.take([demand(algorithm, 3, 0.25)])
    script = "local k = redis.call('KEYS', ARGV[1]) return {#k, redis.call('PTTL', k[1])}"
    found = server.command("EVAL", script, "0", f"aging-{algorithm}:*")
    keys, ttl = (int(line[1:]) for line in found.split(b"\r\n")[1:3])
    assert keys == 1
    assert 0 < ttl <= 252


@every_algorithm
async def test_a_refusal_makes_no_key(server: RedisServer, algorithm: Algorithm) -> None:
    shared = counters(server, prefix=f"refused-{algorithm}:")
    full, fresh = demand(algorithm, 1, group=b"g"), demand(algorithm, 5, counter=b"fresh", group=b"g")
    await shared.take([full])
    assert not (await shared.take([fresh, full])).admitted
    assert not (await shared.take([full, fresh])).admitted
    assert b"fresh".hex().encode() not in server.command("KEYS", f"refused-{algorithm}:*")


async def test_thousands_of_takes_are_forgotten_one_by_one(server: RedisServer) -> None:
    clock = Clock(6000.0)
    shared = counters(server, clock)
    wanted = demand(Algorithm.SLIDING_WINDOW, 3000, 60.0)
    for _ in range(3):
        await asyncio.gather(*(shared.take([wanted]) for _ in range(1000)))
        clock.advance(25)
    assert (await shared.take([wanted])).levels[0].remaining == 3000 - 2001
    lowered = await shared.take([demand(Algorithm.SLIDING_WINDOW, 1, 60.0)])
    assert (lowered.levels[0].remaining, lowered.levels[0].retry_after) == (0, 60.0)


async def test_a_window_of_many_takes_keeps_a_bounded_number_and_loses_none(server: RedisServer) -> None:
    """Beyond MOST_ENTRIES an entry counts up to a tick longer than the take; never shorter, and none gets lost. The first
    of them are put there as the script would, which is quicker.
    """
    clock, prefix, window = Clock(6000.0), "crowded:", 1600.0
    shared, wanted = counters(server, clock, prefix), demand(Algorithm.SLIDING_WINDOW, 10**9, window)
    name, tick = key(prefix.encode(), wanted).decode(), window / MOST_ENTRIES
    await shared.take([wanted])
    script = """
        local now = tonumber(ARGV[1])
        for n = 1, ARGV[2] do redis.call('RPUSH', KEYS[1], struct.pack('>dd', now + n, 1)) end
        redis.call('LSET', KEYS[1], 0, struct.pack('>ddB', ARGV[2] + 1, now + ARGV[2], 0))"""
    server.command("EVAL", script, "1", name, str(6000 * MICRO), str(MOST_ENTRIES - 2))
    assert int(server.command("LLEN", name)[1:]) - 1 == MOST_ENTRIES - 1
    clock.advance(1)
    receipts = []
    for _ in range(500):
        clock.advance(tick / 16)
        tally = await shared.take([demand(Algorithm.SLIDING_WINDOW, 10**9, window, cost=7)])
        assert tally.levels[0].remaining == 10**9 - (MOST_ENTRIES - 1) - 7 * (len(receipts) + 1)
        receipts.append((int(clock() * MICRO), tally.receipt))
    assert int(server.command("LLEN", name)[1:]) - 1 <= MOST_ENTRIES + 500 // 16 + 1
    late = [receipt.parts[0][0] - taken for taken, receipt in receipts]
    assert late[0] == 0
    assert 0 <= min(late) <= max(late) < tick * MICRO
    for _, receipt in receipts[::3]:
        await shared.settle([demand(Algorithm.SLIDING_WINDOW, 10**9, window, cost=7)], receipt, [0])
    settled = 7 * len(receipts[::3])
    asked = demand(Algorithm.SLIDING_WINDOW, 10**9, window, cost=0)
    left = (await shared.take([asked])).levels[0].remaining
    assert left == 10**9 - (MOST_ENTRIES - 1) - 7 * 500 + settled
    clock.advance(window + tick)
    assert (await shared.take([asked])).levels[0].remaining == 10**9


async def test_what_is_returned_far_from_both_ends_leaves_no_trace_in_the_end(server: RedisServer) -> None:
    """It is not removed, which would take long, but counts nothing; when it is the last, it goes too."""
    clock, prefix, takes = Clock(6000.0), "far:", 4300
    shared, wanted = counters(server, clock, prefix), demand(Algorithm.SLIDING_WINDOW, 100_000, 600.0)
    name, receipts = key(prefix.encode(), wanted).decode(), []

    async def take() -> None:
        clock.advance(TICK)
        tally = await shared.take([wanted])
        receipts.append(tally.receipt)

    async def entries(expected: int) -> float:
        level = (await shared.take([demand(Algorithm.SLIDING_WINDOW, 100_000, 600.0, cost=0)])).levels[0]
        assert level.remaining == 100_000 - expected
        return level.reset_after

    for _ in range(takes // 100):
        await asyncio.gather(*(take() for _ in range(100)))
    for place in (2150, 2148, 2149):
        await shared.settle([wanted], receipts[place], [0])
    await entries(takes - 3)
    assert int(server.command("LLEN", name)[1:]) - 1 == takes
    for place in (0, 1000, 3300):
        await shared.settle([wanted], receipts[place], [0])
    await entries(takes - 6)
    assert int(server.command("LLEN", name)[1:]) - 1 == takes - 3
    late = [receipt for receipt in receipts[2151:] if receipt.parts]
    for first in range(0, len(late), 100):
        await asyncio.gather(*(shared.settle([wanted], receipt, [0]) for receipt in late[first : first + 100]))
    assert await entries(2148 - 2) == 600 - (takes - 2148) * TICK
    assert int(server.command("LLEN", name)[1:]) - 1 == 2148 - 2
    for receipt in receipts[:2148]:
        await shared.settle([wanted], receipt, [0])
    assert await entries(0) == 0
    assert server.command("EXISTS", name) == b":0\r\n"


async def test_takes_of_any_size_are_one_entry_each(server: RedisServer) -> None:
    clock, prefix = Clock(6000.0), "large:"
    shared = counters(server, clock, prefix)
    name = key(prefix.encode(), demand(Algorithm.SLIDING_WINDOW)).decode()
    for cost, entries in ((10**8, 1), (1, 2), (5 * 10**8, 3)):
        wanted = demand(Algorithm.SLIDING_WINDOW, 10**9, cost=cost)
        tally = await shared.take([wanted])
        assert int(server.command("LLEN", name)[1:]) - 1 == entries
        await shared.settle([wanted], tally.receipt, [cost + 5])  # at the same instant: the same entry
        assert int(server.command("LLEN", name)[1:]) - 1 == entries
        clock.advance(1)
    await shared.settle([wanted], tally.receipt, [0])  # it was used already
    assert int(server.command("LLEN", name)[1:]) - 1 == 3


@every_algorithm
async def test_as_much_as_was_taken_is_not_even_asked(server: RedisServer, algorithm: Algorithm) -> None:
    shared, wanted = counters(server), demand(algorithm, 100, cost=7)
    tally = await shared.take([wanted])
    before = calls(server)
    await shared.settle([wanted], tally.receipt, [7])
    await shared.settle([wanted], tally.receipt, [0])
    assert calls(server) == before
    tally = await shared.take([wanted])
    await shared.settle([wanted], tally.receipt, [8])
    assert calls(server) == before + 2


def calls(server: RedisServer) -> int:
    """How many scripts this server ran."""
    told = server.command("INFO", "commandstats").decode()
    return int(told.partition("cmdstat_evalsha:calls=")[2].partition(",")[0])


async def test_settling_what_redis_has_lost_returns_nothing_of_others(server: RedisServer) -> None:
    """A take that was not saved, and others since. A fixed window cannot tell them apart, but holds no less than nothing."""
    clock = Clock(6000.0)
    shared = counters(server, clock)
    for algorithm in Algorithm:
        lost = await shared.take([demand(algorithm, 100, cost=50)])
        server.command("FLUSHALL")
        clock.advance(1)
        await shared.take([demand(algorithm, 100, cost=30)])
        await shared.settle([demand(algorithm, 100, cost=50)], lost.receipt, [0])
        left = (await shared.take([demand(algorithm, 100, cost=0)])).levels[0].remaining
        assert left == (100 if algorithm is Algorithm.FIXED_WINDOW else 70)


async def test_an_absurd_debt_is_bounded_and_stays_a_debt(server: RedisServer) -> None:
    """One unit a month, and more of them used than a double can tell the end of."""
    clock = Clock(1_800_000_000.0)
    shared = counters(server, clock)
    wanted = demand(Algorithm.TOKEN_BUCKET, 1, 31 * 24 * 3600.0)
    asked = demand(Algorithm.TOKEN_BUCKET, 1, 31 * 24 * 3600.0, cost=0)
    tally = await shared.take([wanted])
    await shared.settle([wanted], tally.receipt, [MOST_USED])
    for _ in range(3):
        refused = await shared.take([asked])
        assert not refused.admitted
        assert 140 < refused.levels[0].retry_after / (365 * 24 * 3600) < 143
        clock.advance(3600)


async def test_the_time_is_that_of_redis(server: RedisServer) -> None:
    """Two processes with whatever clocks: the receipts tell the time that Redis took."""
    shared = counters(server)
    tally = await shared.take([demand(Algorithm.SLIDING_WINDOW)])
    told = server.command("TIME").split(b"\r\n")
    assert 0 <= int(told[2]) * MICRO + int(told[4]) - tally.receipt.parts[0][0] < 60 * MICRO


async def test_a_take_of_nothing_is_admitted(server: RedisServer) -> None:
    shared = counters(server)
    tally = await shared.take([])
    assert tally.admitted
    await shared.settle([], tally.receipt, [])


@pytest.mark.parametrize(
    ("demands", "sentence"),
    [
        ([demand(Algorithm.FIXED_WINDOW)] * 2, "one counter in two demands"),
        ([demand(Algorithm.FIXED_WINDOW), demand(Algorithm.FIXED_WINDOW, counter=b"d", group=b"g")], "of one group"),
        ([demand(Algorithm.FIXED_WINDOW, 0)], "positive limit"),
        ([demand(Algorithm.FIXED_WINDOW, cost=-1)], "positive limit"),
        ([demand(Algorithm.FIXED_WINDOW, window=0.0)], "positive limit"),
        ([demand(Algorithm.TOKEN_BUCKET, 1, 31 * 24 * 3600.0, burst=10**9)], "142 years"),
    ],
)
async def test_what_cannot_be_counted_is_a_mistake(server: RedisServer, demands: list[Demand], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        await counters(server).take(demands)


async def test_a_receipt_of_nothing_is_a_mistake(server: RedisServer) -> None:
    with pytest.raises(TypeError):
        await counters(server).settle([demand(Algorithm.FIXED_WINDOW)], None, [0])


async def test_a_hostile_group_or_counter_stays_in_its_key(server: RedisServer) -> None:
    """Braces, line ends and nothing at all: every pair is a counter of its own."""
    shared = counters(server)
    odd = [b"", b"}", b"{", b"{}", b"a}:s:b", b"\r\nFLUSHALL\r\n", b"\x00\xff"]
    for group in odd:
        for counter in odd:
            tally = await shared.take([demand(Algorithm.FIXED_WINDOW, 1, counter=counter, group=group)])
            assert tally.admitted
