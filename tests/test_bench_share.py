"""The bench gives each of several processes its part of a core, with either version of control groups."""

import sys
import time
from pathlib import Path

import pytest

from bench.process import cpu_seconds, running
from bench.share import Parent, held, limit, parent

FIRST = "cgroup /cg/mem cgroup rw,memory 0 0\ncgroup /cg/cpu cgroup rw,cpu,cpuacct 0 0\n"
OWN = "5:memory:/pod\n3:cpu,cpuacct:/mine\n0::/mine\n"


def test_the_first_version_shares_out_where_its_processor_is_mounted() -> None:
    assert parent(FIRST, OWN) == Parent(Path("/cg/cpu/mine"), 1)


@pytest.mark.parametrize(("controllers", "found"), [("cpuset cpu memory", True), ("memory pids", False), (None, False)])
def test_the_second_version_shares_out_if_it_hands_the_processor_on(
    controllers: str | None, found: bool, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    if controllers is not None:
        (tmp_path / "mine" / "cgroup.subtree_control").write_text(controllers)
    mounts = f"cgroup /cg/mem cgroup rw,memory 0 0\ncgroup2 {tmp_path} cgroup2 rw 0 0\n"
    assert parent(mounts, OWN) == (Parent(tmp_path / "mine", 2) if found else None)


def test_a_part_is_written_as_each_version_has_it(tmp_path: Path) -> None:
    limit(Parent(tmp_path, 1), 0.25)
    limit(Parent(tmp_path, 2), 0.25)
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert written == {"cpu.cfs_period_us": "10000", "cpu.cfs_quota_us": "2500", "cpu.max": "2500 10000"}


def test_a_process_has_no_more_than_its_part(tmp_path: Path) -> None:
    busy = "import time\nend = time.monotonic() + 20\nwhile time.monotonic() < end: pass"
    with running([sys.executable, "-c", busy], tmp_path / "log") as pid:
        try:
            with held([pid], 0.1):
                cpu, begin = cpu_seconds(pid), time.monotonic()
                while cpu_seconds(pid) - cpu < 0.05:
                    time.sleep(0.01)
                used = (cpu_seconds(pid) - cpu) / (time.monotonic() - begin)
        except RuntimeError as error:
            pytest.skip(str(error))
    assert used < 0.2
