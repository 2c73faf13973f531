"""The upstream pass through a real Envoy: each try gets its own credential, and nobody else's."""

import signal
import socket
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import httpx
import orjson
import pytest

from extproc.wire.pb import external_processor_pb2 as pb
from tests.calls import process
from tests.e2e.clients import request_bytes
from tests.e2e.failing import Failing, failing
from tests.e2e.gateway import AUTHN, INJECT, KEY, TOKEN, Gateway, backend, gateway, policy
from tests.e2e.pieces import Pieces
from tests.e2e.processes import admin_get, free_port, wait_until
from tests.e2e.test_credentials import KEYLESS, more_tokens
from tests.e2e.test_doctor import doctor
from tests.e2e.test_workers import children

pytestmark = pytest.mark.e2e

EACH_TRY = {**INJECT, "phase": "backend-request"}
TRYING = "tests.example/Trying:v1"
FILTERS = {TRYING: "tests.e2e.trying:Trying"}


def route(*backends: str, **rule: Any) -> dict[str, Any]:
    """An HTTPRoute for localhost to these Backends, which tries again after a 503."""
    refs = [{"group": "egress.extproc.dev", "kind": "Backend", "name": name} for name in backends]
    retry = {"codes": [503], "attempts": 2, "backoff": "10ms"}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "all", "namespace": "egress"},
        "spec": {
            "parentRefs": [{"name": "egress"}],
            "hostnames": ["localhost"],
            "rules": [{"backendRefs": refs, "retry": retry, **rule}],
        },
    }


@pytest.fixture(scope="module")
def upstream() -> Iterator[Failing]:
    with failing() as running:
        yield running


@pytest.fixture(autouse=True)
def _clear(upstream: Failing) -> None:
    upstream.clear()


@pytest.fixture(scope="module")
def gate(upstream: Failing) -> Iterator[Gateway]:
    documents = policy(AUTHN), backend(upstream.port, EACH_TRY), route("stub")
    with gateway(*documents, upstreamPass=True, files={"tokens": more_tokens()}) as running:
        yield running


def test_each_try_carries_one_credential_and_not_the_callers(gate: Gateway, upstream: Failing) -> None:
    upstream.statuses = [503, 503]
    own = [("x-api-key", "mine"), ("cookie", "mine"), ("proxy-authorization", "mine")]
    assert gate.get("/x?api_key=mine&a=b", headers=own).status == 200
    assert [one.target for one in upstream.tries] == ["/x?a=b"] * 3
    for one in upstream.tries:
        assert one.values("authorization") == [f"Bearer {KEY}"]
        assert not [value for _, value in one.headers if "mine" in value]


def test_what_a_try_is_refused_for_is_not_tried_again(gate: Gateway, upstream: Failing) -> None:
    inside = gate.directory / "secrets" / "ai-workloads" / "other"
    assert not inside.exists()
    answer = gate.get("/x", token=KEYLESS)
    assert (answer.status, answer.code) == (403, "no_credential")
    assert upstream.tries == []


def test_an_answer_that_echoes_the_credential_is_masked(gate: Gateway, upstream: Failing) -> None:
    upstream.reply = lambda one: {"x-echo": one.values("authorization")[0]}
    assert gate.get("/echo").values("x-echo") == ["Bearer ***"]


def test_a_denial_of_a_try_is_in_the_access_log(gate: Gateway, upstream: Failing) -> None:
    assert gate.get("/denied", token=KEYLESS).status == 403
    log = gate.directory / "envoy.log"
    wait_until(lambda: "no_credential" in log.read_text())
    line = next(line for line in log.read_text().splitlines() if "no_credential" in line and line.startswith("{"))
    told = orjson.loads(line)
    assert told["denied"] == {"code": "no_credential", "extension": "inject"}
    assert told["peer"] == {"namespace": "ai-workloads", "serviceAccount": "keyless"}


def test_the_doctor_finds_nothing_wrong(gate: Gateway) -> None:
    assert gate.get("/doctor").status == 200
    code, lines = doctor(gate)
    assert (code, len(lines)) == (0, 1), lines


def test_a_body_and_its_trailers_go_the_same_way_at_each_try(gate: Gateway, upstream: Failing) -> None:
    upstream.statuses = [503]
    answer = gate.send2("POST", "/body", body=b"x" * 5000, trailers=[("authorization", "mine"), ("x-key", "mine")])
    assert answer.status == 200
    assert [one.body for one in upstream.tries] == [b"x" * 5000] * 2
    assert not [value for one in upstream.tries for _, value in one.headers if "mine" in value]


def test_tries_are_counted_apart_from_exchanges(gate: Gateway, upstream: Failing) -> None:
    before = counted(gate)
    upstream.statuses = [503, 503]
    assert gate.get("/counted").status == 200
    wait_until(lambda: counted(gate)["extproc_tries_total"] == before["extproc_tries_total"] + 3)
    wait_until(lambda: counted(gate)["extproc_requests_total"] == before["extproc_requests_total"] + 1)


def counted(gate: Gateway) -> Counter[str]:
    found: Counter[str] = Counter()
    for line in httpx.get(f"http://{gate.admin_port}/metrics").text.splitlines():
        if not line.startswith("#"):
            found[line.partition("{")[0]] += float(line.rpartition(" ")[2])  # type: ignore[assignment]
    return found


def test_headers_near_the_limit_of_envoy_pass(gate: Gateway, upstream: Failing) -> None:
    large = [(f"x-large-{number}", '\u00e9"\\'.encode() * 2000) for number in range(7)]
    answer = gate.get("/large", headers=large)
    assert answer.status == 200
    assert len(upstream.tries[0].values("x-large-6")[0]) == 8000


def test_what_a_client_sends_is_no_token(gate: Gateway, upstream: Failing) -> None:
    """Neither what it says nor what it echoes reaches the metadata, and none of it reaches the destination."""
    names = ["x-extproc-pass", "x-extproc-backend", "x-extproc-token", "x-extproc-internal"]
    answer = gate.get("/spoof", headers=[(name, "upstream") for name in names])
    assert answer.status == 200
    assert not [name for name, _ in upstream.tries[0].headers if name.startswith("x-extproc")]


def test_no_token_is_to_be_seen(gate: Gateway, upstream: Failing) -> None:
    assert gate.get("/seen").status == 200
    longest = max(len(value) for _, value in upstream.tries[0].headers)
    assert longest < 200
    log, number = gate.directory / "envoy.log", upstream.tries[0].values("x-request-id")[0]
    wait_until(lambda: number in log.read_text())
    logs = gate.server.output + log.read_text()
    assert "extproc.internal" not in logs
    assert not [word for word in logs.split('"') if len(word) > 500]
    metrics = httpx.get(f"http://{gate.admin_port}/metrics").text
    assert max(map(len, metrics.splitlines())) < 500


@pytest.mark.parametrize("token", ["", "A" * 400, "\u0000", "x" * 400_000])
def test_the_upstream_pass_without_a_token_is_401(gate: Gateway, token: str) -> None:
    answer = ask(gate, token, ("x-extproc-pass", "upstream"), ("x-extproc-backend", "egress/stub"))
    assert answer.immediate_response.status.code == 401
    assert b"unauthenticated" in answer.immediate_response.body


@pytest.mark.parametrize(
    "initial",
    [
        [("x-extproc-pass", "upstreams")],
        [("x-extproc-pass", "")],
        [("x-extproc-backend", "egress/stub")],
        [("x-extproc-pass", "upstream"), ("x-extproc-pass", "downstream")],
    ],
)
def test_a_stream_of_no_known_pass_is_ended_with_an_error(gate: Gateway, initial: list[tuple[str, str]]) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        ask(gate, "", *initial)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION  # type: ignore[attr-defined]


def ask(gate: Gateway, token: str, *initial: tuple[str, str]) -> pb.ProcessingResponse:
    """The first answer on a stream of our own, as if Envoy's upstream filter had opened it."""
    message = pb.ProcessingRequest()
    pseudo = {":method": "GET", ":scheme": "http", ":authority": "localhost", ":path": "/direct"}
    for name, value in pseudo.items():
        message.request_headers.headers.headers.add(key=name, raw_value=value.encode())
    message.metadata_context.filter_metadata["extproc.internal"].update({"token": token})
    with grpc.insecure_channel(f"unix:{gate.plan.sockets[0].path}") as channel:
        return next(process(channel)(iter([message]), metadata=initial, timeout=10))


def test_a_query_parameter_is_not_doubled(upstream: Failing) -> None:
    config = {**INJECT["config"], "query": "key", "template": "{value}"}
    documents = policy(AUTHN), backend(upstream.port, {**EACH_TRY, "config": config}), route("stub")
    with gateway(*documents, upstreamPass=True) as gate:
        upstream.statuses = [503, 503]
        assert gate.get("/x?key=mine&a=b").status == 200
    assert [one.target for one in upstream.tries] == [f"/x?a=b&key={KEY}"] * 3


def test_passes_of_one_exchange_at_different_workers(upstream: Failing) -> None:
    """Any worker may be asked about any try: what one has sealed the other can read."""
    documents = policy(AUTHN), backend(upstream.port, EACH_TRY), route("stub")
    with gateway(*documents, upstreamPass=True, workers=2) as gate:
        upstream.statuses = [503, 200] * 30
        assert {gate.get("/workers").status for _ in range(30)} == {200}
        assert len(upstream.tries) == 60
        assert {tuple(one.values("authorization")) for one in upstream.tries} == {(f"Bearer {KEY}",)}
        lines = admin_get(gate.admin, "/clusters").decode().splitlines()
        counts = [
            int(line.rpartition("::")[2]) for line in lines if line.startswith("ext_proc::/") and "rq_total" in line
        ]
        assert len(counts) == 2
        assert min(counts) > 5
        for pid in children(gate.server.popen.pid):
            environ = Path(f"/proc/{pid}/environ").read_bytes()
            assert max(map(len, environ.split(b"EXTPROC_KEY_FD=")[1].split(b"\0")[:1])) <= 3


def test_a_credential_is_read_anew_at_each_try_and_each_answer_is_seen(upstream: Failing) -> None:
    trying = {"name": "trying", "type": TRYING, "phase": "backend-request", "config": {"key": "rotating"}}
    seeing = {"name": "seeing", "type": TRYING, "phase": "backend-response"}
    documents = policy(AUTHN), backend(upstream.port, trying, seeing, EACH_TRY), route("stub")
    with gateway(*documents, upstreamPass=True, filters=FILTERS, files={"rotating": "first"}) as gate:
        upstream.statuses = [503]
        upstream.between = partial((gate.directory / "rotating").write_text, "second")
        answer = gate.get("/x")
        notes = (gate.directory / "seen").read_text().splitlines()
    assert [one.values("x-rotating") for one in upstream.tries] == [["first"], ["second"]]
    assert [one.values("authorization") for one in upstream.tries] == [[f"Bearer {KEY}"]] * 2
    assert answer.values("x-tried") == ["egress/stub 200"]
    assert [line.split(" [")[0] for line in notes] == [
        "backend-request egress/stub ai-workloads None",
        "backend-response egress/stub ai-workloads 503",
        "backend-request egress/stub ai-workloads None",
        "backend-response egress/stub ai-workloads 200",
    ]
    assert KEY not in "".join(notes)
    assert "first" not in "".join(notes)


def test_what_the_downstream_pass_injected_stays_and_is_not_shown(upstream: Failing) -> None:
    as_query = {**INJECT, "name": "query", "config": {**INJECT["config"], "query": "key", "template": "{value}"}}
    seeing = {"name": "seeing", "type": TRYING, "phase": "backend-request"}
    documents = policy(AUTHN), backend(upstream.port, INJECT, as_query, seeing), route("stub")
    with gateway(*documents, upstreamPass=True, filters=FILTERS) as gate:
        upstream.statuses = [503]
        assert gate.get("/x?a=b").status == 200
        notes = (gate.directory / "seen").read_text()
    assert [one.target for one in upstream.tries] == [f"/x?a=b&key={KEY}"] * 2
    assert [one.values("authorization") for one in upstream.tries] == [[f"Bearer {KEY}"]] * 2
    assert notes == "backend-request egress/stub ai-workloads None ['***', '/x?a=b', ['***']]\n" * 2


OTHER_KEY = "sk-canary-of-the-other"
SOURCES = {
    "provider-keys": {"file": {"root": "secrets"}, "backends": ["egress/stub"]},
    "other-keys": {"file": {"root": "other"}, "backends": ["egress/other"]},
}
OTHER_FILES = {"other/ai-workloads/default/api_key": OTHER_KEY}


def test_the_next_backend_gets_its_own_credential_and_not_the_one_before(upstream: Failing) -> None:
    """A cluster that both Backends share: Envoy goes from one to the next, and says at each try whose turn it is."""
    with failing() as other:
        first, second = fallback(upstream.port, other.port)
        documents = policy(AUTHN), first, second, route("stub", "other", retry={"codes": [503], "attempts": 1})
        with gateway(*documents, upstreamPass=True, files=OTHER_FILES, secretSources=SOURCES) as gate:
            assert gate.get("/one").status == 200
            upstream.statuses = [503]
            assert gate.get("/two").status == 200
    assert [one.values("authorization") for one in upstream.tries] == [[f"Bearer {KEY}"]] * 2
    assert [one.values("host") for one in upstream.tries] == [[f"localhost:{upstream.port}"]] * 2
    assert [one.target for one in other.tries] == ["/two"]
    assert other.tries[0].values("x-other") == [OTHER_KEY]
    assert not [value for one in other.tries for _, value in one.headers if KEY in value]
    assert other.tries[0].values("host") == [f"127.0.0.1:{other.port}"]


def fallback(port: int, other: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two Backends with a cluster of their own and one that they share."""
    config = {**INJECT["config"], "source": "other-keys", "header": "x-other", "template": "{value}"}
    second = {**EACH_TRY, "config": config}
    return (
        backend(port, EACH_TRY, clusters=["egress/stub", "egress/both"]),
        backend(other, second, name="other", hostname="127.0.0.1", clusters=["egress/other", "egress/both"]),
    )


def test_an_upstream_pass_that_nobody_answers_lets_nothing_pass(upstream: Failing) -> None:
    """The server ends between two tries: the second has no credential, and does not leave."""
    documents = policy(AUTHN), backend(upstream.port, EACH_TRY), route("stub")
    with gateway(*documents, upstreamPass=True) as gate:
        upstream.statuses = [503]
        upstream.between = partial(gate.server.stop, signal.SIGKILL)
        answer = gate.get("/x")
    assert (answer.status, answer.code) == (503, "policy_unavailable")
    assert len(upstream.tries) == 1


def test_another_server_that_was_started_anew_cannot_read_old_tokens(upstream: Failing) -> None:
    """A key lives as long as the process that made it: what was sealed before is worth nothing."""
    documents = policy(AUTHN), backend(upstream.port, EACH_TRY), route("stub")
    with gateway(*documents, upstreamPass=True) as gate:

        def anew() -> None:
            if gate.server.popen.poll() is None:
                gate.server.stop(signal.SIGKILL)
                gate.restart()

        upstream.statuses = [503]
        upstream.between = lambda: anew() if len(upstream.tries) == 1 else None
        answer = gate.get("/x")
        assert (answer.status, answer.code) in ((401, "unauthenticated"), (503, "policy_unavailable"))
        assert len(upstream.tries) == 1
        wait_until(lambda: gate.get("/x").status == 200)


def test_a_backend_that_is_down_is_followed_by_the_next(upstream: Failing) -> None:
    first, second = fallback(free_port(), upstream.port)
    documents = policy(AUTHN), first, second, route("stub", "other", retry={"attempts": 1})
    with gateway(*documents, upstreamPass=True, files=OTHER_FILES, secretSources=SOURCES) as gate:
        assert gate.get("/down").status == 200
    assert [one.values("x-other") for one in upstream.tries] == [[OTHER_KEY]]
    assert not [value for one in upstream.tries for _, value in one.headers if KEY in value]


def test_when_all_backends_fail_the_last_answer_is_the_clients(upstream: Failing) -> None:
    with failing() as other:
        first, second = fallback(upstream.port, other.port)
        documents = policy(AUTHN), first, second, route("stub", "other", retry={"codes": [503], "attempts": 5})
        with gateway(*documents, upstreamPass=True, files=OTHER_FILES, secretSources=SOURCES) as gate:
            upstream.statuses, other.statuses = [503] * 9, [503] * 9
            assert gate.get("/all").status == 503
        assert (len(upstream.tries), len(other.tries)) == (1, 1)


def test_a_client_cannot_ask_for_tries(gate: Gateway, upstream: Failing) -> None:
    wishes = [("x-envoy-retry-on", "5xx"), ("x-envoy-max-retries", "9"), ("x-envoy-hedge-on-per-try-timeout", "true")]
    upstream.statuses = [503] * 9
    assert gate.get("/wishes", headers=wishes).status == 503
    assert len(upstream.tries) == 3
    assert not [name for name, _ in upstream.tries[0].headers if name.startswith("x-envoy")]


def test_an_answer_steers_nobody_around_the_gateway(gate: Gateway, upstream: Failing) -> None:
    steering = {"alt-svc": 'h3="elsewhere.test:443"', "x-envoy-immediate-health-check-fail": "true"}
    upstream.reply = lambda _: {**steering, "x-envoy-ratelimited": "true", "x-fine": "1"}
    names = {name for name, _ in gate.get("/steering").headers}
    assert "x-fine" in names
    assert not [name for name in names if name == "alt-svc" or name.startswith("x-envoy")]


def test_trailers_of_an_answer_that_echo_the_credential_are_masked() -> None:
    upstream = Pieces()
    try:
        documents = policy(AUTHN), backend(upstream.port, EACH_TRY), route("stub")
        with gateway(*documents, upstreamPass=True, requestTrailers=["x-checksum"]) as gate:
            upstream.answer()
            upstream.say(b"ok")
            upstream.end([f"x-late: {KEY}", "x-fine: 1"])
            sent = [("authorization", f"Bearer {TOKEN}"), ("te", "trailers"), ("connection", "close")]
            answer = raw(gate.port, request_bytes("GET", "/late", sent))
    finally:
        upstream.stop()
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.partition(b"\r\n0\r\n")[2].split(b"\r\n")[:2] == [b"x-fine: 1", b"x-late: ***"]


def raw(port: int, sent: bytes) -> bytes:
    """The whole answer, up to the end of the connection."""
    with socket.create_connection(("127.0.0.1", port), 15) as connection:
        connection.sendall(sent)
        return b"".join(iter(lambda: connection.recv(65536), b""))
