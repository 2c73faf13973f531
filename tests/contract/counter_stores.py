"""Every `CounterStore`, for the tests of what they all keep. A new one is a row in STORES."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from itertools import count

import pytest

from extproc.adapters.memory import Counters
from extproc.adapters.redis import RedisCounters
from extproc.adapters.redis_share import LocalShare
from extproc.ports import Algorithm, CounterStore, Demand
from extproc.testing import Clock, Down
from tests.adapters.redis_server import BINARY, MISSING, redis_cluster, redis_server

Store = Callable[[Clock], CounterStore]

SERVERS = ExitStack()
"""Started when they are first asked for, ended by `conftest`."""

OPENED: list[RedisCounters] = []
FRESH = count()


@cache
def one_server() -> str:
    return SERVERS.enter_context(redis_server()).url


@cache
def a_cluster() -> str:
    return SERVERS.enter_context(redis_cluster())[0].url


def redis_counters(url: str, clock: Clock) -> CounterStore:
    """As a new one each time: by a prefix of its own."""
    counters = RedisCounters(url, 5.0, connections=1, prefix=f"contract-{next(FRESH)}:", now=clock)
    OPENED.append(counters)
    return counters


STORES: dict[str, Store] = {
    "memory": Counters,
    "redis": lambda clock: redis_counters(one_server(), clock),
    "redis cluster": lambda clock: redis_counters(a_cluster(), clock),
    "share of what answers": lambda clock: LocalShare(Counters(clock), Counters(clock), 3),
    "share of what is down": lambda clock: LocalShare(Down(), Counters(clock), 1),
}
NEEDS = {name: pytest.mark.skipif(BINARY is None, reason=MISSING) for name in ("redis", "redis cluster")}

every_store = pytest.mark.parametrize(
    "store", [pytest.param(store, id=name, marks=NEEDS.get(name, ())) for name, store in STORES.items()]
)
every_algorithm = pytest.mark.parametrize("algorithm", Algorithm)


def demand(algorithm: Algorithm, limit: int = 5, window: float = 60.0, **more: object) -> Demand:
    return Demand(**{"counter": b"c", "algorithm": algorithm, "limit": limit, "window": window, "burst": limit, **more})
