"""`python -m bench.limiter`: the Redis limiter against one EVALSHA for each request, in operations per CPU second.

Both run the same script with the same arguments for 32 requests at a time, each with one limit of its own key. The one is
`RedisCounters`, whose calls of one turn of the loop share a write; the other asks the client library for each call. The
processor's time is counted with the process that asks and, apart, with Redis too.
"""

import asyncio
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import redis.asyncio
import uvloop

from extproc.adapters.redis import RedisCounters
from extproc.adapters.redis_script import SCRIPT, SHA, key, take_arguments, tally
from extproc.ports import Algorithm, Demand

CALLERS = 32
TAKES = 400
"""Of each caller in a round."""
ROUNDS = 6
LIMIT = 20_000

Take = Callable[[Demand], Awaitable[bool]]


@dataclass(frozen=True)
class Cost:
    """Microseconds of CPU for one take: in the process that asks, and in Redis."""

    caller: float
    server: float


@dataclass(frozen=True)
class Row:
    algorithm: Algorithm
    alone: list[Cost]
    shared: list[Cost]

    def cells(self) -> str:
        alone, shared = _caller(self.alone), _caller(self.shared)
        all_alone, all_shared = _both(self.alone), _both(self.shared)
        cells = (
            self.algorithm.value,
            f"{1e6 / alone:,.0f}",
            f"{1e6 / shared:,.0f}",
            f"{alone / shared:.1f}",
            f"{1e6 / all_alone:,.0f}",
            f"{1e6 / all_shared:,.0f}",
            f"{all_alone / all_shared:.1f}",
        )
        return f"| {' | '.join(cells)} |"


HEAD = (
    "| takes per CPU second | one EVALSHA each | RedisCounters | ratio | with Redis: each | RedisCounters | ratio |\n"
    "|---|---:|---:|---:|---:|---:|---:|"
)


def main() -> int:
    """Exit code 1 without redis-server."""
    binary = shutil.which("redis-server")
    if binary is None:
        sys.stderr.write("redis-server is not on the PATH: apt-get install redis-server\n")
        return 1
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="xp-bench-") as directory:
        argv = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", directory]
        server = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
        try:
            rows = uvloop.run(_measure(f"redis://127.0.0.1:{port}/0", server.pid))
        finally:
            server.terminate()
            server.wait()
    print("\n".join([HEAD, *(row.cells() for row in rows)]))
    return 0


def _free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


async def _measure(url: str, server: int) -> list[Row]:
    client = redis.asyncio.Redis.from_url(url, protocol=2)
    counters = RedisCounters(url, timeout=5.0)
    try:
        await _until_it_answers(counters)

        async def alone(demand: Demand) -> bool:
            answer = await client.evalsha(SHA.decode(), 1, key(b"extproc:", demand), *take_arguments([demand], 0))
            return tally([demand], answer).admitted

        async def shared(demand: Demand) -> bool:
            return (await counters.take([demand])).admitted

        await client.script_load(SCRIPT.decode())
        rows = []
        for algorithm in Algorithm:
            rounds = [
                (await _round(alone, algorithm, server), await _round(shared, algorithm, server)) for _ in range(ROUNDS)
            ]
            rows.append(Row(algorithm, [one for one, _ in rounds[1:]], [other for _, other in rounds[1:]]))
        return rows
    finally:
        await counters.close()
        await client.aclose()


async def _until_it_answers(counters: RedisCounters) -> None:
    deadline = time.monotonic() + 10
    while (problem := await counters.probe()) is not None:
        if time.monotonic() > deadline:
            raise RuntimeError(problem)
        await asyncio.sleep(0.05)


async def _round(take: Take, algorithm: Algorithm, server: int) -> Cost:
    async def caller(number: int) -> int:
        demand = Demand(b"bench-%d" % number, algorithm, LIMIT, 60.0, LIMIT, group=b"bench")
        return sum([await take(demand) for _ in range(TAKES)])

    before, before_server = time.process_time(), _cpu(server)
    asked = CALLERS * TAKES
    if sum(await asyncio.gather(*map(caller, range(CALLERS)))) != asked:
        raise RuntimeError("a take was refused, though no limit was reached: was this Redis used by somebody else?")
    spent, spent_server = time.process_time() - before, _cpu(server) - before_server
    return Cost(spent / asked * 1e6, spent_server / asked * 1e6)


def _cpu(pid: int) -> float:
    """Seconds of CPU that a process has used, user and system (proc(5), /proc/pid/schedstat: nanoseconds)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def _caller(costs: list[Cost]) -> float:
    return statistics.median(cost.caller for cost in costs)


def _both(costs: list[Cost]) -> float:
    return statistics.median(cost.caller + cost.server for cost in costs)


if __name__ == "__main__":
    sys.exit(main())
