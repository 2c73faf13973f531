"""The failure matrix: what each cell must be, what it was, and the page that is made of it."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

RESPONSE: Final = ("response-headers", "response-body")

CLOSED: Final = {
    "unavailable": (503, "policy_unavailable"),
    "timeout": (504, "policy_timeout"),
    "unsupported": (503, "policy_unavailable"),
    "defect": (500, "policy_error"),
    "too-large": (413, "body_too_large"),
    "malformed": (400, "body_malformed"),
}
"""DESIGN section 6: what a failure answers that failOpen does not cover."""

NOTHING: Final = "nothing"


@dataclass(frozen=True, slots=True)
class Cell:
    """What is tried. `by`: who fails; `variant`: how the extension is configured."""

    fault: str
    by: str
    phase: str
    variant: str


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it, in words."""

    client: str
    counted: str
    waited: str
    upstream: str


@dataclass(frozen=True, slots=True)
class Table:
    """All cells of one kind of extension, in the order in which they are told."""

    title: str
    text: str
    cells: Sequence[Cell]


@dataclass(frozen=True, slots=True)
class Expected:
    """What the client gets (no code: it passes), what is counted (`failure: timeout`), what reaches the destination."""

    status: int = 200
    code: str = ""
    counted: tuple[str, ...] = ()
    upstream: str = NOTHING

    @property
    def client(self) -> str:
        return f"{self.status} `{self.code}`" if self.code else str(self.status)


def closed(cause: str, phase: str = "request-headers", upstream: str = NOTHING) -> Expected:
    """A failure that nothing covers. `upstream`: what has left before, in a response phase."""
    status, code = CLOSED[cause]
    if phase in RESPONSE and cause in ("too-large", "malformed"):
        status, code = 502, "response_unprocessable"
    return Expected(status, code, (f"failure: {cause}",), upstream)


def opened(cause: str, upstream: str) -> Expected:
    """A failure that failOpen covers."""
    return Expected(counted=(f"skip: {cause}",), upstream=upstream)


def denied(status: int, code: str, *skips: str) -> Expected:
    """A decision, whatever failOpen says."""
    return Expected(status, code, (f"denial: {code}", *(f"skip: {cause}" for cause in skips)))


@dataclass
class Matrix:
    """What a run found out."""

    results: dict[Cell, Result] = field(default_factory=dict)
    missing: dict[Cell, str] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)

    def add(self, title: str, cell: Cell, result: Result, ratio: float) -> None:
        """`ratio`: how long the wait was, as a part of its limit."""
        self.results[cell] = result
        self.ratios[title] = max(ratio, self.ratios.get(title, 0.0))

    def skip(self, cells: Iterable[Cell], reason: str) -> None:
        self.missing.update(dict.fromkeys(cells, reason))

    def untried(self, tables: Iterable[Table]) -> list[Cell]:
        known = self.results.keys() | self.missing.keys()
        return [cell for cell in chain.from_iterable(table.cells for table in tables) if cell not in known]

    def lines(self, table: Table) -> list[str]:
        """The rows of a table. Phases in which a fault ends in the same way share one."""
        phases: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for cell in table.cells:
            phases[cell.fault, cell.by, cell.variant, *self._told(cell)].append(cell.phase)
        return [
            f"| {' | '.join((row[0], row[1], ', '.join(found), *row[2:]))} |" for row, found in phases.items()
        ]  # fmt: skip

    def _told(self, cell: Cell) -> tuple[str, ...]:
        if reason := self.missing.get(cell):
            return f"skipped: {reason}", "", "", ""
        result = self.results[cell]
        return result.client, result.counted, result.waited, result.upstream


HEAD: Final = (
    "| what fails | tried with | phase | the extension says | the client gets | counted | waited | the destination gets |",
    "|---|---|---|---|---|---|---|---|",
)
INTRODUCTION: Final = """\
# The failure matrix

This page is written by the tests in `tests/faults`, which break one thing after the other behind a running gateway: the real
Envoy, a server process, and the real dependency (or, where it says *HTTP server*, a small one that speaks its API and answers
as told). Each row was seen, and the tests fail when it is no longer so. [What happens when something fails?](failures.md)
explains the causes and the codes.

- **counted** is what the metrics gained from this one request: `failure` in `extproc_failures_total`, `skip` in
  `extproc_fail_open_total` (each with its cause), `denial` in `extproc_denials_total` (with its code). `-` is none of them.
- **waited** names the limit that the client's wait was held against, with room for a busy machine: the extension's `timeout`,
  the `budget`, or that of the connection (which is shorter).
- **the destination gets** is what arrived at the upstream. The workload's own token never did, in any row.
- Each skip was also seen in the server's log and in Envoy's access log (dynamic metadata `extproc.skipped`).
- `interrupted` has no row: it ends an answer that has begun, which the client sees as a stream that breaks off.
- When a fault was over, the next requests were answered 200 again within {recovery:g} s, without a restart of anything of ours.
"""


def page(matrix: Matrix, tables: Iterable[Table], recovery: float) -> str:
    parts = [INTRODUCTION.format(recovery=recovery)]
    for table in tables:
        parts.append("\n".join((f"## {table.title}", "", table.text, "", *HEAD, *matrix.lines(table), "")))
    return "\n".join(parts)
