"""One worker with four filters: how long it takes to get ready, and what it occupies, idle and after many exchanges."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from bench import ghz
from bench.direct import alone
from bench.legs import Leg, Server, four_in_memory
from bench.process import Memory, own_memory, tree

SETTLED = 1.0
"""Seconds after which a process that has nothing to do is taken for idle."""


@dataclass(frozen=True)
class Footprint:
    """`ready`: the median of the starts, in seconds. `idle` and `after` are of the process that serves; `parent` is what keeps
    it, where there is one. `failed` of the `exchanges`.
    """

    leg: Leg
    ready: float
    idle: Memory
    after: Memory
    parent: Memory | None
    exchanges: int
    failed: int


def measure(server: Server, exchanges: int, starts: int, progress: Callable[[str], None]) -> Footprint:
    """Raises: RuntimeError."""
    wanted = four_in_memory(server)
    ready = []
    for _ in range(starts - 1):
        with alone(wanted) as running:
            ready.append(running.ready)
    with alone(wanted) as running:
        ready.append(running.ready)
        time.sleep(SETTLED)
        parents, serving = tree(running.pid)[:-1], tree(running.pid)[-1]
        idle = own_memory(serving)
        progress(f"{wanted.name}: {exchanges:,} exchanges")
        failed = ghz.many(running.socket, running.data, exchanges)
        time.sleep(SETTLED)
        after, parent = own_memory(serving), own_memory(parents[0]) if parents else None
        return Footprint(wanted, statistics.median(ready), idle, after, parent, exchanges, failed)
