"""Several workers: each has a socket of its own, Envoy knows them all, and one that dies is replaced."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.gateway import AUTHN, INJECT, Gateway, backend, gateway, policy
from tests.e2e.processes import Stub, admin_get, wait_until

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def gate(stub: Stub) -> Iterator[Gateway]:
    with gateway(policy(AUTHN), backend(stub.port, INJECT), workers=2) as running:
        yield running


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def answered(gate: Gateway) -> list[int]:
    """Streams that each worker has had, by Envoy's count."""
    lines = admin_get(gate.admin, "/clusters").decode().splitlines()
    return [int(line.rpartition("::")[2]) for line in lines if line.startswith("ext_proc::/") and "rq_total" in line]


def test_both_serve(gate: Gateway) -> None:
    assert {gate.get("/workers").status for _ in range(40)} == {200}
    counts = answered(gate)
    assert len(counts) == 2
    assert min(counts) > 0


def test_one_that_dies_is_replaced(gate: Gateway) -> None:
    (first, *others) = children(gate.server.popen.pid)
    os.kill(first, signal.SIGKILL)
    gate.server.wait_until(lambda: len(set(children(gate.server.popen.pid)) - {first}) == len(others) + 1)
    gate.server.wait_until(lambda: all(gate.get("/workers/again").status == 200 for _ in range(10)))


def alive(pid: int) -> bool:
    """Whether the process runs; one that is dead and not yet collected does not."""
    try:
        return "(zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_no_worker_outlives_the_parent(gate: Gateway) -> None:
    workers = children(gate.server.popen.pid)
    assert workers
    gate.server.stop(signal.SIGKILL)
    wait_until(lambda: not any(map(alive, workers)))
    assert gate.get("/workers/orphans").status == 503
