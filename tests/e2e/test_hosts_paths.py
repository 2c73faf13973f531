"""Which Backend: HTTPRoutes decide the same in the engine and in Envoy, or nothing is released."""

from collections import Counter
from collections.abc import Iterator
from itertools import product

import pytest

from extproc.compose import configure
from extproc.core.engine import Selection
from extproc.core.headers import Headers
from extproc.core.message import Request, read_request
from tests.e2e.gateway import AUTHN, INJECT, KEY, Gateway, backend, gateway, policy
from tests.e2e.processes import Stub

pytestmark = pytest.mark.e2e

HOSTS = ("api.test", "a.wild.test", "deep.a.wild.test", "wild.test", "localhost", "127.0.0.1")
PATHS = ("/", "/v1", "/v1/", "/v1/chat", "/v1x", "/v1/exact", "/v1/exact/x", "/v2?m=1", "/v2?m=2&a=%20", "/v3")
METHODS = ("GET", "POST")
MARKS = (None, "yes", "no")


def route(name: str, hostnames: list[str], *rules: dict) -> dict:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name, "namespace": "egress"},
        "spec": {"parentRefs": [{"name": "egress"}], "hostnames": hostnames, "rules": list(rules)},
    }


def rule(*names: str, **match: object) -> dict:
    refs = [{"group": "egress.extproc.dev", "kind": "Backend", "name": name} for name in names]
    return {"matches": [match], "backendRefs": refs} if match else {"backendRefs": refs}


def path(value: str, kind: str = "PathPrefix") -> dict:
    return {"type": kind, "value": value}


ROUTES = (
    route(
        "api",
        ["api.test"],
        rule("stub", path=path("/v1")),
        rule("other", path=path("/v1/exact", "Exact")),
        rule("other", path=path("/v1"), method="POST"),
        rule("other", path=path("/v2"), queryParams=[{"name": "m", "value": "1"}]),
        rule("stub", path=path("/v2")),
        rule("other", path=path("/v3"), headers=[{"name": "X-Mark", "value": "yes"}]),
        rule("other", path=path("/v4"), headers=[{"name": "X-Mark", "value": "jå"}]),
    ),
    route("wild", ["*.wild.test"], rule("other")),
    route("deep", ["*.a.wild.test", "a.wild.test"], rule("stub")),
)


@pytest.fixture(scope="module")
def gate(stub: Stub) -> Iterator[Gateway]:
    backends = backend(stub.port, INJECT), backend(stub.port, INJECT, name="other", hostname="127.0.0.1")
    source = {"file": {"root": "secrets"}, "backends": ["egress/stub", "egress/other"]}
    with gateway(policy(AUTHN), *backends, *ROUTES, secretSources={"provider-keys": source}) as running:
        yield running


def test_the_engine_and_envoy_choose_the_same(gate: Gateway, stub: Stub) -> None:
    """Every combination is sent: it reaches the Backend that the configuration names, with the key, or nothing at all."""
    resolved = configure(gate.config)
    for host, target, method, mark in product(HOSTS, PATHS, METHODS, MARKS):
        marked = [("x-mark", mark)] if mark else []
        fields = {":method": method, ":authority": host, ":path": target, ":scheme": "http", **dict(marked)}
        request = read_request(Headers((name, value.encode()) for name, value in fields.items()))
        assert isinstance(request, Request)
        before = len(stub.recorder.requests)
        answer = gate.send(method, target, host=host, headers=marked)
        chosen = resolved.select(request, "")
        if isinstance(chosen, Selection):
            assert answer.status == 200, (host, target, method, mark, answer.body)
            assert chosen.backend is not None
            received = stub.recorder.last
            assert received.values("host") == [f"{chosen.backend.host}:{stub.port}"], (host, target, method, mark)
            assert received.values("authorization") == [f"Bearer {KEY}"]
        else:
            assert (answer.status, answer.code) == (403, "no_backend"), (host, target, method, mark)
            assert len(stub.recorder.requests) == before


def test_a_header_beyond_ascii_is_compared_as_its_bytes(gate: Gateway, stub: Stub) -> None:
    wanted, other = (
        gate.get("/v4", host="api.test", headers=[("x-mark", "jå".encode(code))]) for code in ("utf-8", "latin-1")
    )
    assert (wanted.status, other.status, other.code) == (200, 403, "no_backend")
    assert [one.values("host") for one in stub.received("/v4")] == [[f"127.0.0.1:{stub.port}"]]


@pytest.mark.parametrize("http2", [False, True])
@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/v3", [("x-mark", "yes"), ("x-mark", "")]),
        ("/v3", [("x-mark", "no"), ("x-mark", "yes")]),
        ("/v1/chat", [("x-http-method-override", "POST")]),
        ("/v1/chat?%24httpMethod=POST", []),
        ("/v2?m=2&m=1", []),
        ("/v2?a=b;m=1&m=1", []),
        ("/v2?%6d=1", []),
        ("/v2?m=%31", []),
    ],
)
def test_what_they_would_not_choose_alike_is_refused(
    gate: Gateway, stub: Stub, path: str, headers: list[tuple[str, str]], http2: bool
) -> None:
    """Envoy 1.40 takes a rule if one of the values of a header is right, and reads no escapes in a query; Google's APIs take
    the other method.
    """
    before = len(stub.recorder.requests)
    send = gate.send2 if http2 else gate.send
    answer = send("GET", path, host="api.test", headers=headers)
    assert (answer.status, answer.code) == (400, "bad_request")
    assert len(stub.recorder.requests) == before


def test_weights(stub: Stub) -> None:
    """One rule, two Backends: nothing is injected, and the server takes the one that Envoy chose."""
    backends = backend(stub.port), backend(stub.port, name="other", hostname="127.0.0.1")
    weighted = rule("stub", "other")
    weighted["backendRefs"][0]["weight"] = 3
    with gateway(policy(AUTHN), *backends, route("weighted", ["api.test"], weighted)) as gate:
        statuses = Counter(gate.get("/weights", host="api.test").status for _ in range(60))
    assert statuses == {200: 60}
    seen = Counter(request.values("host")[0].split(":")[0] for request in stub.received("/weights"))
    assert seen["localhost"] > seen["127.0.0.1"] > 0
