"""Somebody else's filter, in each phase, with each cause."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.gateway import AUTHN, INJECT, TOKEN, backend, gateway, policy
from tests.e2e.processes import Stub
from tests.faults.matrix import RESPONSE, Cell, Expected, Matrix, Table, closed, opened
from tests.faults.observer import Limit, Observer

pytestmark = pytest.mark.e2e

PHASES = ("request-headers", "request-body", *RESPONSE)
CAUSES = ("unavailable", "timeout", "unsupported", "defect", "too-large", "malformed")
ALL = list(CAUSES)
DEFAULT = ("unavailable", "timeout", "unsupported")
VARIANTS = {"closed": "failOpen: false", "open": "failOpen: true", "all": "failOpen: true, every cause in failOpenOn"}
TIMEOUT, BUDGET = Limit("at most its `timeout`", 0.3), Limit("at most the `budget`", 0.8)
BODY = b"what nobody has read"
PASSED = "the request, with the key, the body unprocessed"
WHAT = {
    "unavailable": "it says that it cannot decide",
    "timeout": "it never answers",
    "unsupported": "its type is not installed",
    "defect": "it raises",
    "too-large": "it says that the body is too large",
    "malformed": "it says that the body is malformed",
}


def cell(cause: str, phase: str, variant: str) -> Cell:
    return Cell(WHAT[cause], "a filter in `filters:`", phase, f"`{VARIANTS[variant]}`")


def unserved(variant: str) -> Cell:
    return Cell(UNSERVED, "a filter in `filters:`", "backend-request", f"`{VARIANTS[variant]}`")


SPENT = "it never answers, and its `timeout` is longer than the `budget`"
UNSERVED = "its phase needs the upstream pass, which is off"
CELLS = [cell(cause, phase, variant) for cause in CAUSES for variant in VARIANTS for phase in PHASES]
BUDGETS = [
    Cell(SPENT, "a filter in `filters:`", phase, f"`{VARIANTS[variant]}`{more}")
    for variant, phase, more in (
        ("closed", "request-headers", ""),
        ("open", "request-headers", ", before one with `failOpen: false`"),
        ("closed", "request-body", ""),
        ("open", "request-body", ", nothing after it"),
    )
]
TABLE = Table(
    "Other people's filters",
    "`too-large`, `malformed` and `defect` can be provoked by a caller: `failOpen: true` alone does not cover them.",
    [*CELLS, *(unserved(variant) for variant in VARIANTS), *BUDGETS],
)


def extension(phase: str, variant: str, type_: str, name: str, **more: Any) -> dict[str, Any]:
    fails: dict[str, Any] = {"failOpen": variant != "closed", **({"failOpenOn": ALL} if variant == "all" else {})}
    when = f'request.headers["x-run"] == "{name}"'
    return {
        "name": name,
        "type": type_,
        "phase": phase,
        "priority": 25,
        "timeout": "300ms",
        "when": when,
        **fails,
        **more,
    }


@pytest.fixture(scope="module")
def observer(stub: Stub) -> Iterator[Observer]:
    faulty, absent = "test.example/Faulty:v1", "test.example/Absent:v1"
    extensions = [
        each
        for phase in PHASES
        for variant in VARIANTS
        for each in (
            extension(phase, variant, faulty, f"{phase}-{variant}"),
            extension(phase, variant, absent, f"absent-{phase}-{variant}"),
            extension(phase, variant, faulty, f"patient-{phase}-{variant}", timeout="10s"),
        )
    ]
    extensions += [extension("backend-request", variant, faulty, f"unserved-{variant}") for variant in VARIANTS]
    left = extension("request-headers", "closed", faulty, "patient-request-headers-open", timeout="10s")
    extensions.append({**left, "name": "left-to-run", "priority": 26})
    documents = policy(AUTHN), backend(stub.port, INJECT, *extensions)
    environ = {"PYTHONPATH": str(Path(__file__).parents[2])}
    filters = {faulty: "tests.faults.filter:Faulty"}
    with gateway(*documents, environ=environ, filters=filters, budget="800ms") as gate:
        seen = Observer(gate, stub, TOKEN)
        yield seen
        seen.close()


def expected(cause: str, phase: str, variant: str) -> Expected:
    if variant == "all" or (variant == "open" and cause in DEFAULT):
        return opened(cause, PASSED)
    return closed(cause, phase, PASSED if phase in RESPONSE else "nothing")


def tried(observer: Observer, matrix: Matrix, where: Cell, want: Expected, name: str, cause: str, limit: Limit) -> None:
    headers = [("content-type", "text/plain"), ("x-do", cause)]
    seen = observer.ask(name, "POST", headers=headers, body=BODY)
    result = observer.judge(seen, want, (name, "left-to-run"), limit, BODY)
    matrix.add(TABLE.title, where, result, limit.ratio(seen.waited))


@pytest.mark.parametrize("cause", CAUSES)
@pytest.mark.parametrize("phase", PHASES)
def test_a_filter_that_fails(observer: Observer, matrix: Matrix, cause: str, phase: str) -> None:
    for variant in VARIANTS:
        name = f"absent-{phase}-{variant}" if cause == "unsupported" else f"{phase}-{variant}"
        tried(observer, matrix, cell(cause, phase, variant), expected(cause, phase, variant), name, cause, TIMEOUT)
    observer.well(f"{phase}-closed", method="POST", body=BODY)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_phase_that_is_not_served(observer: Observer, matrix: Matrix, variant: str) -> None:
    want = closed("unsupported") if variant == "closed" else opened("unsupported", PASSED)
    tried(observer, matrix, unserved(variant), want, f"unserved-{variant}", "unavailable", TIMEOUT)


@pytest.mark.parametrize("where", BUDGETS, ids=lambda where: f"{where.phase}-{where.variant[1:15]}")
def test_a_spent_budget(observer: Observer, matrix: Matrix, where: Cell) -> None:
    """What is closed and left to run makes it 504, although the one that spent the budget is open."""
    variant = "open" if "true" in where.variant else "closed"
    name = f"patient-{where.phase}-{variant}"
    want = closed("timeout")
    if variant == "open" and where.phase == "request-headers":
        want = Expected(want.status, want.code, ("failure: timeout", "skip: timeout"))
    elif variant == "open":
        want = opened("timeout", PASSED)
    tried(observer, matrix, where, want, name, "timeout", BUDGET)


def test_every_skip_is_marked(observer: Observer) -> None:
    observer.marked()
