"""The model's name decides the route, through a real Envoy: nothing escapes its chain, and no Backend gets another's key."""

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.gateway import AUTHN, INJECT, KEY, Gateway, backend, gateway, policy
from tests.e2e.processes import Stub
from tests.e2e.test_hosts_paths import route, rule

pytestmark = pytest.mark.e2e

MODEL = "x-gateway-model-name"
OTHER_KEY = "sk-of-the-other"
ROUTER = {"name": "model", "type": "ModelRouter:v1", "phase": "request-body", "priority": 1}
PII = {"name": "pii", "type": "PIIDetector:v1", "phase": "request-body", "priority": 5}
EACH_TRY = {**INJECT, "phase": "backend-request"}
OTHERS = {**EACH_TRY, "config": {**EACH_TRY["config"], "source": "other-keys"}}


def by_model(name: str, *models: str) -> dict[str, Any]:
    """A rule for these models."""
    matches = [{"headers": [{"name": "X-Gateway-Model-Name", "value": model}]} for model in models]
    return {**rule(name), "matches": matches}


@pytest.fixture(scope="module")
def gate(stub: Stub) -> Iterator[Gateway]:
    backends = (
        backend(stub.port, EACH_TRY, hostname="localhost"),
        backend(stub.port, OTHERS, name="other", hostname="127.0.0.1"),
    )
    rules = route("models", ["api.test"], rule("stub"), by_model("other", "big", "gemini-pro"))
    sources = {
        "provider-keys": {"file": {"root": "secrets"}, "backends": ["egress/stub"]},
        "other-keys": {"file": {"root": "others"}, "backends": ["egress/other"]},
    }
    files = {"others/ai-workloads/default/api_key": OTHER_KEY}
    documents = policy(AUTHN, ROUTER, PII), *backends, rules
    with gateway(*documents, upstreamPass=True, secretSources=sources, files=files) as running:
        yield running


def asked(gate: Gateway, stub: Stub, path: str, body: bytes | None, **options: Any) -> tuple[str, str, list[str]]:
    """Host and key of what arrived at the stub, and the header."""
    kind = [("content-type", "application/json"), *options.pop("headers", [])]
    method = "GET" if body is None else "POST"
    answer = gate.send(method, path, body=body or b"", host="api.test", headers=kind, **options)
    assert answer.status == 200, (answer.status, answer.body)
    [got] = stub.received(path)
    return got.values("host")[0].partition(":")[0], got.values("authorization")[0], got.values(MODEL)


def test_a_model_leads_to_its_backend_with_that_ones_key(gate: Gateway, stub: Stub) -> None:
    big = json.dumps({"model": "big", "messages": []}).encode()
    assert asked(gate, stub, "/reroute/big", big) == ("127.0.0.1", f"Bearer {OTHER_KEY}", ["big"])
    small = json.dumps({"model": "small"}).encode()
    assert asked(gate, stub, "/reroute/small", small) == ("localhost", f"Bearer {KEY}", ["small"])


def test_gemini_names_its_model_in_the_path(gate: Gateway, stub: Stub) -> None:
    path = "/v1beta/models/gemini-pro:generateContent"
    assert asked(gate, stub, path, b'{"contents": []}')[0] == "127.0.0.1"


def test_an_encoded_body_is_read(gate: Gateway, stub: Stub) -> None:
    body = gzip.compress(b'{"model": "big"}')
    assert asked(gate, stub, "/reroute/gzip", body, headers=[("content-encoding", "gzip")])[0] == "127.0.0.1"


@pytest.mark.parametrize("body", [None, b'{"a": 1}', b'{"model": "small"}'])
def test_a_header_of_the_caller_chooses_nothing(gate: Gateway, stub: Stub, body: bytes | None) -> None:
    path = f"/reroute/spoof/{len(body or b'')}"
    host, key, model = asked(gate, stub, path, body, headers=[(MODEL, "big"), ("X-Gateway-Model-Name", "big")])
    assert (host, key) == ("localhost", f"Bearer {KEY}")
    assert model == (["small"] if body and b"small" in body else [])


def test_what_is_rerouted_is_redacted_all_the_same(gate: Gateway, stub: Stub) -> None:
    body = b'{"model": "big", "user": "jane@example.com"}'
    assert asked(gate, stub, "/reroute/pii", body)[0] == "127.0.0.1"
    assert b"jane" not in stub.received("/reroute/pii")[0].body


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "small", "model": "big"}',
        b'{"Model": "big", "model": "small"}',
        b'{"model": "big\\r\\nx: y"}',
        b'{"model"',
    ],
)
def test_a_model_that_two_could_read_differently_is_refused(gate: Gateway, stub: Stub, body: bytes) -> None:
    answer = gate.send(
        "POST", "/reroute/no", body=body, host="api.test", headers=[("content-type", "application/json")]
    )
    assert (answer.status, answer.code) == (400, "body_malformed")
    assert stub.received("/reroute/no") == []


@pytest.fixture(scope="module")
def drafted(stub: Stub) -> Iterator[Gateway]:
    """The same rules, and the header set by a PayloadProcessor."""
    processor = {
        "apiVersion": "gateway.networking.k8s.io/v1alpha1",
        "kind": "PayloadProcessor",
        "metadata": {"name": "models", "namespace": "egress"},
        "spec": {
            "targetRef": {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "egress"},
            "phase": "PreRouting",
            "processors": [
                {
                    "name": "model",
                    "type": "InProcess",
                    "inProcess": {
                        "request": {
                            "setHeaders": [{"name": "X-Gateway-Model-Name", "value": "json(request.body).model"}],
                            "removeHeaders": ["x-debug"],
                        }
                    },
                }
            ],
        },
    }
    backends = backend(stub.port), backend(stub.port, name="other", hostname="127.0.0.1")
    rules = route("models", ["api.test"], rule("stub"), by_model("other", "big"))
    with gateway(policy(AUTHN), processor, *backends, rules) as running:
        yield running


def test_a_payload_processor_routes_by_the_body(drafted: Gateway, stub: Stub) -> None:
    for model, host in (("big", "127.0.0.1"), ("small", "localhost")):
        body = json.dumps({"model": model}).encode()
        headers = [("content-type", "application/json"), ("x-debug", "1"), (MODEL, "spoofed")]
        assert drafted.send("POST", f"/drafted/{model}", body=body, host="api.test", headers=headers).status == 200
        [got] = stub.received(f"/drafted/{model}")
        assert got.values("host")[0].partition(":")[0] == host
        assert (got.values(MODEL), got.values("x-debug")) == ([model], [])
    answer = drafted.send(
        "POST", "/drafted/none", body=b"{}", host="api.test", headers=[("content-type", "application/json")]
    )
    assert (answer.status, answer.code) == (400, "body_malformed")


@pytest.fixture(scope="module")
def weighted(stub: Stub) -> Iterator[Gateway]:
    """A host whose rules do not depend on the model; one of its two Backends has everything redacted."""
    backends = backend(stub.port), backend(stub.port, PII, name="other", hostname="127.0.0.1")
    with gateway(policy(AUTHN, ROUTER), *backends, route("w", ["api.test"], rule("stub", "other"))) as running:
        yield running


def test_between_weights_envoy_chooses_once(weighted: Gateway, stub: Stub) -> None:
    """So that what has run is what the Backend wants, and no request is refused for the doubt."""
    body = b'{"model": "m", "user": "jane@example.com"}'
    for _ in range(30):
        headers = [("content-type", "application/json"), (MODEL, "spoofed")]
        assert weighted.send("POST", "/weighted", body=body, host="api.test", headers=headers).status == 200
    got = [(one.values("host")[0].partition(":")[0], b"jane" in one.body) for one in stub.received("/weighted")]
    assert set(got) == {("localhost", True), ("127.0.0.1", False)}
