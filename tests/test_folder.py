"""The folder of a process that has workers, and those of processes that were killed."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from extproc.errors import ConfigError
from extproc.folder import LOCK, PREFIX, check_sockets, own_folder

HOLDER = """
import sys
from extproc.folder import own_folder
with own_folder() as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def holder() -> Iterator["tuple[subprocess.Popen[str], Path]"]:
    """Another process with a folder."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", HOLDER], stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())
        process.kill()


def test_nobody_else_can_read_it_and_it_goes_with_all_that_is_in_it(place: Path) -> None:
    with own_folder() as folder:
        assert folder.parent == place
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "configuration-1.json").write_text("{}")
    assert list(place.iterdir()) == []


def test_those_of_others_stay_while_they_live_and_go_once_they_were_killed(
    holder: "tuple[subprocess.Popen[str], Path]",
) -> None:
    process, folder = holder
    (folder / "configuration-1.json").write_text("{}")
    with own_folder():
        assert folder.exists()
    process.kill()
    process.wait(10)
    assert folder.exists()
    with own_folder() as own:
        assert not folder.exists()
        assert own.exists()


def test_what_nobody_of_us_made_is_left_alone(place: Path) -> None:
    for name, lock in (("young", False), ("file", False), ("link", True)):
        if name == "file":
            (place / f"{PREFIX}{name}").write_text("somebody's")
        else:
            (place / name).mkdir()
            (place / name / (LOCK if lock else "notes")).write_text("")
    (place / "young").rename(place / f"{PREFIX}young")
    (place / f"{PREFIX}link").symlink_to(place / "link")
    (place / f"{PREFIX}copy").mkdir()
    (place / f"{PREFIX}copy" / "lock").write_text("somebody's")
    with own_folder():
        pass
    left = ["extproc-copy", "extproc-file", "extproc-link", "extproc-young", "link"]
    assert sorted(each.name for each in place.iterdir()) == left
    assert (place / "link" / LOCK).exists()


def test_a_lock_that_is_a_link_is_not_followed(place: Path) -> None:
    folder, other = place / f"{PREFIX}x", place / "other"
    folder.mkdir()
    other.write_text("")
    (folder / LOCK).symlink_to(other)
    with own_folder():
        pass
    assert folder.exists()


def test_without_a_place_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(place / "nowhere"))
    with (
        pytest.raises(ConfigError, match=r"\(No such file or directory\): in a pod mount an emptyDir at /tmp"),
        own_folder(),
    ):
        raise AssertionError


def test_a_name_that_is_too_long_for_sockets_is_said_before_a_worker_meets_it() -> None:
    check_sockets(Path("/tmp/extproc-abcdefgh"))
    place = Path("/tmp") / ("long" * 20)
    with pytest.raises(
        ConfigError, match=f"{place} has too long a name for sockets in it: set TMPDIR to a shorter one"
    ):
        check_sockets(place / "extproc-abcdefgh")
