"""`fallback: local`: while Redis is down, all replicas together admit no more than the limit."""

import pytest

from extproc.adapters.memory import Counters
from extproc.adapters.redis_share import LocalShare
from extproc.errors import Unavailable
from extproc.ports import Algorithm, Demand, Tally
from extproc.testing import Clock

every_algorithm = pytest.mark.parametrize("algorithm", Algorithm)


class Shared:
    """Counters in memory that can be down."""

    def __init__(self) -> None:
        self.counters = Counters(Clock())
        self.down = False

    async def take(self, demands: list[Demand]) -> Tally:
        if self.down:
            raise Unavailable("down")
        return await self.counters.take(demands)

    async def settle(self, demands: list[Demand], receipt: object, used: list[int]) -> None:
        if self.down:
            raise Unavailable("down")
        await self.counters.settle(demands, receipt, used)


def demand(algorithm: Algorithm, limit: int, **more: object) -> Demand:
    return Demand(**{"counter": b"c", "algorithm": algorithm, "limit": limit, "window": 60.0, "burst": limit, **more})


@every_algorithm
async def test_while_it_answers_the_shared_store_counts(algorithm: Algorithm) -> None:
    shared, local = Shared(), Counters(Clock())
    store = LocalShare(shared, local, 3)
    for _ in range(5):
        tally = await store.take([demand(algorithm, 10)])
    assert tally.levels[0].remaining == 5
    assert local.in_use == 0


@every_algorithm
@pytest.mark.parametrize(("limit", "replicas"), [(10, 3), (7, 7), (9, 2), (5, 1)])
async def test_all_replicas_together_admit_at_most_the_limit(algorithm: Algorithm, limit: int, replicas: int) -> None:
    shared = Shared()
    shared.down = True
    stores = [LocalShare(shared, Counters(Clock()), replicas) for _ in range(replicas)]
    counts = [[(await store.take([demand(algorithm, limit)])).admitted for _ in range(limit + 1)] for store in stores]
    assert {sum(count) for count in counts} == {limit // replicas}


@every_algorithm
@pytest.mark.parametrize("more", [{"limit": 2}, {"limit": 30, "burst": 2}])
async def test_a_share_of_nothing_is_unavailable(algorithm: Algorithm, more: dict[str, int]) -> None:
    shared = Shared()
    shared.down = True
    store = LocalShare(shared, Counters(Clock()), 3)
    with pytest.raises(Unavailable, match=r"down; and of a limit of 2 the share of one of 3 is nothing"):
        await store.take([demand(algorithm, **more)])


@every_algorithm
async def test_what_was_taken_is_given_back_to_where_it_was_taken(algorithm: Algorithm) -> None:
    shared, local = Shared(), Counters(Clock())
    store = LocalShare(shared, local, 2)
    wanted = [demand(algorithm, 4)]
    before = await store.take(wanted)
    shared.down = True
    meanwhile = await store.take(wanted)
    with pytest.raises(Unavailable):
        await store.settle(wanted, before.receipt, [0])
    await store.settle(wanted, meanwhile.receipt, [0])
    await store.settle(wanted, meanwhile.receipt, [0])
    assert [(await store.take(wanted)).admitted for _ in range(3)] == [True, True, False]
    shared.down = False
    assert (await store.take(wanted)).levels[0].remaining == 2


@every_algorithm
async def test_what_was_used_is_charged_where_it_was_taken(algorithm: Algorithm) -> None:
    shared, local = Shared(), Counters(Clock())
    store = LocalShare(shared, local, 2)
    wanted = [demand(algorithm, 1000, cost=100)]
    before = await store.take(wanted)
    shared.down = True
    meanwhile = await store.take(wanted)
    assert meanwhile.levels[0].remaining == 400
    with pytest.raises(Unavailable):
        await store.settle(wanted, before.receipt, [150])
    await store.settle(wanted, meanwhile.receipt, [700])
    assert not (await store.take([demand(algorithm, 1000)])).admitted
    shared.down = False
    assert (await store.take([demand(algorithm, 1000, cost=0)])).levels[0].remaining == 900


async def test_local_counters_that_are_full_are_unavailable() -> None:
    shared = Shared()
    shared.down = True
    store = LocalShare(shared, Counters(Clock(), most_counters=1), 2)
    assert (await store.take([demand(Algorithm.FIXED_WINDOW, 4)])).admitted
    with pytest.raises(Unavailable):
        await store.take([demand(Algorithm.FIXED_WINDOW, 4, counter=b"d")])


def test_no_replicas_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least one replica"):
        LocalShare(Shared(), Counters(Clock()), 0)
