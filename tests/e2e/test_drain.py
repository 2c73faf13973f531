"""The end of a server: SIGTERM fails no exchange, Ctrl-C ends at once, and neither lets anything pass."""

import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import httpx
import pytest

from tests.e2e.clients import Answer
from tests.e2e.gateway import AUTHN, INJECT, KEY, Gateway, backend, gateway, policy
from tests.e2e.processes import Stub

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def running(stub: Stub) -> Iterator[Gateway]:
    with gateway(policy(AUTHN), backend(stub.port, INJECT), drainSeconds=1) as running:
        yield running


@pytest.fixture
def gate(running: Gateway) -> Iterator[Gateway]:
    yield running
    running.server.stop()
    running.restart()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def slow(gate: Gateway, stub: Stub, pool: ThreadPoolExecutor, delay: str, count: int = 4) -> list[Future[Answer]]:
    """So many requests that are waiting for the upstream's answer now."""
    before = len(stub.received(f"/slow/{delay}"))
    asked = [pool.submit(gate.get, f"/slow/{delay}") for _ in range(count)]
    gate.server.wait_until(lambda: len(stub.received(f"/slow/{delay}")) == before + count)
    return asked


def readiness(gate: Gateway) -> int:
    return httpx.get(f"http://{gate.admin_port}/readyz").status_code


def test_sigterm_fails_no_exchange(gate: Gateway, stub: Stub, pool: ThreadPoolExecutor) -> None:
    asked = slow(gate, stub, pool, "700ms")
    assert readiness(gate) == 200
    gate.server.popen.send_signal(signal.SIGTERM)
    gate.server.wait_until(lambda: readiness(gate) == 503)
    assert gate.get("/drain/new").status == 200
    assert [one.result().status for one in asked] == [200] * 4
    assert gate.server.wait() == 0


def test_exchanges_longer_than_the_drain_are_finished(gate: Gateway, stub: Stub, pool: ThreadPoolExecutor) -> None:
    asked = slow(gate, stub, pool, "2s", 2)
    assert gate.server.stop(signal.SIGTERM) == 0
    assert [one.result().status for one in asked] == [200, 200]


def test_after_the_end_everything_is_503(gate: Gateway, stub: Stub) -> None:
    gate.server.stop(signal.SIGTERM)
    answer = gate.get("/drain/after")
    assert (answer.status, answer.code) == (503, "policy_unavailable")
    assert not stub.received("/drain/after")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_end_at_once_passes_nothing(
    gate: Gateway, stub: Stub, pool: ThreadPoolExecutor, number: signal.Signals
) -> None:
    """The exchanges had not finished their chain: their answers do not reach the clients."""
    asked = slow(gate, stub, pool, "1500ms")
    gate.server.stop(number)
    assert {(one.result().status, one.result().code) for one in asked} == {(503, "policy_unavailable")}


def test_nothing_but_whole_exchanges_went_up(stub: Stub) -> None:
    requests = [request for request in stub.recorder.requests if request.path.startswith("/drain")]
    assert all(request.values("authorization") == [f"Bearer {KEY}"] for request in requests)
