"""The other transports through a real Envoy: the server inside an Envoy of its own, and inside the gateway's. Every test of
this folder runs on them too, with EXTPROC_TRANSPORT; here is what must hold of them in each run of the tests.
"""

import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import orjson
import pytest

from extproc.core.phase import Phase
from tests.e2e.clients import read_http1, request_bytes
from tests.e2e.gateway import (
    AUTHN,
    INJECT,
    KEY,
    PII,
    STRANGER,
    TOKEN,
    Gateway,
    backend,
    gateway,
    policy,
    quota,
    received,
)
from tests.e2e.hostile import CANARY
from tests.e2e.processes import Stub, admin_get, wait_until
from tests.e2e.test_faults import TYPE, hostile

pytestmark = pytest.mark.e2e

FAULTS = {
    "raise": (500, "policy_error"),
    "raise-late": (500, "policy_error"),
    "exit": (500, "policy_error"),
    "cancel": (500, "policy_error"),
    "nothing": (500, "policy_error"),
    "hang": (504, "policy_timeout"),
    "down": (503, "policy_unavailable"),
}
MANY = 10_000
CALLERS = 8


@pytest.fixture(scope="module", params=["envoy", "inprocess"])
def gate(request: pytest.FixtureRequest, stub: Stub) -> Iterator[Gateway]:
    few = {**quota(3), "when": 'request.path == "/limited"'}
    closed = [
        {**hostile(phase, fail_open=False), "when": 'request.path == "/faulty"'} for phase in Phase if served(phase)
    ]
    documents = policy(AUTHN, few), backend(stub.port, INJECT, PII, *closed)
    options = {
        "filters": {TYPE: "tests.e2e.hostile:Hostile"},
        "environ": {"PYTHONPATH": str(Path(__file__).parents[2])},
    }
    with gateway(*documents, transport=request.param, **options) as running:
        yield running


def served(phase: Phase) -> bool:
    return phase.value.startswith(("request", "response"))


def status(gate: Gateway) -> dict:
    return httpx.get(f"http://{gate.admin_port}/status").json()


def metric(gate: Gateway, name: str) -> float:
    text = httpx.get(f"http://{gate.admin_port}/metrics").text
    return sum(float(value) for value in re.findall(rf"(?m)^{name}\{{.*\}} (\S+)$", text))


def stat(gate: Gateway, name: str) -> int:
    """A counter of the gateway's Envoy about the ext_proc cluster."""
    text = admin_get(gate.admin, f"/stats?filter=^cluster.ext_proc.{name}$").decode()
    return int(re.findall(rf"(?m)^cluster.ext_proc.{name}: (\d+)", text)[0])


def test_authentication_and_credentials(gate: Gateway, stub: Stub) -> None:
    path = f"/transport/{gate.transport}/auth"
    assert gate.get(path).status == 200
    assert received(stub, path)["authorization"] == [f"Bearer {KEY}"]
    assert (gate.get(path, token=None).status, gate.get(path, token=STRANGER).status) == (401, 403)
    assert len(stub.received(path)) == 1


def test_limits(gate: Gateway) -> None:
    assert [gate.get("/limited").status for _ in range(5)] == [200, 200, 200, 429, 429]


@pytest.mark.parametrize("size", [10, 200_000])
def test_personal_data(gate: Gateway, stub: Stub, size: int) -> None:
    path = f"/transport/{gate.transport}/pii/{size}"
    text = "x " * size + "jane.doe@example.com"
    answer = gate.send("POST", path, headers=[("content-type", "application/json")], body=orjson.dumps({"text": text}))
    assert answer.status == 200
    [request] = stub.received(path)
    assert b"jane.doe" not in request.body
    assert request.body.endswith(b'[EMAIL_ADDRESS]"}')


@pytest.mark.parametrize("phase", [phase for phase in Phase if served(phase)])
@pytest.mark.parametrize("how", FAULTS)
def test_a_filter_that_fails(gate: Gateway, how: str, phase: Phase) -> None:
    headers = [("x-do", how), ("x-at", str(phase)), ("content-type", "text/plain")]
    answer = gate.send("POST", "/faulty", headers=headers, body=b"a body")
    assert (answer.status, answer.code) == FAULTS[how]
    assert CANARY.encode() not in answer.body


def test_the_metrics_are_those_of_the_process_that_serves(gate: Gateway) -> None:
    before = metric(gate, "extproc_requests_total")
    assert gate.get("/transport/metrics").status == 200
    wait_until(lambda: metric(gate, "extproc_requests_total") == before + 1)


def test_a_client_that_goes_away_in_its_body_leaves_nothing_open(gate: Gateway) -> None:
    def leave(number: int) -> None:
        fields = [
            ("authorization", f"Bearer {TOKEN}"),
            ("content-type", "application/json"),
            ("content-length", "5000"),
        ]
        with socket.create_connection(("127.0.0.1", gate.port), 15) as connection:
            connection.sendall(request_bytes("POST", f"/transport/left/{number}", fields) + b'{"text": "half of')
            if number % 2:
                wait_until(lambda: status(gate)["streams"] > 0)

    with ThreadPoolExecutor(CALLERS) as pool:
        list(pool.map(leave, range(40)))
    wait_until(lambda: status(gate)["streams"] == 0)
    assert gate.get("/transport/after-left").status == 200


def test_resets_close_no_connection(gate: Gateway) -> None:
    """Envoy resets each stream when it has its answer: nghttp2 on our side would take that for an attack (PROTOCOL 7)."""
    names = ("upstream_cx_total", "upstream_rq_tx_reset", "upstream_rq_total")
    assert gate.get("/transport/resets", token=None).status == 401
    before = {name: stat(gate, name) for name in names}
    sent = request_bytes("GET", "/transport/resets")

    def ask(number: int) -> set[int]:
        with socket.create_connection(("127.0.0.1", gate.port), 30) as connection:
            found = set()
            for _ in range(number):
                connection.sendall(sent)
                found.add(read_http1(connection).status)
            return found

    with ThreadPoolExecutor(CALLERS) as pool:
        assert set.union(*pool.map(ask, [MANY // CALLERS] * CALLERS)) == {401}
    after = {name: stat(gate, name) - before[name] for name in names}
    assert after["upstream_rq_total"] >= MANY
    assert after["upstream_rq_tx_reset"] >= MANY
    assert stat(gate, "upstream_cx_destroy") == 0
    wait_until(lambda: status(gate)["streams"] == 0)


def test_no_secret_is_in_the_log(gate: Gateway) -> None:
    assert gate.get("/transport/secrets", token=None).status == 401
    gate.server.wait_until(lambda: '"unauthenticated"' in gate.server.output)
    assert not [word for word in (TOKEN, KEY) if word in gate.server.output]
