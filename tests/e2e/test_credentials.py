"""The credential that the caller never sees, and the caller's own, which the destination never sees."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import yaml

from extproc.compose import configure
from extproc.envoy.plan import Plan
from extproc.envoy.resolved import plan_of
from extproc.policy.names import Address
from tests.e2e.clients import http1, request_bytes
from tests.e2e.envoys import envoy
from tests.e2e.gateway import AUTHN, INJECT, KEY, TOKEN, Gateway, backend, gateway, policy, received, tokens
from tests.e2e.processes import Stub, free_port, short_directory

pytestmark = pytest.mark.e2e

KEYLESS = "token-of-keyless"


def more_tokens() -> str:
    known = yaml.safe_load(tokens())
    keyless = {**known["tokens"][0], "token": KEYLESS, "username": "system:serviceaccount:ai-workloads:keyless"}
    return yaml.dump({"tokens": [*known["tokens"], keyless]})


@pytest.fixture(scope="module")
def gate(stub: Stub) -> Iterator[Gateway]:
    files = {"tokens": more_tokens()}
    with gateway(policy(AUTHN), backend(stub.port, INJECT), files=files) as running:
        yield running


@pytest.mark.parametrize("name", ["x-api-key", "API-Key", "x-goog-api-key", "cookie", "proxy-authorization"])
def test_the_callers_own_credential_in_another_header_goes(gate: Gateway, stub: Stub, name: str) -> None:
    path = f"/credentials/own/{name.lower()}"
    assert gate.get(path, headers=[(name, "mine"), (name, "mine too")]).status == 200
    headers = received(stub, path)
    assert name.lower() not in headers
    assert headers["authorization"] == [f"Bearer {KEY}"]


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ("api_key=mine&a=b", "?a=b"),
        ("a=b&KEY=mine", "?a=b"),
        ("access%5Ftoken=mine&a=b", "?a=b"),
        ("a=b;api_key=mine", "?a=b"),
        ("key=mine", ""),
    ],
)
def test_the_callers_own_credential_in_the_query_goes(gate: Gateway, stub: Stub, query: str, left: str) -> None:
    before = len(stub.recorder.requests)
    assert gate.get(f"/credentials/query?{query}").status == 200
    (request,) = list(stub.recorder.requests)[before:]
    assert request.path == f"/credentials/query{left}"


def test_the_callers_own_credential_in_trailers_goes(gate: Gateway, stub: Stub) -> None:
    answer = gate.send2(
        "POST", "/credentials/trailers", body=b"x", trailers=[("authorization", "mine"), ("x-key", "m")]
    )
    assert answer.status == 200
    assert "x-key" not in received(stub, "/credentials/trailers")
    assert received(stub, "/credentials/trailers")["authorization"] == [f"Bearer {KEY}"]


def test_no_secret_for_this_workload_is_403(gate: Gateway, stub: Stub) -> None:
    answer = gate.get("/credentials/none", token=KEYLESS)
    assert (answer.status, answer.code) == (403, "no_credential")
    assert not stub.received("/credentials/none")


def test_an_answer_that_echoes_the_credential_is_masked(gate: Gateway) -> None:
    answer = gate.get("/echo-headers")
    assert answer.status == 200
    assert answer.values("x-echo-authorization") == ["Bearer ***"]
    assert not [value for _, value in answer.headers if KEY in value]


def test_a_cluster_that_is_not_the_backends_gets_nothing(gate: Gateway, stub: Stub) -> None:
    """An Envoy whose routes lead somewhere else: the server sees the cluster and keeps the credential."""
    with short_directory() as directory:
        astray = _astray(plan_of(configure(gate.config)), directory / "admin.sock")
        with envoy(astray, directory) as other:
            sent = request_bytes("GET", "/credentials/astray", [("authorization", f"Bearer {TOKEN}")])
            answer = http1(other.port, sent)
    assert (answer.status, answer.code) == (403, "backend_mismatch")
    assert not stub.received("/credentials/astray")


def _astray(plan: Plan, admin: object) -> Plan:
    upstream = replace(plan.upstreams[0], cluster="somebody/else")
    hosts = tuple(
        replace(host, rules=tuple(replace(rule, destinations=((upstream, 1),)) for rule in host.rules))
        for host in plan.hosts
    )
    listen = Address(host="127.0.0.1", port=free_port())
    return replace(plan, listen=listen, admin=Address(path=admin), upstreams=(upstream,), hosts=hosts)  # type: ignore[arg-type]


def test_a_key_in_the_query(stub: Stub) -> None:
    config = {**INJECT["config"], "query": "key", "template": "{value}"}
    with gateway(policy(AUTHN), backend(stub.port, {**INJECT, "config": config})) as gate:
        assert gate.get("/credentials/as-query?key=mine&a=b").status == 200
        assert gate.get("/credentials/as-query?$key=mine&oauth_token=mine&a=?").status == 200
    assert stub.received(f"/credentials/as-query?a=b&key={KEY}")
    assert stub.received(f"/credentials/as-query?a=?&key={KEY}")  # no part of a value that the upstream may echo


def test_a_secret_that_leads_out_of_its_root_is_none(stub: Stub) -> None:
    with gateway(policy(AUTHN), backend(stub.port, INJECT)) as gate:
        inside = gate.directory / "secrets" / "ai-workloads" / "default" / "api_key"
        (gate.directory / "outside").write_text("canary-from-outside")
        inside.unlink()
        inside.symlink_to(gate.directory / "outside")
        answer = gate.get("/credentials/outside")
    assert answer.status in (403, 503)
    assert not stub.received("/credentials/outside")
