"""Traces and metrics of a real server behind a real Envoy, as a real OTLP receiver gets them."""

import json
import signal
import time
from collections.abc import Iterator

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.e2e.gateway import AUTHN, INJECT, KEY, PII, STRANGER, TOKEN, Gateway, backend, gateway, policy, quota
from tests.e2e.processes import Stub, wait_until
from tests.telemetry.receiver import Receiver, receiving, values

pytestmark = pytest.mark.e2e

PARENT = "b7ad6b7169203331"
MAIL = "joe.canary@example.com"
CHAT = json.dumps({"messages": [{"role": "user", "content": f"write to {MAIL}"}]}).encode()
NAMES = ["extproc exchange", "request-body", "request-headers"]


@pytest.fixture(scope="module")
def stub() -> Iterator[Stub]:
    stub = Stub()
    yield stub
    stub.stop()


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture(scope="module")
def running(stub: Stub, receiver: Receiver) -> Iterator[Gateway]:
    documents = policy(AUTHN, quota(1000)), backend(stub.port, INJECT, PII)
    with gateway(*documents, environ=receiver.environ) as found:
        yield found


def chat(running: Gateway, *headers: tuple[str, str], path: str = "/v1/chat/completions") -> int:
    return running.send("POST", path, headers=[("content-type", "application/json"), *headers], body=CHAT).status


def parent(trace: int, flags: str = "01") -> tuple[str, str]:
    return "traceparent", f"00-{trace:032x}-{PARENT}-{flags}"


def spans_of(receiver: Receiver, trace: int, number: int = len(NAMES)) -> list[Span]:
    def found() -> list[Span]:
        return [span for span in receiver.spans if span.trace_id.hex() == f"{trace:032x}"]

    wait_until(lambda: len(found()) >= number)
    return found()


def test_an_exchange_is_a_child_of_what_the_request_names(running: Gateway, receiver: Receiver) -> None:
    assert chat(running, parent(1), ("tracestate", "vendor=opaque")) == 200
    spans = {span.name: span for span in spans_of(receiver, 1)}
    assert sorted(spans) == NAMES
    whole = spans.pop("extproc exchange")
    assert (whole.parent_span_id.hex(), whole.trace_state) == (PARENT, "vendor=opaque")
    assert {span.parent_span_id for span in spans.values()} == {whole.span_id}
    told = [values(event.attributes) for event in spans["request-headers"].events]
    assert [(each["extproc.extension"], each["extproc.decision"]) for each in told] == [
        ("authn", "continue"),
        ("quota", "continue"),
        ("inject", "continue"),
    ]
    assert all(0 < each["extproc.seconds"] < 1 for each in told)


def test_a_denial_is_traced_too(running: Gateway, receiver: Receiver) -> None:
    denied = running.get(token=STRANGER, headers=[parent(2)])
    assert denied.status == 403
    whole = next(span for span in spans_of(receiver, 2, 2) if span.name == "extproc exchange")
    told = values(whole.attributes)
    assert (told["extproc.code"], told["extproc.extension"]) == ("forbidden", "authn")


def test_who_is_not_sampled_leaves_nothing(running: Gateway, receiver: Receiver) -> None:
    assert chat(running, parent(3, "00")) == 200
    assert chat(running, parent(4)) == 200
    spans_of(receiver, 4)
    assert not [span for span in receiver.spans if span.trace_id.hex() == f"{3:032x}"]


@pytest.mark.parametrize("written", ["00-00", f"00-{'0' * 32}-{PARENT}-01", f"ff-{5:032x}-{PARENT}-01", "x" * 4_000])
def test_a_parent_that_is_none_begins_a_trace(running: Gateway, receiver: Receiver, written: str) -> None:
    before = len(receiver.spans)
    assert chat(running, ("traceparent", written)) == 200
    wait_until(lambda: len(receiver.spans) >= before + len(NAMES))
    assert {span.parent_span_id for span in receiver.spans[before:] if span.name == "extproc exchange"} == {b""}


def test_nothing_that_a_caller_sends_or_gets_is_exported(running: Gateway, receiver: Receiver) -> None:
    headers = parent(6), ("x-request-id", "canary-request-id"), ("x-canary", "canary-value")
    assert chat(running, *headers, path="/v1/canary-path?canary=query") == 200
    spans_of(receiver, 6)
    for secret in (KEY, TOKEN, MAIL, "canary", "write to", "example.com"):
        assert secret.encode() not in receiver.raw


def test_the_numbers_arrive(running: Gateway, receiver: Receiver) -> None:
    for _ in range(2):
        assert chat(running) == 200

    def reads() -> dict[str, float]:
        points = receiver.metrics["extproc_cache_reads"].sum.data_points
        return {f"{(told := values(point.attributes))['cache']} {told['result']}": point.as_double for point in points}

    wait_until(lambda: reads()["tokens hit"] >= 2)
    assert reads()["secrets:provider-keys hit"] >= 1
    (ready,) = receiver.metrics["extproc_ready"].gauge.data_points
    assert ready.as_double == 1
    found = receiver.metrics["extproc_body_bytes"].sum.data_points
    assert {values(point.attributes)["direction"] for point in found} == {"request"}


@pytest.mark.parametrize("kind", ["hangs", "is not there"])
def test_without_a_receiver_exchanges_go_on_and_the_end_is_bounded(stub: Stub, kind: str) -> None:
    with receiving() as receiver:
        receiver.answers.clear()
        few = {"OTEL_BSP_MAX_QUEUE_SIZE": "2", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "1"}
        environ = {**receiver.environ, **few, "OTEL_EXPORTER_OTLP_TIMEOUT": "60"}
        if kind == "is not there":
            environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:9"
        with gateway(policy(AUTHN), backend(stub.port), environ=environ, drainSeconds=0) as running:
            started = time.monotonic()
            assert [running.get(f"/{number}").status for number in range(20)] == [200] * 20
            assert time.monotonic() - started < 15
            started = time.monotonic()
            assert running.server.stop(signal.SIGTERM) == 0
            assert time.monotonic() - started < 15
