"""More workers: whether each serves as many conversations as the first one.

Every worker may use the same small part of a core, so that there are cores enough for all of them and for the load, however
few the machine has. What they serve together then grows as their number does, unless they wait for something that they share.
"""

import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import ghz
from bench.conversation import conversation
from bench.direct import PATIENCE, WARM_UP, converse
from bench.gateway import written
from bench.legs import Leg, Server, header, serving
from bench.process import cpu_seconds, tree
from bench.ready import await_serving
from bench.share import held
from bench.through_envoy import request_body

PART = 0.2
"""Of a core, for each worker."""

WORKERS = (1, 2, 4)
ROUNDS = 3
"""What others on this machine do changes between two measurements: each round has its own comparison."""


@dataclass(frozen=True)
class Crew:
    """Medians of the rounds. `rate`: conversations a second of all workers together; `times`: of what one worker serves; `cpu`:
    microseconds of all of them for each conversation.
    """

    leg: Leg
    workers: int
    rate: float
    times: float
    cpu: float
    failed: int


def legs(servers: Sequence[Server]) -> tuple[Leg, ...]:
    """In-process there is one event loop, whatever the cores."""
    return tuple(header(server) for server in servers if server is not Server.INSIDE)


def measure(wanted: Sequence[Leg], seconds: int, progress: Callable[[str], None]) -> list[Crew]:
    """One worker, and more of them. Raises: RuntimeError, also if this machine lets nobody share out its cores."""
    found: list[Crew] = []
    for leg in wanted:
        rounds = []
        for number in range(ROUNDS):
            progress(f"{leg.name}, {' and '.join(map(str, WORKERS))} workers, round {number + 1} of {ROUNDS}")
            rounds.append([_crew(leg, workers, seconds) for workers in WORKERS])
        for index, workers in enumerate(WORKERS):
            rates, cpu, failed = zip(*(crews[index] for crews in rounds), strict=True)
            times = [crews[index][0] / crews[0][0] for crews in rounds]
            found.append(Crew(leg, workers, median(rates), median(times), median(cpu), sum(failed)))
    return found


def _crew(leg: Leg, workers: int, seconds: int) -> tuple[float, float, int]:
    """The rate, the processor time for each conversation, and how many failed."""
    with tempfile.TemporaryDirectory(prefix="xpb-") as name, ExitStack() as stack:
        directory = Path(name)
        config = written(leg.config, directory)
        data = directory / "conversation.json"
        data.write_text(conversation(request_body(), buffered=False))
        parent = stack.enter_context(serving(leg, directory, config, workers=workers)) or 0
        sockets = [directory / f"extproc-{index}.sock" for index in range(workers)]
        sockets = sockets if workers > 1 else [directory / "extproc.sock"]
        for socket in sockets:
            await_serving(socket, parent, PATIENCE)
            converse(socket, data)
            ghz.many(socket, data, WARM_UP)
        stack.enter_context(held([pid for pid in tree(parent) if pid != parent] or [parent], PART))
        before = cpu_seconds(parent)
        with ThreadPoolExecutor(workers) as pool:
            loads = list(pool.map(lambda socket: ghz.closed(socket, data, seconds=seconds), sockets))
        requests = sum(load.requests for load in loads)
        cpu = (cpu_seconds(parent) - before) * 1e6 / max(1, requests)
        return sum(load.rate for load in loads), cpu, sum(load.failed for load in loads)
