"""The bench gives each of several processes its part of a core, with either version of control groups."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from bench.process import alive, cpu_seconds, running
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


def test_where_groups_cannot_be_made_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be made in /proc: an error, but none of permission, as with control groups that can only be read."""
    monkeypatch.setattr("bench.share.parent", lambda *_: Parent(Path("/proc"), 2))
    with (
        pytest.raises(RuntimeError, match=r"the processor cannot be shared out here: .*extproc-bench-1"),
        held([1], 0.5),
    ):
        pytest.fail("it is not held")


def test_a_part_is_given_back_though_its_process_has_ended(tmp_path: Path) -> None:
    with running([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path / "log") as pid:
        try:
            with held([pid], 0.5):
                os.kill(pid, signal.SIGKILL)
                while alive(pid):
                    time.sleep(0.01)
                os.waitpid(pid, 0)
        except RuntimeError as error:
            pytest.skip(str(error))
    home = parent(Path("/proc/mounts").read_text(), Path("/proc/self/cgroup").read_text())
    assert home is not None
    assert not (home.path / f"extproc-bench-{pid}").exists()


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
