"""The parent of workers that follow: all take over the same, or none does."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from extproc.reload.leading import KEPT, Leader
from extproc.reload.snapshot import name, reread
from extproc.reload.source import Source
from extproc.workers import Patience
from tests.e2e.gateway import quota
from tests.reload.making import put, write


class Crew:
    """Workers that answer as the test says: with problems, or with None because they have died."""

    def __init__(self, count: int = 2) -> None:
        self.up = list(range(count))
        self.wrong: dict[tuple[int, str], list[str] | None] = {}
        self.told: list[tuple[int, Mapping[str, Any]]] = []
        self.patience = Patience(drain=35)

    def serving(self) -> Sequence[int]:
        return list(self.up)

    async def ask(self, index: int, question: Mapping[str, Any], seconds: float) -> Mapping[str, Any] | None:
        self.told.append((index, question))
        problems = self.wrong.get((index, question["do"]), [])
        return None if problems is None else {"problems": problems}

    def words(self) -> list[tuple[int, str]]:
        found = [(index, question["do"]) for index, question in self.told]
        self.told.clear()
        return found


@pytest.fixture
def crew() -> Crew:
    return Crew()


@pytest.fixture
def leader(tmp_path: Path, crew: Crew) -> Leader:
    (tmp_path / "own").mkdir()
    return Leader(Source(write(tmp_path)).start(), tmp_path / "own", crew)  # type: ignore[arg-type]


async def offer(leader: Leader) -> None:
    seen = await leader.changes._look()
    leader.changes.looks, leader.changes.name = seen.looks, seen.name
    await leader.offer(seen.snapshot, asked=False)


async def test_all_make_it_ready_before_any_goes_over(tmp_path: Path, leader: Leader, crew: Crew) -> None:
    write(tmp_path, quota(5))
    await offer(leader)
    prepared = {question["file"] for _, question in crew.told if question["do"] == "prepare"}
    assert crew.words() == [(0, "prepare"), (1, "prepare"), (0, "commit"), (1, "commit")]
    (file,) = prepared
    assert str(leader.starts(7)) == file
    found = reread(leader.starts(7).read_bytes())
    assert name(found, leader._force.looks) == leader._force.name


async def test_one_worker_that_refuses_is_enough(tmp_path: Path, leader: Leader, crew: Crew) -> None:
    crew.wrong[1, "prepare"] = ["it has no such module"]
    before = leader.starts(0)
    write(tmp_path, quota(5))
    await offer(leader)
    said = crew.told[-1][1]
    assert crew.words() == [(0, "prepare"), (1, "prepare"), (0, "drop"), (1, "drop"), (0, "refused"), (1, "refused")]
    assert said["problems"] == ("worker 1: it has no such module",)
    assert leader.starts(0) == before
    assert len(list((tmp_path / "own").iterdir())) == 1


async def test_a_bad_one_never_reaches_a_worker(tmp_path: Path, leader: Leader, crew: Crew) -> None:
    put(tmp_path / "config.yaml", "bad: 1")
    await offer(leader)
    assert crew.words() == [(0, "refused"), (1, "refused")]
    write(tmp_path)
    await offer(leader)
    assert crew.words() == [(0, "unchanged"), (1, "unchanged")]


async def test_one_that_dies_meanwhile_holds_up_nobody(tmp_path: Path, leader: Leader, crew: Crew) -> None:
    crew.wrong[1, "prepare"] = crew.wrong[1, "commit"] = None
    write(tmp_path, quota(5))
    await offer(leader)
    assert crew.words() == [(0, "prepare"), (1, "prepare"), (0, "commit"), (1, "commit")]


async def test_one_that_starts_while_others_go_over_catches_up(tmp_path: Path, leader: Leader, crew: Crew) -> None:
    leader.starts(1)
    crew.up = [0]
    write(tmp_path, quota(5))
    await offer(leader)
    crew.words()
    await leader.serves(1)
    assert crew.words() == [(1, "prepare"), (1, "commit")]
    leader.starts(1)
    await leader.serves(1)
    assert crew.words() == []


async def test_one_that_starts_hears_that_the_configuration_on_disk_is_bad(
    tmp_path: Path, leader: Leader, crew: Crew
) -> None:
    put(tmp_path / "config.yaml", "bad: 1")
    await offer(leader)
    crew.words()
    file = leader.starts(1)
    await leader.serves(1)
    assert crew.words() == [(1, "refused")]
    assert b"bad" not in reread(file.read_bytes()).files[0].content


async def test_one_that_did_not_go_over_is_led_there_later(tmp_path: Path, leader: Leader, crew: Crew) -> None:
    crew.wrong[1, "commit"] = ["a defect"]
    write(tmp_path, quota(5))
    await offer(leader)
    crew.wrong.clear()
    crew.words()
    await leader.serves(0)
    assert crew.words() == []
    await leader.serves(1)
    assert crew.words() == [(1, "prepare"), (1, "commit")]


async def test_files_of_former_ones_go(tmp_path: Path, leader: Leader) -> None:
    for number in range(KEPT + 5):
        write(tmp_path, quota(number + 1))
        await offer(leader)
    assert len(list((tmp_path / "own").iterdir())) == KEPT


async def test_a_longer_drain_is_waited_for(tmp_path: Path, leader: Leader, crew: Crew) -> None:
    write(tmp_path, drainSeconds=65)
    await offer(leader)
    assert crew.patience.drain == 95


async def test_what_the_parent_borrowed_to_judge_it_gives_back(tmp_path: Path, leader: Leader) -> None:
    for number in range(3):
        write(tmp_path, quota(number + 1))
        await offer(leader)
    put(tmp_path / "config.yaml", "bad: 1")
    await offer(leader)
    assert len(leader.first.source.kept) == 2
