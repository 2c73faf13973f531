"""Load with `wrk`: so many callers, each with one request at a time, for so many seconds."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).parent / "load.lua"


@dataclass(frozen=True)
class Load:
    """What the callers saw: requests a second, latencies in microseconds, and requests that did not end with a 2xx."""

    rate: float
    p50: float
    p99: float
    requests: int
    failed: int


def missing() -> str | None:
    """What to install, if the load generator is not here."""
    return (
        None
        if shutil.which("wrk")
        else "`wrk` is not on the PATH: `make bench-setup` installs it (Debian's package wrk)"
    )


def load(url: str, body: Path, *, callers: int, seconds: int) -> Load:
    """Raises: RuntimeError, if wrk could not do it."""
    done = subprocess.run(
        ["wrk", "-t1", f"-c{callers}", f"-d{seconds}s", "--timeout", "5s", "-s", str(SCRIPT), url],
        env={**os.environ, "BENCH_BODY": str(body)},
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds + 20,
    )
    line = next((line for line in done.stdout.splitlines() if line.startswith("BENCH ")), None)
    if done.returncode or line is None:
        raise RuntimeError(f"wrk ended with {done.returncode}: {done.stderr or done.stdout}")
    told = json.loads(line.removeprefix("BENCH "))
    return Load(
        told["requests"] / told["seconds"], told["p50"], told["p99"], told["requests"], told["failed"] + told["refused"]
    )
