"""Who may call: no token, a bad one, a namespace that is not allowed, and identities that a caller makes up."""

from collections.abc import Iterator

import pytest

from tests.e2e.gateway import AUTHN, INJECT, KEY, STRANGER, TOKEN, Gateway, backend, gateway, policy, received
from tests.e2e.processes import Stub, wait_until

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def gate(stub: Stub) -> Iterator[Gateway]:
    with gateway(policy(AUTHN), backend(stub.port, INJECT), identityHeaders=["x-user", "x-tenant"]) as running:
        yield running


def test_a_right_token_passes(gate: Gateway, stub: Stub) -> None:
    assert gate.get("/auth/right").status == 200
    assert received(stub, "/auth/right")["authorization"] == [f"Bearer {KEY}"]


@pytest.mark.parametrize(
    "authorization",
    [
        [],
        ["Bearer wrong"],
        ["Bearer "],
        ["Bearer"],
        [f"Basic {TOKEN}"],
        [TOKEN],
        [f"Bearer {TOKEN}x"],
        [f"Bearer {TOKEN},{TOKEN}"],
        [f"Bearer {TOKEN}", "Bearer wrong"],
        ["Bearer wrong", f"Bearer {TOKEN}"],
        [f"Bearer {TOKEN}", f"Bearer {TOKEN}"],
        [b"Bearer \xff\xfe"],
    ],
)
def test_anything_else_is_401(gate: Gateway, stub: Stub, authorization: list[str | bytes]) -> None:
    answer = gate.get("/auth/bad", token=None, headers=[("authorization", value) for value in authorization])
    assert (answer.status, answer.code) == (401, "unauthenticated")
    assert answer.values("www-authenticate")
    assert not stub.received("/auth/bad")


@pytest.mark.parametrize("place", ["/auth/query?access_token={}", "/auth/query?authorization=Bearer%20{}"])
def test_a_token_in_the_query_is_none(gate: Gateway, place: str) -> None:
    assert gate.get(place.format(TOKEN), token=None).status == 401


def test_a_namespace_that_is_not_allowed_is_403(gate: Gateway, stub: Stub) -> None:
    answer = gate.get("/auth/stranger", token=STRANGER)
    assert (answer.status, answer.code) == (403, "forbidden")
    assert not stub.received("/auth/stranger")


def test_a_denial_is_json_with_a_fixed_sentence(gate: Gateway) -> None:
    answer = gate.get(token=None)
    error = answer.json["error"]
    assert answer.values("content-type") == ["application/json"]
    assert set(error) == {"type", "code", "message", "request_id"}
    assert error["type"] == "egress_denied"
    assert error["message"] == "A valid workload token is required."
    assert error["request_id"]


@pytest.mark.parametrize("name", ["x-extproc-peer", "X-Extproc-Anything", "x-user", "X-Tenant"])
def test_spoofed_identity_headers_are_removed(gate: Gateway, stub: Stub, name: str) -> None:
    path = f"/auth/spoof/{name.lower()}"
    assert gate.get(path, headers=[(name, "admin"), (name, "root")]).status == 200
    assert name.lower() not in received(stub, path)


def test_headers_pass_as_they_came(gate: Gateway, stub: Stub) -> None:
    sent: list[tuple[str, str | bytes]] = [("x-raw", b"caf\xe9 \xff"), ("x-two", "1"), ("x-two", "2")]
    assert gate.get("/auth/raw", headers=sent).status == 200
    headers = received(stub, "/auth/raw")
    assert headers["x-raw"] == ["caf\xe9 \xff"]
    assert headers["x-two"] == ["1", "2"]


def test_the_token_is_never_upstream(gate: Gateway, stub: Stub) -> None:
    for method in ("GET", "POST", "DELETE"):
        gate.send(method, "/auth/never", headers=[("x-other", "1")])
    assert len(stub.received("/auth/never")) == 3
    assert not any(TOKEN in value for request in stub.recorder.requests for _, value in request.headers)


def test_neither_token_nor_key_is_in_a_log(gate: Gateway) -> None:
    gate.get("/auth/log")
    gate.get("/auth/log", token=STRANGER)
    assert not [secret for secret in (TOKEN, STRANGER, KEY) if secret in gate.server.output]


def test_the_access_log_says_who_and_why(gate: Gateway) -> None:
    """From the dynamic metadata: names and codes, and nothing that the caller sent."""
    gate.get("/auth/canary-path?canary-query", headers=[("x-canary", "canary-header")])
    gate.get("/auth/canary-path", token=STRANGER)
    log = gate.directory / "envoy.log"
    wait_until(lambda: '"extension":"authn"' in log.read_text())
    assert '"peer":{"namespace":"ai-workloads","serviceAccount":"default"}' in log.read_text()
    assert '"code":"forbidden"' in log.read_text()
    assert not [word for word in ("canary", TOKEN, STRANGER, KEY) if word in log.read_text()]


def test_the_callers_request_id_is_not_taken(gate: Gateway, stub: Stub) -> None:
    assert gate.get("/auth/id", headers=[("x-request-id", "forged")]).status == 200
    assert received(stub, "/auth/id")["x-request-id"] != ["forged"]
