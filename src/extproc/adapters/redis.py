"""Counters in Redis: shared by all workers and replicas.

All demands of a take are one call of `counters.lua`, which is atomic. The time is that of Redis. A take that is answered too
late, or whose caller leaves, may have been counted: that charges what was not used, and never admits too much. For the same
reason a settlement is never asked a second time. What Redis has not saved or not replicated when it fails is forgotten with
it: the takes of its last moments may be admitted again. So is what it evicts: it wants `maxmemory-policy noeviction`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

from extproc.adapters.breaker import Breaker, State
from extproc.adapters.calls import counted
from extproc.adapters.meters import differences
from extproc.adapters.redis_cluster import Servers
from extproc.adapters.redis_script import (
    MICRO,
    NUMBERS,
    SHA,
    Answer,
    Argument,
    Change,
    Receipt,
    key,
    pack,
    settle_arguments,
    take_arguments,
    tally,
)
from extproc.core.measure import calls
from extproc.errors import Unavailable
from extproc.ports import Algorithm, Demand, Tally

CONNECTIONS: Final = 2
"""Per server: while one waits for its replies, the next calls are written to the other."""

PROBE_SECONDS: Final = 1.0
PROBE: Final = Demand(b"probe", Algorithm.FIXED_WINDOW, 2**31, 1.0, 2**31)


class RedisCounters:
    """A `CounterStore` and a `Dependency`. It connects when it is first asked, and again whenever it has to.

    `url` is `redis://`, `rediss://` or `unix://`; of a cluster any node will do. `timeout` is seconds for one take.
    `password` is asked for each connection, and goes before that of the URL. After `failures` in a row nothing is asked for
    `cooldown` seconds. `now` (seconds) replaces the time of Redis, for tests.
    """

    name = "redis"

    def __init__(
        self,
        url: str,
        timeout: float = 0.02,
        *,
        password: Callable[[], str] | None = None,
        failures: int = 5,
        cooldown: float = 1.0,
        connections: int = CONNECTIONS,
        prefix: str = "extproc:",
        now: Callable[[], float] | None = None,
    ) -> None:
        """Raises: ConfigError."""
        self._servers = Servers(url, password, partial(Breaker, time.monotonic, failures, cooldown), connections)
        self._timeout = timeout
        self._prefix = prefix.encode()
        self._now = now
        self.times = calls()

    def __repr__(self) -> str:
        return f"RedisCounters({self._servers.address!r})"

    @property
    def state(self) -> State:
        """Of the circuit breaker; of a cluster, the worst of the nodes in use."""
        return self._servers.state

    async def take(self, demands: Sequence[Demand]) -> Tally:
        """As the port says.

        Raises:
            Unavailable: no answer in time, or none that can be used.
            ValueError: two demands name one counter; demands of different groups; a demand that cannot be counted exactly.
        """
        if not demands:
            return Tally(True, (), Receipt(()))
        if len(demands) > 1 and len({demand.counter for demand in demands}) < len(demands):
            raise ValueError("one counter in two demands of one take")
        asked = self._call(demands, take_arguments(demands, self._micros()), self._timeout)
        answer = await counted(self.times, asked)
        if len(answer) != 1 + NUMBERS * len(demands):
            raise Unavailable(f"redis at {self._servers.address}: no answer that a script gives")
        return tally(demands, answer)

    async def settle(self, demands: Sequence[Demand], receipt: object, used: Sequence[int]) -> None:
        """As the port says. It is asked once and for all: of a call without an answer nobody knows whether Redis made it, so
        the receipt is used up before it is written. If Redis did not, what was taken stays taken until it has aged.

        Raises:
            Unavailable: no answer in time, or none that can be used.
            ValueError: a number that is negative or absurd, or not one for each demand.
        """
        if not isinstance(receipt, Receipt):
            raise TypeError("settle wants the receipt of a take that was admitted")
        changed = differences(demands, used)
        parts, receipt.parts = receipt.parts, ()
        rows = map(Change, demands, changed, parts)  # none, if the receipt was used already
        if changes := [change for change in rows if change.difference]:
            arguments = settle_arguments(changes, self._micros())
            await counted(self.times, self._call([change.demand for change in changes], arguments, self._timeout))

    async def probe(self) -> str | None:
        """As `Dependency` says: whether it can count, which is more than whether it answers."""
        try:
            await self._call([PROBE], take_arguments([PROBE], 0), PROBE_SECONDS, anyway=True)
        except Unavailable as error:
            return str(error)
        return None

    async def close(self) -> None:
        await self._servers.close()

    def _micros(self) -> int:
        return 0 if self._now is None else max(1, int(self._now() * MICRO))

    def _call(
        self, demands: Sequence[Demand], arguments: Sequence[Argument], seconds: float, *, anyway: bool = False
    ) -> Awaitable[Answer]:
        first = demands[0]
        keys = [key(self._prefix, demand) for demand in demands]
        if len(keys) > 1 and any(demand.group != first.group for demand in demands):
            raise ValueError("demands of one take are of one group")
        data = pack((b"EVALSHA", SHA, len(keys), *keys, *arguments))
        deadline = asyncio.get_running_loop().time() + seconds
        return self._servers.call(keys[0], data, deadline, anyway=anyway)
