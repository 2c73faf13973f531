"""Load through Envoy: with `wrk` so many callers, each with one request at a time; with `h2load` so many requests a second,
however long the answers take.
"""

import json
import math
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.gateway import HEADERS, PATH

SCRIPT = Path(__file__).parent / "load.lua"
MARGIN = 30
"""Seconds beyond its own that a generator may take."""

CONNECTIONS = 40
"""Of h2load, one begun each millisecond: it sends what is due on each at the same intervals, so they must be apart."""


@dataclass(frozen=True)
class Load:
    """What the callers saw: requests a second, latencies in microseconds, and requests that did not end with a 2xx."""

    rate: float
    p50: float
    p99: float
    p999: float
    requests: int
    failed: int


def closed(port: int, body: Path, *, callers: int, seconds: int) -> Load:
    """Raises: RuntimeError, if wrk could not do it."""
    argv = ["wrk", "-t1", f"-c{callers}", f"-d{seconds}s", "--timeout", "5s", "-s", str(SCRIPT), _url(port)]
    said = output(argv, seconds, {"BENCH_BODY": str(body)})
    line = next((line for line in said.splitlines() if line.startswith("BENCH ")), None)
    if line is None:
        raise RuntimeError(f"wrk said no figures: {said}")
    told = json.loads(line.removeprefix("BENCH "))
    return Load(
        told["requests"] / told["seconds"], told["p50"], told["p99"], told["p999"], told["requests"], told["failed"]
    )


def steady(port: int, body: Path, log: Path, *, rate: float, seconds: int) -> Load:
    """Raises: RuntimeError, if h2load could not do it."""
    connections = max(1, min(CONNECTIONS, int(rate)))
    wanted = math.ceil(rate * seconds / connections) * connections
    fields = [f"-H{name.lower()}: {value}" for name, value in HEADERS.items() if name != "Host"]
    log.unlink(missing_ok=True)  # h2load appends
    argv = ["h2load", f"-n{wanted}", f"-c{connections}", "-r1", "--rate-period=1ms", f"--rps={rate / connections:.3f}"]
    to = [f"--connect-to=127.0.0.1:{port}", f"http://localhost:{port}{PATH}"]
    output([*argv, "-m100", "-d", str(body), f"--log-file={log}", *fields, *to], seconds)
    rows = [line.split("\t") for line in log.read_text().splitlines()]
    times = sorted(int(took) for _, status, took, *_ in rows if status.startswith("2"))
    begun = [int(start) for start, *_ in rows]
    spread = (
        max(begun, default=0) - min(begun, default=0)
    ) / 1e6 + connections / rate  # the last of each has an interval too
    return summary(times, len(rows) / spread, wanted - len(times))


def summary(times: Sequence[float], rate: float, failed: int) -> Load:
    """`times` in ascending order."""
    if not times:
        raise RuntimeError(f"not one request was answered with a 2xx, and {failed} otherwise")
    return Load(rate, quantile(times, 0.5), quantile(times, 0.99), quantile(times, 0.999), len(times) + failed, failed)


def quantile(ordered: Sequence[float], part: float) -> float:
    """The smallest of `ordered` that at least `part` of them do not exceed."""
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]


def output(argv: Sequence[str], seconds: float, environment: Mapping[str, str] | None = None) -> str:
    """What a program says that takes about so long. Raises: RuntimeError."""
    try:
        done = subprocess.run(
            argv,
            env={**os.environ, **(environment or {})},
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds + MARGIN,
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{Path(argv[0]).name} did not end within {seconds + MARGIN:g} seconds") from None
    if done.returncode:
        raise RuntimeError(f"{Path(argv[0]).name} ended with {done.returncode}: {done.stderr or done.stdout}")
    return done.stdout


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}{PATH}"
