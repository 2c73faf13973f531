"""A real Redis cluster of three nodes: one call is one slot, nodes are learned, a node that dies takes only its own along."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from extproc.adapters.redis import RedisCounters
from extproc.adapters.redis_script import tag
from extproc.errors import Unavailable
from extproc.ports import Algorithm, Demand
from tests.adapters.redis_server import BINARY, MISSING, NODES, SLOTS, RedisServer, redis_cluster

pytestmark = pytest.mark.skipif(BINARY is None, reason=MISSING)

GROUPS = [b"group-%d" % number for number in range(30)]


@pytest.fixture
def cluster() -> Iterator[list[RedisServer]]:
    with redis_cluster() as nodes:
        yield nodes


def demands(group: bytes, limit: int = 5) -> list[Demand]:
    return [Demand(algorithm.value.encode(), algorithm, limit, 60.0, limit, group=group) for algorithm in Algorithm]


@pytest.fixture
async def counters(cluster: list[RedisServer]) -> AsyncIterator[RedisCounters]:
    opened = RedisCounters(cluster[0].url, 2.0)
    yield opened
    await opened.close()


async def test_every_group_is_counted_wherever_it_lives(cluster: list[RedisServer], counters: RedisCounters) -> None:
    for _ in range(5):
        tallies = await asyncio.gather(*(counters.take(demands(group)) for group in GROUPS))
        assert all(tally.admitted for tally in tallies)
    for group, tally in zip(GROUPS, tallies, strict=True):
        assert not (await counters.take(demands(group))).admitted
        await counters.settle(demands(group), tally.receipt, [0] * len(Algorithm))
        assert (await counters.take(demands(group))).admitted
    sizes = [int(node.command("DBSIZE")[1:]) for node in cluster]
    assert sum(sizes) == len(GROUPS) * len(Algorithm)
    assert all(sizes)
    assert await counters.probe() is None


async def test_every_group_is_settled_wherever_it_lives(cluster: list[RedisServer], counters: RedisCounters) -> None:
    """Some of its demands changed, some not; by a process that has not learned yet who serves it."""
    other = RedisCounters(cluster[-1].url, 2.0)
    for number, group in enumerate(GROUPS):
        asked = demands(group, 100)
        tally = await counters.take(asked)
        used = [(number + place) % 4 for place in range(len(asked))]
        await other.settle(asked, tally.receipt, used)
        again = await counters.take(asked)
        assert [level.remaining for level in again.levels] == [100 - 1 - amount for amount in used]
    await other.close()


async def test_several_processes_agree(cluster: list[RedisServer], counters: RedisCounters) -> None:
    others = [RedisCounters(node.url, 2.0) for node in cluster]
    tallies = [await other.take(demands(b"g", 3)) for _ in range(2) for other in [counters, *others]]
    assert sum(tally.admitted for tally in tallies) == 3
    await asyncio.gather(*(other.close() for other in others))


async def test_a_node_that_dies_takes_only_its_own_groups_along(
    cluster: list[RedisServer], counters: RedisCounters
) -> None:
    await asyncio.gather(*(counters.take(demands(group)) for group in GROUPS))
    cluster[0].stop()  # the one that was named in the configuration
    lost, served = set(), set()
    for _ in range(4):
        for group in GROUPS:
            try:
                await counters.take(demands(group, 1000))
                served.add(group)
            except Unavailable:
                lost.add(group)
    home = {group for group in GROUPS if slot(cluster[1], group) < SLOTS // NODES}
    assert len(lost - home) <= 5  # until its breaker opened, the dead node was asked for the way
    assert served == set(GROUPS) - home
    cluster[0].start()
    for _ in range(100):
        try:
            for group in GROUPS:
                await counters.take(demands(group, 1000))
            break
        except Unavailable:
            await asyncio.sleep(0.05)
    assert (await counters.take(demands(min(home), 1000))).admitted


async def test_slots_that_move_are_followed(cluster: list[RedisServer], counters: RedisCounters) -> None:
    """While it is moved, keys are here or there (ASK); then they are there (MOVED)."""
    group = GROUPS[0]
    await counters.take([demands(group)[1]])
    place = slot(cluster[0], group)
    old = next(node for node in cluster if int(node.command("CLUSTER", "COUNTKEYSINSLOT", str(place))[1:]))
    new = next(node for node in cluster if node is not old)
    ids = [node.command("CLUSTER", "MYID").split(b"\r\n")[1].decode() for node in (old, new)]
    new.command("CLUSTER", "SETSLOT", str(place), "IMPORTING", ids[0])
    old.command("CLUSTER", "SETSLOT", str(place), "MIGRATING", ids[1])
    fresh = [Demand(b"fresh", Algorithm.FIXED_WINDOW, 5, 60.0, 5, group=group)]
    assert (await counters.take(fresh)).admitted
    assert (await counters.take([demands(group)[1]])).admitted
    assert int(new.command("DBSIZE")[1:]) == 1
    key = old.command("CLUSTER", "GETKEYSINSLOT", str(place), "1").split(b"\r\n")[2].decode()
    assert old.command("MIGRATE", "127.0.0.1", str(new.port), key, "0", "5000").startswith(b"+OK")
    for node in (new, old):
        node.command("CLUSTER", "SETSLOT", str(place), "NODE", ids[1])
    tallies = [await counters.take([demands(group)[1]]) for _ in range(4)]
    assert [tally.admitted for tally in tallies] == [True, True, True, False]


def slot(node: RedisServer, group: bytes) -> int:
    return int(node.command("CLUSTER", "KEYSLOT", tag(demands(group)[0]).decode())[1:])
