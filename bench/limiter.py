"""The Redis limiter against one EVALSHA for each request, in exchanges per CPU second (`python -m bench --only limiter`).

Both run the same script with the same arguments for 32 requests at a time, each with one limit of its own key. The one is
`RedisCounters`, whose calls of one turn of the loop share a write; the other asks the client library for each call. The
processor's time is counted with the process that asks and, apart, with Redis too. `settled` are exchanges of tokens: a take
of a cost that differs each time, and then its settlement to less, so two calls for each.
"""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path

import redis.asyncio

from bench.redis_server import redis_server
from extproc.adapters.redis import RedisCounters
from extproc.adapters.redis_script import (
    SCRIPT,
    SHA,
    Argument,
    Change,
    Receipt,
    key,
    settle_arguments,
    take_arguments,
    tally,
)
from extproc.ports import Algorithm, Demand

CALLERS = 32
EXCHANGES = 400
"""Of each caller in a round: exchanges."""
ROUNDS = 6
LIMIT = 1_000_000_000
COSTS = range(500, 9500)
"""Of exchanges that are settled: too many to be remembered as arguments."""

Exchange = Callable[[Demand], Awaitable[bool]]


@dataclass(frozen=True)
class Cost:
    """Microseconds of CPU for one exchange: in the process that asks, and in Redis."""

    caller: float
    server: float


@dataclass(frozen=True)
class Row:
    """What each round of `name` cost: with an EVALSHA for each call, and with shared writes."""

    name: str
    alone: list[Cost]
    shared: list[Cost]


def measure() -> list[Row]:
    """With a redis-server of its own; half a minute. Raises: RuntimeError."""
    with tempfile.TemporaryDirectory(prefix="xpb-") as directory, redis_server(Path(directory)) as server:
        return asyncio.run(_measure(server.url, server.pid))


async def _measure(url: str, server: int) -> list[Row]:
    client = redis.asyncio.Redis.from_url(url, protocol=2)
    counters = RedisCounters(url, timeout=5.0)
    try:
        await _until_it_answers(counters)
        await client.script_load(SCRIPT.decode())
        rows = []
        for algorithm in Algorithm:
            rows.append(await _row(algorithm.value, algorithm, Alone(client).take, Shared(counters).take, server))
            name = f"{algorithm.value}, settled"
            rows.append(await _row(name, algorithm, Alone(client).settled, Shared(counters).settled, server))
        return rows
    finally:
        await counters.close()
        await client.aclose()


class Alone:
    """Each call asks the client library."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._costs = cycle(COSTS)

    async def take(self, demand: Demand) -> bool:
        return tally([demand], await self._call(demand, take_arguments([demand], 0))).admitted

    async def settled(self, demand: Demand) -> bool:
        demand = replace(demand, cost=next(self._costs))
        found = tally([demand], await self._call(demand, take_arguments([demand], 0)))
        if isinstance(found.receipt, Receipt):
            change = Change(demand, demand.cost // 2 - demand.cost, found.receipt.parts[0])
            await self._call(demand, settle_arguments([change], 0))
        return found.admitted

    async def _call(self, demand: Demand, arguments: list[Argument]) -> list[int]:
        told: list[int] = await self._client.evalsha(SHA.decode(), 1, key(b"extproc:", demand), *arguments)
        return told


class Shared:
    """The calls of one turn of the loop share a write."""

    def __init__(self, counters: RedisCounters) -> None:
        self._counters = counters
        self._costs = cycle(COSTS)

    async def take(self, demand: Demand) -> bool:
        return (await self._counters.take([demand])).admitted

    async def settled(self, demand: Demand) -> bool:
        demand = replace(demand, cost=next(self._costs))
        found = await self._counters.take([demand])
        await self._counters.settle([demand], found.receipt, [demand.cost // 2])
        return found.admitted


async def _row(name: str, algorithm: Algorithm, alone: Exchange, shared: Exchange, server: int) -> Row:
    rounds = [(await _round(alone, algorithm, server), await _round(shared, algorithm, server)) for _ in range(ROUNDS)]
    return Row(name, [one for one, _ in rounds[1:]], [other for _, other in rounds[1:]])


async def _until_it_answers(counters: RedisCounters) -> None:
    deadline = time.monotonic() + 10
    while (problem := await counters.probe()) is not None:
        if time.monotonic() > deadline:
            raise RuntimeError(problem)
        await asyncio.sleep(0.05)


async def _round(exchange: Exchange, algorithm: Algorithm, server: int) -> Cost:
    async def caller(number: int) -> int:
        demand = Demand(b"bench-%d" % number, algorithm, LIMIT, 60.0, LIMIT, group=b"bench")
        return sum([await exchange(demand) for _ in range(EXCHANGES)])

    before, before_server = time.process_time(), _cpu(server)
    asked = CALLERS * EXCHANGES
    if sum(await asyncio.gather(*map(caller, range(CALLERS)))) != asked:
        raise RuntimeError("a take was refused, though no limit was reached: was this Redis used by somebody else?")
    spent, spent_server = time.process_time() - before, _cpu(server) - before_server
    return Cost(spent / asked * 1e6, spent_server / asked * 1e6)


def _cpu(pid: int) -> float:
    """Seconds of CPU that a process has used, user and system (proc(5), /proc/pid/schedstat: nanoseconds)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
