"""Filters and servers that fail: whatever happens, what is not explicitly open is closed."""

import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from extproc.core.phase import Phase
from tests.e2e.clients import Answer
from tests.e2e.gateway import AUTHN, INJECT, KEY, TOKEN, Gateway, backend, gateway, policy
from tests.e2e.hostile import CANARY
from tests.e2e.processes import Stub

pytestmark = pytest.mark.e2e

TYPE = "test.example/Hostile:v1"
PHASES = (Phase.REQUEST_HEADERS, Phase.REQUEST_BODY, Phase.RESPONSE_HEADERS, Phase.RESPONSE_BODY)
DEFECTS = ("raise", "raise-late", "exit", "exit-late", "cancel", "cancel-late", "nothing", "framing", "crlf", "pseudo")
CLOSED = {
    **dict.fromkeys(DEFECTS, (500, "policy_error")),
    "hang": (504, "policy_timeout"),
    "down": (503, "policy_unavailable"),
}
COVERED = ["unavailable", "timeout", "unsupported", "defect"]


def hostile(phase: Phase, *, fail_open: bool) -> dict:
    """In each phase one that is open and one that is not; the request says which of the two runs."""
    word = "open" if fail_open else "closed"
    extension = {
        "name": f"hostile-{phase}-{word}",
        "type": TYPE,
        "phase": str(phase),
        "priority": 50,
        "timeout": "100ms",
        "failOpen": fail_open,
        "when": f'request.headers["x-fail"] == "{word}"',
    }
    return {**extension, "failOpenOn": COVERED} if fail_open else extension


@pytest.fixture(scope="module")
def gate(stub: Stub) -> Iterator[Gateway]:
    extensions = [hostile(phase, fail_open=fail_open) for phase in PHASES for fail_open in (False, True)]
    environ = {"PYTHONPATH": str(Path(__file__).parents[2])}
    filters = {TYPE: "tests.e2e.hostile:Hostile"}
    documents = policy(AUTHN), backend(stub.port, INJECT, *extensions)
    with gateway(*documents, environ=environ, filters=filters) as running:
        yield running


def ask(gate: Gateway, path: str, how: str, phase: Phase, fail: str) -> Answer:
    headers = [("x-do", how), ("x-at", str(phase)), ("x-fail", fail), ("content-type", "text/plain")]
    return gate.send("POST", path, headers=headers, body=b"a body")


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("how", CLOSED)
def test_closed(gate: Gateway, stub: Stub, how: str, phase: Phase) -> None:
    path = f"/faults/closed/{how}/{phase}"
    answer = ask(gate, path, how, phase, "closed")
    assert (answer.status, answer.code) == CLOSED[how]
    assert CANARY.encode() not in answer.body
    assert len(stub.received(path)) == phase.is_response


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("how", CLOSED)
def test_open(gate: Gateway, stub: Stub, how: str, phase: Phase) -> None:
    path = f"/faults/open/{how}/{phase}"
    answer = ask(gate, path, how, phase, "open")
    assert answer.status == 200
    (request,) = stub.received(path)
    assert request.values("authorization") == [f"Bearer {KEY}"]
    assert not request.values("x-admin")


def test_a_condition_without_a_value_is_closed(gate: Gateway, stub: Stub) -> None:
    answer = gate.get("/faults/no-condition")
    assert (answer.status, answer.code) == (500, "policy_error")
    assert not stub.received("/faults/no-condition")


def quiet(gate: Gateway, path: str) -> Answer:
    """A request in which no filter misbehaves."""
    return gate.get(path, headers=[("x-fail", "closed")])


def test_a_server_that_dies_lets_nothing_pass(gate: Gateway, stub: Stub) -> None:
    assert ask(gate, "/faults/dies", "die", Phase.REQUEST_HEADERS, "open").status == 503
    gate.server.stop()
    answer = quiet(gate, "/faults/dead")
    assert (answer.status, answer.code) == (503, "policy_unavailable")
    gate.restart()
    assert quiet(gate, "/faults/back").status == 200
    assert not stub.received("/faults/dies")
    assert not stub.received("/faults/dead")


def test_a_server_that_dies_in_the_response_lets_nothing_pass(gate: Gateway) -> None:
    answer = ask(gate, "/faults/dies-late", "die", Phase.RESPONSE_BODY, "open")
    gate.server.stop()
    gate.restart()
    assert answer.status == 503
    assert b"x_received" not in answer.body


def test_a_server_that_stands_still_is_504(gate: Gateway, stub: Stub) -> None:
    gate.signal(signal.SIGSTOP)
    try:
        answer = quiet(gate, "/faults/still")
    finally:
        gate.signal(signal.SIGCONT)
    assert (answer.status, answer.code) in ((504, "policy_timeout"), (503, "policy_unavailable"))
    assert not stub.received("/faults/still")


def test_a_server_killed_under_load_lets_nothing_pass(gate: Gateway, stub: Stub) -> None:
    """Each request either went through the whole chain, or failed; the workload's token is never upstream."""
    stop, served = threading.Event(), threading.Event()

    def load(_: int) -> list[int]:
        statuses = []
        while not stop.is_set():
            statuses.append(quiet(gate, "/faults/load").status)
            served.set()
        return statuses

    with ThreadPoolExecutor(8) as pool:
        running = pool.map(load, range(8))
        served.wait(10)
        gate.server.stop(signal.SIGKILL)
        gate.restart()
        stop.set()
        statuses = [status for each in running for status in each]
    assert set(statuses) <= {200, 503}
    received = stub.received("/faults/load")
    assert statuses.count(200) <= len(received)
    assert all(request.values("authorization") == [f"Bearer {KEY}"] for request in received)
    assert TOKEN not in str(received)
    assert quiet(gate, "/faults/after-load").status == 200


def test_the_log_has_causes_and_no_secrets(gate: Gateway) -> None:
    assert "policy_error" in gate.server.output
    assert TOKEN not in gate.server.output
    assert KEY not in gate.server.output
