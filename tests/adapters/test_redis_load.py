"""Several processes, one Redis, and never more than the limits allow: by the times at which Redis itself counted."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from extproc.ports import Algorithm
from tests.adapters.redis_load import BURST, LIMIT, MICROS, TIMEOUT, WINDOW, excess
from tests.adapters.redis_server import BINARY, MISSING, RedisServer, redis_server
from tests.e2e.processes import wait_until

pytestmark = pytest.mark.skipif(BINARY is None, reason=MISSING)

ROOT = Path(__file__).parents[2]
PROCESSES = 3
CALLERS = 16
SLACK = 1.0
"""Seconds that a busy machine may add to a timeout."""


@pytest.mark.parametrize(
    ("algorithm", "times", "more"),
    [
        (Algorithm.SLIDING_WINDOW, [MICROS + 1] * LIMIT, 0),
        (Algorithm.SLIDING_WINDOW, [MICROS + 1] * (LIMIT + 1), 1),
        (Algorithm.SLIDING_WINDOW, [1] * LIMIT + [MICROS], 1),
        (Algorithm.SLIDING_WINDOW, [1] * LIMIT + [MICROS + 1] * LIMIT, 0),
        (Algorithm.FIXED_WINDOW, [MICROS - 1] * LIMIT + [MICROS] * LIMIT, 0),
        (Algorithm.FIXED_WINDOW, [MICROS - 1] * LIMIT + [MICROS] * (LIMIT + 1), 1),
        (Algorithm.TOKEN_BUCKET, [MICROS] * BURST + [MICROS + MICROS // LIMIT], 0),
        (Algorithm.TOKEN_BUCKET, [MICROS] * BURST + [MICROS + MICROS // LIMIT - 1], 1),
        (Algorithm.TOKEN_BUCKET, [MICROS] * BURST + [9 * MICROS] * BURST, 0),
    ],
)
def test_who_judges_sees_what_is_too_much(algorithm: Algorithm, times: list[int], more: int) -> None:
    assert excess(algorithm, times) == more


def start(url: str, seconds: float) -> list[subprocess.Popen[bytes]]:
    argv = [sys.executable, "-m", "tests.adapters.redis_load", url, str(seconds), str(CALLERS)]
    return [subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE) for _ in range(PROCESSES)]


def finish(workers: list[subprocess.Popen[bytes]]) -> list[dict]:
    answers = [worker.communicate(timeout=60)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * PROCESSES
    return [json.loads(answer) for answer in answers]


def connected(server: RedisServer) -> int:
    """How many connections it has, without the one that asks."""
    return int(server.command("INFO", "clients").decode().partition("connected_clients:")[2].split()[0]) - 1


def admitted(found: list[dict], algorithm: Algorithm) -> list[int]:
    return [time for each in found for time in each["admitted"].get(algorithm, [])]


def test_several_processes_together_admit_never_too_much() -> None:
    seconds = 2.0
    with redis_server() as server:
        found = finish(start(server.url, seconds))
    for algorithm in Algorithm:
        times = admitted(found, algorithm)
        print(f"{algorithm}: {len(times)} admitted, {excess(algorithm, times)} of them too much")
        assert excess(algorithm, times) == 0
        assert sum(each["refused"].get(algorithm, 0) for each in found) > 0
        assert len(times) > LIMIT * (max(times) - min(times)) / 1e6 / WINDOW / 2, "the limit was hardly used"


def test_killed_and_started_again_under_load_it_admits_never_too_much() -> None:
    """With every write on disk before it is answered. Who asks meanwhile is told in time, and goes on by itself."""
    with redis_server(appendonly="yes", appendfsync="always") as server:
        workers = start(server.url, 4.0)
        wait_until(lambda: connected(server) >= PROCESSES)
        time.sleep(1.0)
        server.stop()
        killed = time.time() * 1e6
        time.sleep(0.3)
        server.start()
        found = finish(workers)
    assert all(each["unavailable"] > 0 for each in found)
    assert max(each["longest"] for each in found) < TIMEOUT + SLACK
    for algorithm in Algorithm:
        times = admitted(found, algorithm)
        assert min(times) < killed < max(times)
        assert excess(algorithm, times) == 0
