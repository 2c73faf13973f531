"""Each way of misconfiguring Envoy is one finding, on what a real Envoy says of that configuration; the right one is none.

One Envoy has all of them, each behind a listener of its own.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from extproc.doctor.examine import of_envoy
from extproc.doctor.finding import Finding
from extproc.envoy.plan import Plan
from tests.certificates import Authority
from tests.doctor.cases import CASES, SECOND
from tests.doctor.parts import Parts, needs_of, plan_in
from tests.doctor.real import Told, running, told
from tests.e2e.processes import short_directory, wait_until

pytestmark = pytest.mark.e2e

NAMES = [f"case-{number:02d}" for number in range(len(CASES))]


class Asked(NamedTuple):
    plan: Plan
    told: Told
    findings: list[Finding]


def configured(plan: Plan) -> list[Parts]:
    """The right one, and each of the others."""
    parts = [Parts(plan, name) for name in ("right", *NAMES)]
    for one, case in zip(parts[1:], CASES, strict=True):
        case.spoil(one)
    return parts


@pytest.fixture(scope="module")
def asked() -> Iterator[Asked]:
    with short_directory() as directory:
        plan = plan_in(directory, Authority(directory).file)
        parts = configured(plan)
        resources = {
            "listeners": [one.listener for one in parts],
            "clusters": [cluster for one in parts for cluster in one.clusters],
        }
        with running({"static_resources": resources}, directory) as admin:
            sick = f"ext_proc@{NAMES[[case.text for case in CASES].index(SICK)]}"
            wait_until(lambda: b"failed_active" in str(told(admin).dump.hosts[sick]).encode())
            answers = told(admin)
        needs = needs_of(plan, upstream_clusters=[f"{name}@{one.name}" for one in parts for name in SECOND])
        yield Asked(plan, answers, list(of_envoy("Envoy", answers.dump, answers.stats, needs)))


SICK = next(case.text for case in CASES if "failed_active" in case.text)


def found(asked: Asked, name: str) -> list[str]:
    return list(dict.fromkeys(str(each) for each in asked.findings if name in str(each)))


@pytest.mark.parametrize(("name", "case"), list(zip(NAMES, CASES, strict=True)), ids=[case.name for case in CASES])
def test_one_change_is_one_finding(asked: Asked, name: str, case: tuple) -> None:
    code, text, _ = case
    [line] = found(asked, name)
    assert re.search(text, line), line
    assert line.endswith(f" {code}]")
    assert re.fullmatch(r"[^;]+: .+; .+ \[(error|warning) [a-z.0-9-]+\]", line)


def test_the_generated_configuration_is_right(asked: Asked) -> None:
    assert found(asked, "right") == []


def test_nothing_else_is_found(asked: Asked) -> None:
    elsewhere = [str(one) for one in asked.findings if not re.search("case-\\d", str(one))]
    assert elsewhere == []
