"""A Prometheus of our own for a while, and what it answers."""

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from string import Template
from typing import Any

import requests
import yaml

from tests.e2e.processes import Process, accepts, free_port
from tools.dashboard.draw import Answers, Series

STEP = 1
"""Seconds between two readings, and between two points."""

LABEL = re.compile(r"\{\{(\w+)\}\}")

RANGE = "10s"
"""What `$__rate_interval` stands for."""


@contextmanager
def prometheus(target: str, folder: Path) -> Iterator[str]:
    """Reads the metrics at `target` (host:port); gives its own URL."""
    port = free_port()
    config = folder / "prometheus.yaml"
    job = {"job_name": "extproc", "static_configs": [{"targets": [target]}]}
    config.write_text(yaml.safe_dump({"global": {"scrape_interval": f"{STEP}s"}, "scrape_configs": [job]}))
    program = shutil.which("prometheus")
    if program is None:
        raise SystemExit("there is no prometheus: apt-get install prometheus")
    options = (
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    )
    process = Process((program, *options), folder / "prometheus.log")
    try:
        process.wait_until(lambda: accepts(port))
        yield f"http://127.0.0.1:{port}"
    finally:
        process.stop()


def answers(url: str, dashboard: Mapping[str, Any], span: tuple[float, float]) -> Answers:
    """What each panel shows, with every variable at All."""
    return {
        panel["id"]: [series for target in panel["targets"] for series in _asked(url, target, span)]
        for panel in dashboard["panels"]
        if "targets" in panel
    }


def _asked(url: str, target: Mapping[str, str], span: tuple[float, float]) -> Sequence[Series]:
    query = target["expr"].replace("$__rate_interval", RANGE)
    asked: dict[str, str | float] = {
        "query": Template(query).safe_substitute(gateway=".*", namespace=".*", backend=".*"),
        "start": span[0],
        "end": span[1],
        "step": STEP,
    }
    answer = requests.get(f"{url}/api/v1/query_range", asked, timeout=30)
    answer.raise_for_status()
    return [_series(each, target["legendFormat"]) for each in answer.json()["data"]["result"]]


def _series(found: Mapping[str, Any], legend: str) -> Series:
    """With its name as `legend` says. What is no number (0 of 0) is no point."""
    name = legend
    for label in LABEL.findall(legend):
        name = name.replace("{{" + label + "}}", found["metric"].get(label, ""))
    points = [(float(when), float(value)) for when, value in found["values"]]
    return Series(name if name.strip("/ :") else "nobody", [(when, value) for when, value in points if isfinite(value)])


def chromium(page: str, picture: Path, width: int, height: int) -> None:
    """A picture of the page at this URL."""
    program = shutil.which("chromium")
    if program is None:
        raise SystemExit("there is no chromium: apt-get install chromium")
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-device-scale-factor=1")
    argv = (program, *options, f"--window-size={width},{height}", f"--screenshot={picture}", page)
    subprocess.run(argv, check=True, timeout=120, capture_output=True)  # noqa: S603 - a program of this machine, our words
