"""The dashboard and the alerts name what a real run exposes, and each alert fires when it should."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.request import urlopen

import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from extproc.core.event import Record
from extproc.core.journal import Skip
from extproc.core.phase import Phase
from extproc.errors import Cause
from extproc.telemetry import Metrics
from extproc.telemetry.certificates import Certificates
from tests.adapters import redis_server
from tests.certificates import Authority
from tests.deploy.mixed import mixed
from tests.e2e.processes import Stub, wait_until
from tests.telemetry.receiver import receiving
from tools.dashboard import make
from tools.docs.markdown import anchors

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "deploy" / "grafana" / "extproc.json"
RULES = ROOT / "deploy" / "prometheus" / "rules.yaml"

SELECTOR = re.compile(r"\b(extproc_\w+|process_\w+)(?:\{([^}]*)\})?")
GROUPING = re.compile(r"\b(?:by|on|group_left) ?\(([^)]*)\)")
LABEL = re.compile(r"(\w+) *(?:=~|!~|!=|=)")
GIVEN = {"instance"}
"""By Prometheus, to every target."""

Exposed = Mapping[str, set[str]]
"""The labels of each sample's name."""


def queries() -> list[str]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", ())]


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    return list(group["rules"])


def names(text: str) -> set[str]:
    """The metrics of a query."""
    return {match[1] for match in SELECTOR.finditer(text)}


def labels(text: str) -> set[str]:
    """The labels that a query selects, groups or matches by."""
    chosen = {name for match in SELECTOR.finditer(text) if match[2] for name in LABEL.findall(match[2])}
    grouped = {name.strip() for match in GROUPING.finditer(text) for name in match[1].split(",")}
    return (chosen | grouped) - {""}


def samples(text: str) -> Exposed:
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


@pytest.fixture(scope="module")
def exposed() -> Iterator[Exposed]:
    """What /metrics shows after one exchange of each kind. What did not happen, and so has no series yet, is there as the
    registry makes it: an extension that could not settle, and a listener with a certificate.
    """
    if not redis_server.BINARY:
        pytest.skip(redis_server.MISSING)
    stub = Stub()
    with receiving() as receiver, mixed(stub, receiver.environ) as running:
        statuses = [running.each() for _ in range(3)][-1]
        assert statuses == {"chat": 200, "get": 200, "stranger": 403, "nobody": 401, "broken": 400, "lenient": 200}
        wait_until(lambda: bool(receiver.came["/v1/traces"] and receiver.came["/v1/metrics"]))
        yield {**samples(read(running.gate.admin_port)), **rare()}
    stub.stop()


def read(admin: str) -> str:
    """All that is told: an exchange is counted when its stream has ended, a moment after its answer."""
    before = ""
    for _ in range(100):
        with urlopen(f"http://{admin}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        if "extproc_tokens_total{" in text and "extproc_entities_found_total{" in text and before:
            return str(text)
        before = text
        time.sleep(0.02)
    raise TimeoutError("not all was counted")


def rare() -> Exposed:
    registry = CollectorRegistry()
    skip = Skip("quota", Phase.REQUEST_HEADERS, Cause.UNAVAILABLE)
    Metrics(registry).count(Record("egress/egress", unsettled=(skip,)))
    (family,) = [each for each in registry.collect() if each.name == "extproc_unsettled"]
    with TemporaryDirectory() as folder:
        cert = Authority(Path(folder)).issue("extproc.example").cert
        families = [family, *Certificates({"0.0.0.0:9443": cert}).collect()]
    return {sample.name: set(sample.labels) for each in families for sample in each.samples}


@pytest.mark.parametrize("query", sorted({*queries(), *(rule["expr"] for rule in rules())}))
def test_every_metric_and_label_is_there(exposed: Exposed, query: str) -> None:
    assert names(query)
    for name in names(query):
        assert name in exposed, f"nothing exposes {name}"
    known = set.union(*(exposed[name] for name in names(query))) | GIVEN
    assert labels(query) <= known


def test_a_query_is_taken_apart_as_it_is_meant() -> None:
    query = 'sum by (a, b) (rate(extproc_x_total{c=~"$c",d!="e"}[5m])) and on (instance) extproc_y'
    assert names(query) == {"extproc_x_total", "extproc_y"}
    assert labels(query) == {"a", "b", "c", "d", "instance"}


def test_whatever_is_exposed_is_shown_or_said_to_be_left_out(exposed: Exposed) -> None:
    told = set().union(*(names(query) for query in queries()))
    shown = {name.removesuffix("_bucket").removesuffix("_count") for name in told}
    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in exposed if name.startswith("extproc_")}
    left = {
        "extproc_build_info",
        "extproc_certificate_not_before_timestamp_seconds",
        "extproc_configuration_generations",
        "extproc_configuration_info",
    }
    assert families - shown == left


# The dashboard


def test_the_dashboard_is_what_the_panels_make() -> None:
    assert DASHBOARD.read_text() == make.text(), "python -m tools.dashboard.make"


def test_panels_do_not_overlap_and_each_says_what_it_shows() -> None:
    taken: set[tuple[int, int]] = set()
    panels = make.dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        assert panel["type"] == "row" or panel["description"]
        taken |= cells


def test_only_the_variables_that_there_are_are_used() -> None:
    known = {variable["name"] for variable in make.dashboard()["templating"]["list"]} | {"__rate_interval"}
    used = {name for query in queries() for name in re.findall(r"\$(\w+)", query)}
    assert used <= known


# The alerts


def promtool(*arguments: str) -> "subprocess.CompletedProcess[str]":
    found = shutil.which("promtool")
    if not found:
        pytest.skip("promtool is not on this machine: apt-get install prometheus")
    return subprocess.run(
        [found, *arguments], capture_output=True, text=True, timeout=60, check=False, cwd=RULES.parent
    )


def test_prometheus_takes_the_rules_and_the_scrape_configuration() -> None:
    checked = promtool("check", "rules", "rules.yaml")
    assert checked.returncode == 0, checked.stderr
    checked = promtool("check", "config", "scrape.yaml")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_each_alert_fires_when_it_should_and_then_only() -> None:
    tested = promtool("test", "rules", "rules_test.yaml")
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_each_alert_is_tested_both_ways() -> None:
    told = yaml.safe_load((RULES.parent / "rules_test.yaml").read_text())["tests"]
    expected = [(case["alertname"], bool(case["exp_alerts"])) for test in told for case in test["alert_rule_test"]]
    for rule in rules():
        assert {fires for name, fires in expected if name == rule["alert"]} == {True, False}, rule["alert"]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_each_alert_says_what_is_wrong_and_where_to_read_on(rule: dict[str, Any]) -> None:
    told = rule["annotations"]
    assert set(told) == {"summary", "description", "runbook"}
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    path, _, anchor = told["runbook"].partition("#")
    assert anchor in anchors(ROOT / path)
