"""A fixed part of a core for each of several processes, by a control group of its own: cpu.max (version 2, the kernel's
cgroup-v2) or cpu.cfs_quota_us (version 1, sched-bwc).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PERIOD = 10_000
"""Microseconds in which a part must be used: short, so that nobody rests for long."""


@dataclass(frozen=True)
class Parent:
    """The control group in which groups can be made, and of which version."""

    path: Path
    version: int


def parent(mounts: str, own: str) -> Parent | None:
    """Where the processor is shared out; `mounts` as in proc(5), mounts, and `own` as in cgroups(7), /proc/self/cgroup.
    None if nowhere.
    """
    paths = {names: path for _, names, path in (line.split(":", 2) for line in own.splitlines())}
    mounted = [line.split() for line in mounts.splitlines()]
    for _, where, kind, options, *_rest in mounted:
        if kind == "cgroup" and "cpu" in options.split(","):
            group = next((path for names, path in paths.items() if "cpu" in names.split(",")), "/")
            return Parent(Path(where + group), 1)
    for _, where, kind, *_rest in mounted:
        second = Path(where + paths.get("", "/"))
        if kind == "cgroup2" and "cpu" in _words(second / "cgroup.subtree_control"):
            return Parent(second, 2)
    return None


@contextmanager
def held(pids: Sequence[int], part: float) -> Iterator[None]:
    """Each of the processes has at most `part` of a core within the block. Raises: RuntimeError if that cannot be had here."""
    home = parent(Path("/proc/mounts").read_text(), Path("/proc/self/cgroup").read_text())
    if not home:
        raise RuntimeError("no control group here shares out the processor")
    groups: dict[Path, int] = {home.path / f"extproc-bench-{pid}": pid for pid in pids}
    try:
        _hold(groups, home.version, part)
        yield
    finally:
        for group, pid in groups.items():
            if group.is_dir():
                with suppress(ProcessLookupError):  # it has ended, and is in no group
                    (home.path / "cgroup.procs").write_text(str(pid))
                group.rmdir()


def _hold(groups: Mapping[Path, int], version: int, part: float) -> None:
    """Raises: RuntimeError: control groups are another's, or can only be read, as in most containers."""
    try:
        for group, pid in groups.items():
            group.mkdir()
            limit(Parent(group, version), part)
            (group / "cgroup.procs").write_text(str(pid))
    except OSError as error:
        raise RuntimeError(f"the processor cannot be shared out here: {error}") from None


def limit(group: Parent, part: float) -> None:
    """Its processes have `part` of a core together."""
    quota = round(PERIOD * part)
    if group.version == 1:
        (group.path / "cpu.cfs_period_us").write_text(str(PERIOD))
        (group.path / "cpu.cfs_quota_us").write_text(str(quota))
    else:
        (group.path / "cpu.max").write_text(f"{quota} {PERIOD}")


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
