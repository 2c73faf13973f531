"""`ghz` against a server, with no Envoy between: so many callers, or so many calls a second."""

import json
from pathlib import Path

from bench.load import Load, output, summary
from bench.tools import GHZ, built
from extproc.wire.codec import SERVICE

PROTO = Path(__file__).parents[1] / "proto"
CALLERS = 32
CONNECTIONS = 2
"""As an Envoy with two threads has."""


def closed(socket: Path, data: Path, *, seconds: int) -> Load:
    """Conversations by CALLERS, each with one at a time. Raises: RuntimeError."""
    return _load(socket, data, seconds, [f"--duration={seconds}s", "--duration-stop=wait", f"--concurrency={CALLERS}"])


def steady(socket: Path, data: Path, *, rate: float, seconds: int) -> Load:
    """So many conversations a second, however long they take. Raises: RuntimeError."""
    wanted = [f"--rps={rate:.0f}", f"--total={rate * seconds:.0f}", "--async", f"--concurrency={CALLERS}"]
    return _load(socket, data, seconds, wanted)


def many(socket: Path, data: Path, number: int) -> int:
    """`number` conversations as fast as they go; gives how many failed. Raises: RuntimeError."""
    patience = number / 50
    return _load(socket, data, patience, [f"--total={number}", f"--concurrency={CALLERS}"]).failed


def _load(socket: Path, data: Path, seconds: float, options: list[str]) -> Load:
    schema = [f"--proto={PROTO / 'extproc/wire/pb/external_processor.proto'}", f"--import-paths={PROTO}"]
    call = ["--insecure", f"--call={SERVICE}.Process", f"--data-file={data}", "--disable-template-functions"]
    argv = [str(built(GHZ)), *schema, *call, f"--connections={CONNECTIONS}", "--format=json", *options]
    told = json.loads(output([*argv, f"unix://{socket}"], seconds))
    details = told["details"] or []
    times = sorted(each["latency"] / 1000 for each in details if each["status"] == "OK")
    return summary(times, told["rps"], len(details) - len(times))
