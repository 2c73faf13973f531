"""Records and numbers on their way to a real OTLP receiver: what arrives, and what it costs if nobody is there."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from prometheus_client import CollectorRegistry, generate_latest

from extproc.core.event import Record
from extproc.core.journal import Decision, Skip
from extproc.core.phase import Phase
from extproc.core.trace import Trace
from extproc.errors import Cause
from extproc.telemetry import Metrics, Otel, connect
from extproc.telemetry.otel import GRACE
from tests.e2e.processes import wait_until
from tests.telemetry.receiver import Receiver, receiving, values

PARENT = Trace("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", 1, "one=1,two=2")
WHO = {"gateway": "egress/egress", "backend": "egress/openai", "namespace": "ai", "service_account": "default"}

Connect = Callable[..., Otel]

MEBIBYTE = 1024 * 1024


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def connected(receiver: Receiver, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Exports to the receiver, as a process does whose environment has these variables too."""

    def make(**more: str) -> Otel:
        environ = {**receiver.environ, **more}
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        found = connect(environ, registry, "egress/egress")
        assert found is not None
        found.start()
        return found

    return make


def exchange(trace: Trace | None = PARENT) -> Record:
    """One that took half a second, ended now, and had a body that passed for most of that time."""
    end = time.monotonic()
    begin = end - 0.5
    decisions = (
        Decision("authn", Phase.REQUEST_HEADERS, "continue", 0.01, begin, begin + 0.01),
        Decision("pii", Phase.RESPONSE_BODY, "continue", 0.002, begin + 0.1, begin + 0.4),
        Decision("quota", Phase.RESPONSE_BODY, "continue", 0.001, begin + 0.1, begin + 0.3),
    )
    skips = (
        Skip("quota", Phase.REQUEST_HEADERS, Cause.TIMEOUT, "no answer from redis", 0.02, begin + 0.01, begin + 0.03),
    )
    return Record(**WHO, decisions=decisions, skips=skips, began=begin, trace=trace)


def named(spans: list[Span]) -> dict[str, Span]:
    assert len({span.name for span in spans}) == len(spans)
    return {span.name: span for span in spans}


def seconds(span: Span) -> float:
    return (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9


async def test_an_exchange_is_a_span_with_one_for_each_phase(receiver: Receiver, connected: Connect) -> None:
    otel = connected()
    otel.tell(exchange())
    await otel.stop()
    spans = named(receiver.spans)
    assert set(spans) == {"extproc exchange", "request-headers", "response-body"}
    whole = spans.pop("extproc exchange")
    told = whole.trace_id.hex(), whole.parent_span_id.hex(), whole.trace_state
    assert told == (PARENT.trace_id, PARENT.parent_id, PARENT.state)
    assert values(whole.attributes) == {
        "extproc.gateway": "egress/egress",
        "extproc.backend": "egress/openai",
        "extproc.namespace": "ai",
        "extproc.serviceAccount": "default",
    }
    for span in spans.values():
        assert (span.trace_id, span.parent_span_id, span.trace_state) == (whole.trace_id, whole.span_id, PARENT.state)
        assert (
            whole.start_time_unix_nano
            <= span.start_time_unix_nano
            <= span.end_time_unix_nano
            <= whole.end_time_unix_nano
        )
    assert abs(whole.end_time_unix_nano / 1e9 - time.time()) < 30
    assert seconds(whole) == pytest.approx(0.5, abs=0.1)
    assert seconds(spans["request-headers"]) == pytest.approx(0.03, abs=0.001)
    assert seconds(spans["response-body"]) == pytest.approx(0.3, abs=0.001)


async def test_each_extension_is_an_event_of_its_phase(receiver: Receiver, connected: Connect) -> None:
    otel = connected()
    otel.tell(exchange())
    await otel.stop()
    spans = named(receiver.spans)
    told = {
        name: [
            (values(each.attributes)["extproc.extension"], values(each.attributes)["extproc.decision"])
            for each in span.events
        ]
        for name, span in spans.items()
    }
    assert told == {
        "extproc exchange": [],
        "request-headers": [("authn", "continue"), ("quota", "skipped")],
        "response-body": [("quota", "continue"), ("pii", "continue")],
    }
    skipped = values(spans["request-headers"].events[1].attributes)
    assert skipped == {
        "extproc.extension": "quota",
        "extproc.seconds": 0.02,
        "extproc.decision": "skipped",
        "extproc.cause": "timeout",
    }
    assert b"redis" not in receiver.raw  # reasons are for the log


async def test_a_denial_is_no_error_and_a_failure_is_one(receiver: Receiver, connected: Connect) -> None:
    otel = connected()
    otel.tell(Record(**WHO, code="forbidden", reason="sk-1", extension="authn", phase=Phase.REQUEST_HEADERS))
    failed = Record(**WHO, code="policy_timeout", reason="sk-1", failure=Cause.TIMEOUT, is_try=True)
    unsettled = (Skip("quota", Phase.REQUEST_HEADERS, Cause.UNAVAILABLE, "sk-1"),)
    otel.tell(Record(**{**WHO, "backend": ""}, unsettled=unsettled))
    otel.tell(failed)
    await otel.stop()
    denied, odd, late = receiver.spans
    assert (denied.name, denied.status.code) == ("extproc exchange", Status.STATUS_CODE_UNSET)
    assert values(denied.attributes)["extproc.code"] == "forbidden"
    assert values(denied.attributes)["extproc.phase"] == "request-headers"
    assert (late.name, late.status.code, late.status.message) == ("extproc try", Status.STATUS_CODE_ERROR, "timeout")
    assert [values(event.attributes)["extproc.cause"] for event in odd.events] == ["unavailable"]
    assert b"sk-1" not in receiver.raw


async def test_what_is_not_sampled_is_not_sent(receiver: Receiver, connected: Connect) -> None:
    otel = connected()
    otel.tell(exchange(PARENT._replace(flags=0)))
    otel.tell(exchange())
    await otel.stop()
    assert len(receiver.spans) == 3


@pytest.mark.parametrize(("sampler", "sent"), [("parentbased_always_on", [b""]), ("parentbased_always_off", [])])
async def test_without_a_parent_it_begins_a_trace_as_the_sampler_says(
    receiver: Receiver, connected: Connect, sampler: str, sent: list[bytes]
) -> None:
    otel = connected(OTEL_TRACES_SAMPLER=sampler)
    otel.tell(exchange(None))
    await otel.stop()
    assert [span.parent_span_id for span in receiver.spans if span.name == "extproc exchange"] == sent


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("a=1, b@c=2 ,,d=3", "a=1,b@c=2,d=3"),
        ("A=1", ""),
        ("a=1,a=2", ""),
        ("a=1,b", ""),
        ("a=1,=2", ""),
        ("a=" + "x" * 257, ""),
        (",".join(f"k{number}=1" for number in range(33)), ""),
        (",".join(f"k{number}=1" for number in range(32)), ",".join(f"k{number}=1" for number in range(32))),
    ],
)
async def test_a_state_that_is_none_is_left_out(
    receiver: Receiver, connected: Connect, written: str, kept: str
) -> None:
    otel = connected()
    otel.tell(exchange(PARENT._replace(state=written)))
    await otel.stop()
    assert {span.trace_state for span in receiver.spans} == {kept}


async def test_the_resource_says_who_and_the_environment_has_the_last_word(
    receiver: Receiver, connected: Connect
) -> None:
    otel = connected(OTEL_RESOURCE_ATTRIBUTES="service.name=mine,zone=b")
    otel.tell(exchange())
    await otel.stop()
    (resource,) = receiver.resources
    assert (resource["service.name"], resource["zone"], resource["extproc.gateway"]) == ("mine", "b", "egress/egress")
    assert resource["service.instance.id"]


# Metrics


async def test_what_is_exported_is_what_is_exposed(
    receiver: Receiver, registry: CollectorRegistry, connected: Connect
) -> None:
    metrics = Metrics(registry)
    otel = connected()
    for number in range(3):
        metrics.count(Record(**WHO, code="forbidden", request_bytes=10 * number))
    metrics.count(exchange())
    await otel.stop()
    found = receiver.metrics
    requests = found["extproc_requests"].sum
    assert (requests.is_monotonic, requests.aggregation_temporality) == (True, 2)
    assert [point.as_double for point in requests.data_points] == [4]
    assert values(requests.data_points[0].attributes) == {
        "gateway": "egress/egress",
        "route": "",
        "backend": "egress/openai",
        "namespace": "ai",
        "serviceAccount": "default",
    }
    assert (found["extproc_body_bytes"].unit, found["extproc_body_bytes"].sum.data_points[0].as_double) == ("By", 30)
    assert found["process_resident_memory_bytes"].gauge.data_points[0].as_double > 1e6
    phases = {values(each.attributes)["phase"]: each for each in found["extproc_phase_seconds"].histogram.data_points}
    headers = phases["request-headers"]
    assert (headers.count, headers.sum, sum(headers.bucket_counts)) == (1, pytest.approx(0.03), 1)
    assert headers.bucket_counts[list(headers.explicit_bounds).index(0.05)] == 1
    assert not headers.HasField("min")
    exposed = {line.partition("{")[0].partition(" ")[0] for line in generate_latest(registry).decode().splitlines()}
    for name in found:
        assert exposed & {name, f"{name}_total", f"{name}_count"}


# Nobody there


async def test_a_receiver_that_hangs_costs_nobody_anything(
    receiver: Receiver, registry: CollectorRegistry, connected: Connect
) -> None:
    receiver.answers.clear()
    otel = connected(OTEL_BSP_MAX_QUEUE_SIZE="10", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="1")
    record = exchange()
    otel.tell(record)
    wait_until(lambda: len(otel._traces._waiting) == 0)
    started = time.perf_counter()
    for _ in range(1000):
        otel.tell(record)
    assert time.perf_counter() - started < 2
    assert registry.get_sample_value("extproc_spans_dropped_total") == 990
    started = time.perf_counter()
    await otel.stop()
    assert time.perf_counter() - started < GRACE + 3


@pytest.mark.parametrize("status", [400, 503, None])
async def test_a_receiver_that_refuses_or_is_not_there_is_counted(
    receiver: Receiver, registry: CollectorRegistry, connected: Connect, status: int | None
) -> None:
    if status is None:
        nowhere = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    else:
        receiver.status, nowhere = status, {}
    otel = connected(OTEL_EXPORTER_OTLP_TIMEOUT="0.3", **nowhere)
    otel.tell(exchange())
    await asyncio.to_thread(
        wait_until, lambda: all(exports(registry, each, "failed") > 0 for each in ("traces", "metrics"))
    )
    started = time.perf_counter()
    await otel.stop()
    assert time.perf_counter() - started < GRACE + 3


async def test_an_answer_without_end_is_not_read(
    receiver: Receiver, registry: CollectorRegistry, connected: Connect
) -> None:
    """Whoever answers for the collector could fill the memory of the gateway."""
    written = 0

    def endless() -> Iterator[bytes]:
        nonlocal written
        while written < 256 * MEBIBYTE:
            yield bytes(MEBIBYTE)
            written += MEBIBYTE

    receiver.body = endless
    otel = connected(OTEL_METRICS_EXPORTER="none")
    otel.tell(exchange())
    await asyncio.to_thread(wait_until, lambda: exports(registry, "traces", "answered") > 0)
    await otel.stop()
    assert written < 64 * MEBIBYTE, "no more than what is on its way"


def exports(registry: CollectorRegistry, signal: str, outcome: str) -> float:
    return registry.get_sample_value("extproc_otlp_exports_total", {"signal": signal, "outcome": outcome}) or 0


async def test_an_end_leaves_no_thread(connected: Connect) -> None:
    def own() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("otlp-")]

    otel = connected()
    assert sorted(own()) == ["otlp-metrics", "otlp-traces"]
    await otel.stop()
    assert own() == []
