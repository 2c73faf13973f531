"""What is on disk, whatever is there; and a name that says its content."""

import os
from pathlib import Path

import pytest

from extproc.errors import ConfigError, Refused
from extproc.policy.read import LARGEST, MOST_FILES, parse
from extproc.reload.snapshot import Look, look, name, reread, snapshot, written


def problem(path: Path) -> str:
    """The sentence about what is at `path`."""
    with pytest.raises(Refused) as caught:
        parse(path, snapshot(path).files)
    return str(caught.value)


def named(path: Path) -> str:
    return name(snapshot(path), {})


def test_the_name_says_the_content_and_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: 1")
    (tmp_path / "b.yaml").write_text("b: 1")
    first = named(tmp_path)
    assert named(tmp_path) == first
    (tmp_path / "notes.txt").write_text("not ours")
    (tmp_path / ".hidden.yaml").write_text("not ours")
    assert named(tmp_path) == first
    (tmp_path / "a.yaml").write_text("b: 1")
    (tmp_path / "b.yaml").write_text("a: 1")
    assert named(tmp_path) != first


def test_a_change_within_one_tick_of_the_clock_is_seen(tmp_path: Path) -> None:
    """Neither size nor time tells of it."""
    path = tmp_path / "a.yaml"
    path.write_text("a: 1")
    before, first = path.stat(), named(path)
    path.write_text("a: 2")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert named(path) != first


def test_files_that_are_referred_to_count_by_content_or_by_being_there(tmp_path: Path) -> None:
    path, other = tmp_path / "a.yaml", tmp_path / "tokens"
    path.write_text("a: 1")
    found = snapshot(path)
    seen = [name(found, {other: look(other, counts=counts)}) for counts in (True, False)]
    other.write_text("one")
    seen += [name(found, {other: look(other, counts=counts)}) for counts in (True, False)]
    other.write_text("two")
    seen += [name(found, {other: look(other, counts=counts)}) for counts in (True, False)]
    assert len(set(seen[::2])) == 3
    assert seen[1] != seen[3] == seen[5]
    assert "two" not in repr(look(other, counts=True))


@pytest.mark.parametrize("counts", [True, False])
def test_looking_at_what_cannot_be_looked_at(tmp_path: Path, counts: bool) -> None:
    assert isinstance(look(tmp_path / ("x" * 300), counts=counts), Look)


def test_what_another_process_reads_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xff\x00 not text")
    os.mkfifo(tmp_path / "b.yaml")
    Path(os.fsdecode(bytes(tmp_path) + b"/\xff.yaml")).write_text("c: 1")
    found = snapshot(tmp_path)
    again = reread(written(found))
    assert name(again, {}) == name(found, {})
    assert [str(one.content) for one in again.files] == [str(one.content) for one in found.files]
    assert again.path == tmp_path


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.yaml")
    assert problem(tmp_path / "a.yaml").endswith("this is not a regular file")
    assert f"{tmp_path}/a.yaml: this is not a regular file" in problem(tmp_path)


def test_no_more_is_read_than_a_file_may_have(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # a hole: nothing of it is on the disk
    assert problem(path).endswith(f"the file is larger than {LARGEST} bytes")


def test_a_folder_has_so_many_files(tmp_path: Path) -> None:
    for number in range(MOST_FILES + 1):
        (tmp_path / f"{number}.yaml").touch()
    assert f"more than {MOST_FILES} files" in problem(tmp_path)


def test_all_files_of_a_folder_have_so_many_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extproc.policy.read.LARGEST_ALL", 100)
    for number in range(4):
        (tmp_path / f"{number}.yaml").write_text("#" * 40)
    found = snapshot(tmp_path).files
    assert [isinstance(file.content, bytes) for file in found] == [True, True, False, False]
    assert "3.yaml: with those before it the files are larger than 100 bytes" in problem(tmp_path)


def test_what_is_gone_or_no_file_has_a_sentence(tmp_path: Path) -> None:
    assert problem(tmp_path / "gone.yaml").endswith("there is no such file")
    (tmp_path / "folder.yaml").mkdir()
    assert "this is not a regular file" in problem(tmp_path)
    assert "no file *.yaml" in problem(tmp_path / "folder.yaml")


def test_a_folder_that_is_not_ours_to_read_has_a_sentence(tmp_path: Path) -> None:
    """Root may read everything, so it is somebody else meanwhile."""
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "a.yaml").write_text("a: 1")
    folder.chmod(0o000)
    before = os.geteuid()
    try:
        if before == 0:
            os.seteuid(65534)
        found = [snapshot(path).files[0].content for path in (folder, folder / "a.yaml")]
    finally:
        os.seteuid(before)
        folder.chmod(0o700)
    assert [str(content).rpartition(": ")[2] for content in found] == ["Permission denied"] * 2


def test_a_loop_of_links_has_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").symlink_to("a.yaml")
    assert "a.yaml" in problem(tmp_path)


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").mkdir()
    os.mkfifo(tmp_path / "b.yaml")
    snapshot(tmp_path)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(10):
        snapshot(tmp_path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_mounted_configmap_is_read_as_of_one_version(tmp_path: Path) -> None:
    """Its files lead through a link that is swapped: what it leads to is looked up once."""
    for version in ("one", "two"):
        (tmp_path / f"..{version}").mkdir()
        for file in ("a.yaml", "b.yaml"):
            (tmp_path / f"..{version}" / file).write_text(version)
    (tmp_path / "..data").symlink_to("..one")
    for file in ("a.yaml", "b.yaml"):
        (tmp_path / file).symlink_to(f"..data/{file}")
    first = snapshot(tmp_path)
    (tmp_path / "..new").symlink_to("..two")
    (tmp_path / "..new").rename(tmp_path / "..data")
    assert [file.content for file in first.files] == [b"one", b"one"]
    assert [file.content for file in snapshot(tmp_path).files] == [b"two", b"two"]
    assert [file.shown.name for file in first.files] == ["a.yaml", "b.yaml"]


def test_a_problem_is_not_the_file_that_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    gone = snapshot(path)
    assert isinstance(gone.files[0].content, ConfigError)
    path.write_text(f"!{gone.files[0].content}")
    assert name(snapshot(path), {}) != name(gone, {})
