"""What is counted and what is logged; and that nobody can write a log line that is not theirs."""

import asyncio
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from extproc.core.event import Record
from extproc.core.journal import Decision, Skip
from extproc.core.phase import Phase
from extproc.core.secret import seal
from extproc.core.trace import Trace
from extproc.errors import Cause
from extproc.telemetry import Metrics, Telemetry, configure_logging, log_exchange
from extproc.telemetry.exposition import merge
from extproc.telemetry.log import LONGEST, log

Lines = Callable[[], list[dict[str, Any]]]

LABELS = {"gateway": "egress/egress", "route": "", "backend": "", "namespace": "", "serviceAccount": ""}
WHO = {"gateway": "egress/egress", "backend": "egress/openai", "namespace": "ai", "service_account": "default"}
SKIP = Skip("quota", Phase.REQUEST_HEADERS, Cause.UNAVAILABLE, "no answer from redis")


@contextmanager
def captured() -> Iterator[Lines]:
    """Logging as it is configured for a process, and all put back afterwards."""
    handlers, level = logging.root.handlers[:], logging.root.level
    stream = io.StringIO()
    configure_logging(stream=stream)
    try:
        yield lambda: parsed(stream.getvalue())
    finally:
        logging.captureWarnings(False)
        logging.root.handlers[:], logging.root.level = handlers, level
        structlog.reset_defaults()


@pytest.fixture
def lines() -> Iterator[Lines]:
    """The log of this test, line by line."""
    with captured() as found:
        yield found


def parsed(text: str) -> list[dict[str, Any]]:
    """Each line as the one JSON object that it must be."""
    assert text.isascii()
    assert all(" " <= character <= "~" or character == "\n" for character in text)
    found = [json.loads(line) for line in text.splitlines()]
    assert all(isinstance(line, dict) for line in found)
    return found


def counted(registry: CollectorRegistry, name: str, **labels: str) -> float:
    return registry.get_sample_value(name, {**LABELS, **labels}) or 0.0


# What is counted


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def test_each_exchange_is_one_request_labelled_with_who_and_where(registry: CollectorRegistry) -> None:
    Metrics(registry).count(Record(**WHO, route="egress/r"))
    who = {"route": "egress/r", "backend": "egress/openai", "namespace": "ai", "serviceAccount": "default"}
    assert counted(registry, "extproc_requests_total", **who) == 1
    assert counted(registry, "extproc_requests_total") == 0


def test_a_try_is_no_second_request(registry: CollectorRegistry) -> None:
    metrics = Metrics(registry)
    metrics.count(Record("egress/egress"))
    for code in ("", "no_credential"):
        metrics.count(Record("egress/egress", code=code, is_try=True))
    assert counted(registry, "extproc_requests_total") == 1
    assert counted(registry, "extproc_tries_total") == 2
    assert counted(registry, "extproc_denials_total", code="no_credential") == 1


def test_a_denial_is_counted_by_its_code_and_a_failure_by_its_cause(registry: CollectorRegistry) -> None:
    metrics = Metrics(registry)
    metrics.count(Record("egress/egress", code="rate_limited", extension="quota"))
    metrics.count(Record("egress/egress", code="policy_unavailable", extension="quota", failure=Cause.UNAVAILABLE))
    assert counted(registry, "extproc_denials_total", code="rate_limited") == 1
    assert counted(registry, "extproc_denials_total", code="policy_unavailable") == 0
    assert counted(registry, "extproc_failures_total", extension="quota", cause="unavailable") == 1
    assert counted(registry, "extproc_requests_total") == 2


def test_each_skip_is_counted(registry: CollectorRegistry) -> None:
    Metrics(registry).count(Record("egress/egress", skips=(SKIP, SKIP)))
    assert counted(registry, "extproc_fail_open_total", extension="quota", cause="unavailable") == 2


def test_what_could_not_be_settled_is_counted_and_logged(registry: CollectorRegistry, lines: Lines) -> None:
    record = Record("egress/egress", unsettled=(SKIP,))
    Metrics(registry).count(record)
    log_exchange(record)
    assert counted(registry, "extproc_unsettled_total", extension="quota", cause="unavailable") == 1
    assert [(line["event"], line["extension"], line["cause"]) for line in lines()] == [
        ("unsettled", "quota", "unavailable")
    ]


def test_tokens_are_counted_by_kind(registry: CollectorRegistry) -> None:
    metrics = Metrics(registry)
    metrics.count(
        Record("egress/egress", reports={"quota": {"input_tokens": 7, "output_tokens": 5, "total_tokens": 12}})
    )
    metrics.count(Record("egress/egress", reports={"quota": {"input_tokens": -1, "output_tokens": "many"}}))
    assert counted(registry, "extproc_tokens_total", kind="input") == 7
    assert counted(registry, "extproc_tokens_total", kind="output") == 5


def test_an_answer_that_two_extensions_read_is_counted_once(registry: CollectorRegistry) -> None:
    reports = {"tight": {"input_tokens": 7, "output_tokens": 5}, "wide": {"input_tokens": 7, "output_tokens": 6}}
    Metrics(registry).count(Record("egress/egress", reports=reports))
    assert counted(registry, "extproc_tokens_total", kind="input") == 7
    assert counted(registry, "extproc_tokens_total", kind="output") == 6


def test_the_bytes_of_bodies_are_counted_by_direction(registry: CollectorRegistry) -> None:
    metrics = Metrics(registry)
    metrics.count(Record("egress/egress", request_bytes=10))
    metrics.count(Record("egress/egress", request_bytes=5, response_bytes=300))
    assert counted(registry, "extproc_body_bytes_total", direction="request") == 15
    assert counted(registry, "extproc_body_bytes_total", direction="response") == 300


def test_only_counts_of_entities_are_read_from_reports(registry: CollectorRegistry) -> None:
    report = {"EMAIL_ADDRESS": 2, "style": "mask", "bytes": 10, "WORD": "x", "NEGATIVE": -1, "EVIL\n": 1}
    Metrics(registry).count(Record("egress/egress", reports={"pii": report, "other": {"target.EMAIL_ADDRESS": 1}}))
    assert counted(registry, "extproc_entities_found_total", entity="EMAIL_ADDRESS") == 3
    assert generate_latest(registry).count(b"extproc_entities_found_total{") == 1


def test_callers_beyond_the_ceiling_share_one_series(registry: CollectorRegistry) -> None:
    metrics = Metrics(registry, most_series=10)
    for number in range(1000):
        metrics.count(Record("egress/egress", namespace=f"ns-{number}"))
    metrics.count(Record("egress/egress", namespace="ns-0"))
    others = dict.fromkeys(("route", "backend", "namespace", "serviceAccount"), "other")
    assert generate_latest(registry).count(b"extproc_requests_total{") == 11
    assert counted(registry, "extproc_requests_total", namespace="ns-0") == 2
    assert counted(registry, "extproc_requests_total", **others) == 990


@pytest.mark.parametrize("odd", ["\ud800", "a\udfffb", "x" * 257, "\u20ac" * 86])
def test_what_cannot_be_written_is_other_and_everything_else_is_told(registry: CollectorRegistry, odd: str) -> None:
    """A filter of somebody else's may take its code out of a body: from then on no metric could be read."""
    metrics = Metrics(registry)
    metrics.count(Record("egress/egress", code=odd))
    metrics.count(Record("egress/egress", namespace=odd, service_account="default"))
    metrics.count(Record(**WHO))
    text = generate_latest(registry).decode()
    assert odd not in text
    assert counted(registry, "extproc_denials_total", code="other") == 1
    others = dict.fromkeys(("route", "backend", "namespace", "serviceAccount"), "other")
    assert counted(registry, "extproc_requests_total", **others) == 1
    who = {"backend": "egress/openai", "namespace": "ai", "serviceAccount": "default"}
    assert counted(registry, "extproc_requests_total", **who) == 1


def test_extensions_that_every_configuration_calls_anew_have_a_ceiling(registry: CollectorRegistry) -> None:
    """A process may take over thousands of configurations in its life, made by a program that numbers what is in them."""
    metrics = Metrics(registry, most_series=2)
    for name in ("quota-1", "quota-2", "quota-3", "quota-1"):
        metrics.count(Record("egress/egress", decisions=(Decision(name, Phase.REQUEST_HEADERS, "continue", 0.5),)))
    phase = {"phase": "request-headers"}
    found = {
        name: registry.get_sample_value("extproc_extension_seconds_count", {**phase, "extension": name})
        for name in ("quota-1", "quota-2", "quota-3", "other")
    }
    assert found == {"quota-1": 2, "quota-2": 1, "quota-3": None, "other": 1}


def test_so_have_those_of_them_that_fail(registry: CollectorRegistry) -> None:
    metrics = Metrics(registry, most_series=2)
    for number in range(5):
        failed = Skip(f"quota-{number}", Phase.REQUEST_HEADERS, Cause.TIMEOUT)
        metrics.count(Record("egress/egress", skips=(failed,), unsettled=(failed,)))
        metrics.count(Record("egress/egress", code="c", failure=Cause.DEFECT, extension=f"quota-{number}"))
    text = generate_latest(registry)
    for name in (b"failures", b"fail_open", b"unsettled"):
        assert text.count(b"extproc_%s_total{" % name) == 3
    others = dict.fromkeys(("route", "backend", "namespace", "serviceAccount"), "other")
    assert counted(registry, "extproc_failures_total", extension="other", cause="defect", **others) == 3


def test_codes_and_entities_that_filters_make_up_have_a_ceiling_too(registry: CollectorRegistry) -> None:
    metrics = Metrics(registry)
    for number in range(1000):
        metrics.count(Record("egress/egress", code=f"c{number}", reports={"x": {f"E{number}": 1}}))
    assert generate_latest(registry).count(b"extproc_denials_total{") == 101
    assert generate_latest(registry).count(b"extproc_entities_found_total{") == 101


def test_times_go_into_histograms(registry: CollectorRegistry) -> None:
    decisions = (
        Decision("authn", Phase.REQUEST_HEADERS, "continue", 0.25),
        Decision("b", Phase.REQUEST_BODY, "x", 1.0),
    )
    skips = (Skip("quota", Phase.REQUEST_HEADERS, Cause.TIMEOUT, "", 0.5),)
    Metrics(registry).count(Record("egress/egress", decisions=decisions, skips=skips))
    phase = {"phase": "request-headers"}
    assert registry.get_sample_value("extproc_phase_seconds_sum", phase) == 0.75
    assert registry.get_sample_value("extproc_phase_seconds_count", phase) == 1
    assert registry.get_sample_value("extproc_extension_seconds_count", {**phase, "extension": "quota"}) == 1


@given(st.text(max_size=64), st.text(max_size=64))
def test_no_name_breaks_the_exposition(namespace: str, code: str) -> None:
    registry = CollectorRegistry()
    Metrics(registry).count(Record("g", namespace=namespace, code=code or "c"))
    text = merge({"0": generate_latest(registry), "1": None})
    samples = [sample for family in text_string_to_metric_families(text.decode()) for sample in family.samples]
    [found] = [sample for sample in samples if sample.name == "extproc_denials_total"]
    assert (found.labels["namespace"], found.labels["code"], found.labels["worker"]) == (namespace, code or "c", "0")


def test_workers_are_told_apart_and_each_family_has_one_head() -> None:
    texts: dict[str, bytes | None] = {"2": None}
    for worker in ("0", "1"):
        registry = CollectorRegistry()
        Metrics(registry).count(Record("g"))
        texts[worker] = generate_latest(registry)
    merged = merge(texts).decode()
    assert merged.count("# TYPE extproc_requests_total counter") == 1
    families = {family.name: family for family in text_string_to_metric_families(merged)}
    assert [sample.labels["worker"] for sample in families["extproc_requests"].samples] == ["0", "1"]
    assert {s.labels["worker"]: s.value for s in families["extproc_worker_up"].samples} == {"0": 1, "1": 1, "2": 0}


# What is logged


def test_an_exchange_that_went_well_is_not_logged(lines: Lines) -> None:
    log_exchange(Record("egress/egress", decisions=(Decision("authn", Phase.REQUEST_HEADERS, "continue"),)))
    assert lines() == []


def test_a_denial_is_one_line(lines: Lines) -> None:
    denied = Record(**WHO, request_id="r-1", code="forbidden", reason="not allowed", extension="authn")
    Telemetry(Metrics(CollectorRegistry())).tell(denied)
    [line] = lines()
    assert list(line)[:3] == ["timestamp", "level", "event"]
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "denied",
        "level": "info",
        "gateway": "egress/egress",
        "route": "",
        "backend": "egress/openai",
        "namespace": "ai",
        "serviceAccount": "default",
        "requestId": "r-1",
        "extension": "authn",
        "phase": "",
        "code": "forbidden",
        "reason": "not allowed",
    }


def test_a_line_of_an_exchange_that_is_traced_names_the_trace(lines: Lines) -> None:
    log_exchange(Record(**WHO, code="forbidden", trace=Trace("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")))
    [line] = lines()
    assert line["traceId"] == "0af7651916cd43dd8448eb211c80319c"
    assert "b7ad6b7169203331" not in json.dumps(line)


def test_a_failure_names_its_cause_and_a_skip_its_extension(lines: Lines) -> None:
    log_exchange(Record("g", code="policy_timeout", failure=Cause.TIMEOUT, extension="quota", reason="no verdict"))
    log_exchange(Record("g", skips=(SKIP,)))
    failed, skipped = lines()
    assert (failed["event"], failed["cause"], failed["level"]) == ("failed", "timeout", "warning")
    assert skipped["event"] == "skipped"
    assert skipped["skips"] == [
        {
            "extension": "quota",
            "phase": "request-headers",
            "cause": "unavailable",
            "reason": "no answer from redis",
        }
    ]


FORGERIES = [
    'x"}\n{"event": "denied", "namespace": "victim"}\n',
    "\r\n{}",
    "\x1b[2J\x1b[31mred\x07\x7f\x9b31m",
    "\u2028{}\u2029\u0085\ud800",
    'quote " backslash \\ nul \x00',
    "%s %(levelname)s {event}",
]


@pytest.mark.parametrize("forged", FORGERIES)
@pytest.mark.parametrize("name", [each.name for each in fields(Record) if each.type is str])
def test_no_field_forges_a_line(name: str, forged: str, lines: Lines) -> None:
    log_exchange(Record(**{"gateway": "g", "code": "c", name: forged}))
    [line] = lines()
    assert line["event"] == ("failed" if name == "failure" else "denied")
    assert forged in line.values()


@given(st.text())
def test_no_text_forges_a_line(forged: str) -> None:
    skip = Skip(forged, Phase.REQUEST_BODY, Cause.DEFECT, forged)
    with captured() as lines:
        log_exchange(Record(forged, code="c", reason=forged, skips=(skip,)))
        [line] = lines()
    assert line["reason"] == line["skips"][0]["reason"] == forged[:LONGEST]


def test_no_value_is_long(lines: Lines) -> None:
    log_exchange(Record("g", code="c", reason="x" * 1_000_000))
    [line] = lines()
    assert len(line["reason"]) == LONGEST


def test_what_has_no_plain_form_is_named_and_not_shown(lines: Lines) -> None:
    log.info("odd", secret=seal(b"sk-1"), raw=b"sk-1", many=[1, 1.5, None, float("nan")], exchange={"a": object()})
    [line] = lines()
    assert "sk-1" not in json.dumps(line)
    assert (line["secret"], line["raw"], line["many"]) == ("Secret", "bytes", [1, 1.5, None, "nan"])
    assert line["exchange"] == {"a": "object"}


def test_an_error_is_its_kind_and_place_and_never_its_text(lines: Lines) -> None:
    try:
        raise ValueError("Bearer sk-1")
    except ValueError as error:
        log.exception("stream_failed")
        log.error("stream_failed", exc_info=error)
    for line in lines():
        assert line["error"] == "ValueError"
        assert line["at"].startswith("test_telemetry.py:")
        assert "sk-1" not in json.dumps(line)


def test_other_loggers_speak_json_too_and_their_arguments_stay_out(lines: Lines) -> None:
    logging.getLogger("grpc").error("call of %s failed\nwith %s", "Bearer sk-1", "sk-1")
    logging.getLogger("aiohttp.access").info("GET /sk-1")
    logging.getLogger("odd").log(35, {"sk": 1})
    first, second = lines()
    assert (first["event"], first["logger"], first["level"]) == ("call of %s failed", "grpc", "error")
    assert (second["event"], second["level"]) == ("{'sk': 1}", "warning")


async def test_what_asyncio_complains_of_has_no_text_of_the_error(lines: Lines) -> None:
    try:
        raise ValueError("sk-1")
    except ValueError as error:
        context = {"message": "Task exception was never retrieved", "exception": error, "future": "sk-1"}
        asyncio.get_running_loop().default_exception_handler(context)
    [line] = lines()
    assert (line["event"], line["error"]) == ("Task exception was never retrieved", "ValueError")
    assert "sk-1" not in json.dumps(line)


def test_warnings_of_python_are_lines_as_well(lines: Lines) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("a thing will go away", DeprecationWarning, stacklevel=1)
    [line] = lines()
    assert "a thing will go away" in line["event"]
    assert line["logger"] == "py.warnings"


def test_the_level_is_the_least_that_is_told(lines: Lines) -> None:
    stream = io.StringIO()
    configure_logging("warning", stream)
    log_exchange(Record("g", code="c"))
    log_exchange(Record("g", code="c", failure=Cause.DEFECT))
    assert [line["event"] for line in parsed(stream.getvalue())] == ["failed"]
    assert lines() == []
