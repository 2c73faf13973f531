"""More workers: whether each further core serves as many conversations as the first one.

The load takes its part of the same cores, so what tells is the processor time for each conversation: it stays what it was
where workers wait for nothing that they share.
"""

import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench import ghz
from bench.conversation import conversation
from bench.direct import PATIENCE, WARM_UP, converse
from bench.gateway import written
from bench.legs import Leg, Server, header, serving
from bench.process import cpu_seconds
from bench.ready import await_serving
from bench.through_envoy import request_body


@dataclass(frozen=True)
class Crew:
    """`rate`: conversations a second of all workers together; `cpu`: microseconds of all of them for each."""

    leg: Leg
    workers: int
    rate: float
    cpu: float
    failed: int


def legs(servers: Sequence[Server]) -> tuple[Leg, ...]:
    """In-process there is one event loop, whatever the cores."""
    return tuple(header(server) for server in servers if server is not Server.INSIDE)


def measure(wanted: Sequence[Leg], seconds: int, progress: Callable[[str], None]) -> list[Crew]:
    """With one worker, and with as many as there are cores; two at least. Raises: RuntimeError."""
    many = max(2, len(os.sched_getaffinity(0)))
    found = []
    for leg in wanted:
        for workers in (1, many):
            progress(f"{leg.name}, {workers} workers")
            found.append(_crew(leg, workers, seconds))
    return found


def _crew(leg: Leg, workers: int, seconds: int) -> Crew:
    with tempfile.TemporaryDirectory(prefix="xpb-") as name, ExitStack() as stack:
        directory = Path(name)
        config = written(leg.config, directory)
        data = directory / "conversation.json"
        data.write_text(conversation(request_body(), buffered=False))
        pid = stack.enter_context(serving(leg, directory, config, workers=workers)) or 0
        sockets = [directory / f"extproc-{index}.sock" for index in range(workers)]
        sockets = sockets if workers > 1 else [directory / "extproc.sock"]
        for socket in sockets:
            await_serving(socket, pid, PATIENCE)
            converse(socket, data)
            ghz.many(socket, data, WARM_UP)
        before = cpu_seconds(pid)
        with ThreadPoolExecutor(workers) as pool:
            loads = list(pool.map(lambda socket: ghz.closed(socket, data, seconds=seconds), sockets))
        requests = sum(load.requests for load in loads)
        cpu = (cpu_seconds(pid) - before) * 1e6 / max(1, requests)
        return Crew(leg, workers, sum(load.rate for load in loads), cpu, sum(load.failed for load in loads))
