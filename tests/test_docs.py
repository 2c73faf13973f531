"""What the pages for users say is true."""

import io
import json
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest
import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from pydantic import BaseModel

from extproc.core.event import Record
from extproc.core.filter import Reading
from extproc.core.verdict import DENIALS, FAILURES
from extproc.core.wants import MODES
from extproc.errors import Cause
from extproc.policy.documents import BackendSpec, EgressPolicySpec, ExtensionSpec, ExtProcConfiguration
from extproc.telemetry import Metrics, configure_logging, log_exchange
from extproc.telemetry.metrics import LABELS
from extproc.testing import chain, context, headers, link, play, response, response_body
from extproc_filters import FILTERS

DOCS = Path(__file__).parents[1] / "docs"


def rows(page: str) -> list[list[str]]:
    """The cells of every table row; one that is all code comes without the marks."""
    lines = (DOCS / page).read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines if line[:1] == "|"]
    return [[re.sub(r"^`([^`]*)`$", r"\1", cell) for cell in row] for row in cells]


def test_the_filter_in_the_documentation_and_its_tests_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    example, tests, _ = re.findall(r"```python\n(.*?)```", (DOCS / "filters.md").read_text(), re.DOTALL)
    module = ModuleType("acme_models")
    monkeypatch.setitem(sys.modules, "acme_models", module)
    exec(example, module.__dict__)
    found: dict[str, Any] = {}
    exec(tests, found)
    played = [test() for name, test in found.items() if name.startswith("test_")]
    assert len(played) == 4


def test_the_streaming_filter_in_the_documentation_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    *_, example = re.findall(r"```python\n(.*?)```", (DOCS / "filters.md").read_text(), re.DOTALL)
    module = ModuleType("acme_brief")
    monkeypatch.setitem(sys.modules, "acme_brief", module)
    exec(example, module.__dict__)
    brief = link(module.Brief(module.Model(), context()))
    pieces = [response_body(b"data: x\n\n" * 60, end=False)] * 3
    begun = response(200, {"content-type": "text/event-stream"})
    answers = play(chain(brief), headers(end=True), begun, *pieces)
    assert [answer.end for answer in answers] == [None, None, False, True]
    assert answers[-1].body.endswith(b"data: [DONE]\n\n")


def test_every_reading_is_documented_with_its_mode() -> None:
    told = {row[0]: row[2].strip("`") for row in rows("filters.md") if row[0] in Reading.__members__}
    assert told == {reading.name: "not at all" if not reading else str(MODES[reading]) for reading in Reading}


def test_every_denial_is_documented_with_its_status() -> None:
    told = {row[0]: int(row[1]) for row in rows("failures.md") if row[0] in DENIALS}
    assert told == {code: status for code, (status, _) in DENIALS.items()}


def test_every_cause_is_documented_with_what_it_answers() -> None:
    told = {row[0]: row[2] for row in rows("failures.md") if row[0] in set(Cause)}
    assert told.keys() == set(Cause)
    for cause, code in FAILURES.items():
        if cause is not Cause.INTERRUPTED:
            assert told[cause] == f"{DENIALS[code][0]} `{code}`"


def fields(model: type[BaseModel]) -> Iterator[str]:
    """The names of all fields, as they are written in YAML; those of the models in it too."""
    for name, field in model.model_fields.items():
        yield field.alias or name
        for part in parts(field.annotation):
            yield from fields(part)


def parts(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from parts(argument)


@pytest.mark.parametrize(
    "model", [ExtProcConfiguration, BackendSpec, EgressPolicySpec, *(f.Config for f in FILTERS.values())]
)
def test_every_field_of_the_configuration_is_documented(model: type[BaseModel]) -> None:
    page = (DOCS / "configuration.md").read_text()
    words = set(re.findall(r"[A-Za-z_]+", " ".join(re.findall(r"`([^`\n]+)`", page))))
    assert set(fields(model)) - {"apiVersion", "kind"} - words == set()


def test_every_default_of_a_duration_or_number_is_the_documented_one() -> None:
    told = {row[0]: row[1] for row in rows("configuration.md")}
    assert told["budget"] == f"{ExtProcConfiguration.model_fields['budget'].default * 1000:.0f}ms"
    assert told["timeout"] == f"{ExtensionSpec.model_fields['timeout'].default * 1000:.0f}ms"
    assert told["drainSeconds"] == f"{ExtProcConfiguration.model_fields['drain_seconds'].default:g}"
    assert told["priority"] == str(ExtensionSpec.model_fields["priority"].default)


def test_every_metric_is_documented_with_its_labels() -> None:
    registry = CollectorRegistry()
    Metrics(registry)
    told = {
        row[0].removesuffix("_total"): labels(row[1]) for row in rows("observing.md") if row[0].startswith("extproc_")
    }
    for metric in registry.collect():
        assert metric.name in told or metric.name.startswith("process_")  # those are Prometheus' own
    for made in registry._collector_to_names:
        if isinstance(made, MetricWrapperBase):
            assert told[made._name] == set(made._labelnames) - set(LABELS), made._name


def labels(cell: str) -> set[str]:
    """Those in a cell: one alone came without its marks."""
    return set(re.findall(r"`(\w+)`", cell)) or ({cell} if cell else set())


def test_the_log_line_of_the_documentation_has_the_fields_of_a_real_one() -> None:
    [line] = [
        json.loads(block) for block in re.findall(r"```json\n(.*?)```", (DOCS / "observing.md").read_text(), re.DOTALL)
    ]
    stream, handlers = io.StringIO(), logging.root.handlers[:]
    configure_logging(stream=stream)
    try:
        log_exchange(Record("egress/egress", code="rate_limited"))
    finally:
        logging.captureWarnings(False)
        logging.root.handlers[:] = handlers
        structlog.reset_defaults()
    assert json.loads(stream.getvalue()).keys() == line.keys()
