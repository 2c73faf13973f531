"""Processes that end with their block, and what they cost."""

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
ROOT = Path(__file__).parents[1]
"""Where processes are started: they import `bench` from here."""

GRACE = 15.0
"""Seconds to end when it is told to."""


@dataclass(frozen=True)
class Memory:
    """Of a process and its children, in MB: what is resident, and that with shared pages counted by share."""

    rss: float
    pss: float


@contextmanager
def running(argv: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> Iterator[int]:
    """Start it, with its output in `log`; end it with the block. Gives its process id."""
    environ = {**os.environ, **(environment or {})}
    with (
        log.open("wb") as output,
        subprocess.Popen(argv, stdout=output, stderr=output, env=environ, cwd=ROOT) as process,
    ):
        try:
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()


def alive(pid: int) -> bool:
    """Whether it has not ended (proc(5), state in stat)."""
    return _stat(pid)[0] not in {"Z", "X"}


def tree(pid: int) -> list[int]:
    """A process and all that come from it (proc(5), children)."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        children: list[str] = []
        with suppress(FileNotFoundError, ProcessLookupError):  # the thread has ended since
            children = (task / "children").read_text().split()
        for child in children:
            found += tree(int(child))
    return found


def cpu_seconds(pid: int) -> float:
    """Processor time of a process and its children so far (proc(5), fields 14 and 15 of stat)."""
    return sum(_own_cpu_seconds(each) for each in tree(pid))


def _own_cpu_seconds(pid: int) -> float:
    stat = _stat(pid)
    return (int(stat[11]) + int(stat[12])) / TICKS


def _stat(pid: int) -> list[str]:
    """The fields from the third on: the second may have spaces."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def memory(pid: int) -> Memory:
    """What a process and its children occupy."""
    found = [own_memory(each) for each in tree(pid)]
    return Memory(sum(each.rss for each in found), sum(each.pss for each in found))


def own_memory(pid: int) -> Memory:
    """What a process alone occupies (proc(5), smaps_rollup)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    told = {name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines)}
    return Memory(told["Rss"] / 1000, told["Pss"] / 1000)
