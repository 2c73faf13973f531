"""One of several processes that ask the same counters at once: `python -m tests.adapters.redis_load URL SECONDS CALLERS`.

Each take asks for one limit and, with it, for a witness: a sliding window that is never full, whose receipt is the time that
Redis took it at. What was admitted, and when by that one clock, is written to standard output.
"""

import asyncio
import json
import random
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from extproc.adapters.redis import RedisCounters
from extproc.errors import Unavailable
from extproc.ports import Algorithm, Demand

LIMIT, BURST, WINDOW = 40, 55, 0.25
MICROS = int(WINDOW * 1_000_000)
TIMEOUT = 0.25


@dataclass
class Found:
    """Times (microseconds) at which takes were admitted, by algorithm; those that were given back are not among them."""

    admitted: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    refused: Counter[str] = field(default_factory=Counter)
    unavailable: int = 0
    longest: float = 0.0


def demands(algorithm: Algorithm) -> list[Demand]:
    burst = BURST if algorithm is Algorithm.TOKEN_BUCKET else LIMIT
    name = algorithm.value.encode()
    return [
        Demand(name, algorithm, LIMIT, WINDOW, burst, group=b"load"),
        Demand(b"witness of " + name, Algorithm.SLIDING_WINDOW, 100_000, WINDOW, 100_000, group=b"load"),
    ]


def excess(algorithm: Algorithm, times: list[int]) -> int:
    """How many takes were more than DESIGN section 7 allows."""
    times = sorted(times)
    match algorithm:
        case Algorithm.SLIDING_WINDOW:
            return sum(later - earlier < MICROS for earlier, later in zip(times, times[LIMIT:], strict=False))
        case Algorithm.FIXED_WINDOW:
            return sum(max(0, amount - LIMIT) for amount in Counter(time // MICROS for time in times).values())
        case Algorithm.TOKEN_BUCKET:
            level, last, over = 0, 0, 0
            for now in times:
                level, last = max(0, level - (now - last) * LIMIT) + MICROS, now
                over += level > BURST * MICROS
            return over


async def ask(counters: RedisCounters, found: Found, ends: float) -> None:
    while time.monotonic() < ends:
        algorithm = random.choice(list(Algorithm))
        asked, began = demands(algorithm), time.monotonic()
        try:
            tally = await counters.take(asked)
            if tally.admitted and random.random() < 0.1:
                await counters.settle(asked, tally.receipt, [0, 0])
                continue
        except Unavailable:
            found.unavailable += 1
            found.longest = max(found.longest, time.monotonic() - began)
            await asyncio.sleep(0.01)
            continue
        if tally.admitted:
            found.admitted[algorithm].append(tally.receipt.parts[1][0])
        else:
            found.refused[algorithm] += 1


async def main(url: str, seconds: float, callers: int) -> None:
    counters, found = RedisCounters(url, TIMEOUT, cooldown=0.1), Found()
    ends = time.monotonic() + seconds
    await asyncio.gather(*(ask(counters, found, ends) for _ in range(callers)))
    await counters.close()
    json.dump(vars(found), sys.stdout)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3])))
