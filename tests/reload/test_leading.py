"""The parent of workers that follow: all take over the same, or none does."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import structlog

from extproc.reload.changes import AGAIN, EVERY, STILL
from extproc.reload.following import CHANGED, DEFECT
from extproc.reload.leading import KEPT, PULSE, Leader
from extproc.reload.snapshot import name, reread, snapshot
from extproc.reload.source import Declined, Source
from extproc.tether import SNAPSHOT
from extproc.workers import Patience
from tests.disks import full_disk
from tests.e2e.gateway import PII, quota
from tests.reload.making import Steps, put, write


class Crew:
    """Workers that answer as the test says: with problems, or with None because they have died."""

    def __init__(self, count: int = 2) -> None:
        self.up = list(range(count))
        self.wrong: dict[tuple[int, str], list[str] | None] = {}
        self.once: dict[tuple[int, str], list[str]] = {}
        self.told: list[tuple[int, Mapping[str, Any]]] = []
        self.patience = Patience(drain=35)

    def serving(self) -> Sequence[int]:
        return list(self.up)

    async def ask(self, index: int, question: Mapping[str, Any], seconds: float) -> Mapping[str, Any] | None:
        self.told.append((index, question))
        asked = index, question["do"]
        problems = self.once.pop(asked) if asked in self.once else self.wrong.get(asked, [])
        return None if problems is None else {"problems": problems}

    def replace(self, index: int) -> None:
        self.told.append((index, {"do": "replaced"}))

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
    assert crew.words() == [(1, "name")]


async def test_one_that_starts_hears_that_the_configuration_on_disk_is_bad(
    tmp_path: Path, leader: Leader, crew: Crew
) -> None:
    put(tmp_path / "config.yaml", "bad: 1")
    await offer(leader)
    crew.words()
    file = leader.starts(1)
    await leader.serves(1)
    assert crew.words() == [(1, "name"), (1, "refused")]
    assert b"bad" not in reread(file.read_bytes()).files[0].content


@pytest.mark.parametrize("where", ["prepare", "commit"])
async def test_one_that_cannot_catch_up_is_replaced(tmp_path: Path, leader: Leader, crew: Crew, where: str) -> None:
    """Nobody goes on with what is not in force any more: a rule that is gone would hold for ever in one worker."""
    leader.starts(1)
    crew.up = [0]
    write(tmp_path, quota(5))
    await offer(leader)
    crew.words()
    crew.wrong[1, where] = ["a defect"]
    await leader.serves(1)
    assert crew.words()[-1] == (1, "replaced")


async def test_one_that_did_not_go_over_is_led_there_at_once(tmp_path: Path, leader: Leader, crew: Crew) -> None:
    """Such as one that became ready in between, and has not made ready what the others have."""
    crew.once[1, "commit"] = ["a defect"]
    write(tmp_path, quota(5))
    await offer(leader)
    assert crew.words() == [(0, "prepare"), (1, "prepare"), (0, "commit"), (1, "commit"), (1, "prepare"), (1, "commit")]
    await leader.serves(1)
    assert crew.words() == [(1, "name")]


async def test_what_a_worker_found_changed_is_read_again(tmp_path: Path, leader: Leader, crew: Crew) -> None:
    """Though it looks as before: the file that it refers to was something else for a moment."""
    crew.once[1, "prepare"] = [CHANGED]
    before = leader._force.name
    write(tmp_path, quota(5))
    await offer(leader)
    assert leader._force.name == before
    assert leader.changes.name != (await leader.changes._look()).name
    await offer(leader)
    assert leader._force.name != before


async def test_a_worker_that_began_with_another_file_goes_over_to_what_is_in_force(leader: Leader, crew: Crew) -> None:
    leader.starts(1)
    crew.once[1, "name"] = [CHANGED]
    await leader.serves(1)
    assert crew.words() == [(1, "name"), (1, "prepare"), (1, "commit")]


async def test_a_defect_ends_no_following(tmp_path: Path, leader: Leader, crew: Crew) -> None:
    """Not even if the workers cannot be told of it; and they are told one thing at a time."""
    put(tmp_path / "config.yaml", "bad: 1")
    questions, enough = [], asyncio.Event()

    async def ask(index: int, *_: object) -> None:
        questions.append(leader._talking.locked())
        if len(questions) == 8:
            enough.set()
        raise RuntimeError("canary")

    async def soon(_: float) -> None:
        leader.again()

    crew.ask = ask  # type: ignore[assignment, method-assign]
    leader.changes.sleep = soon
    with structlog.testing.capture_logs() as logs:
        running = asyncio.ensure_future(leader.run())
        async with asyncio.timeout(20):
            await enough.wait()
        running.cancel()
    assert all(questions)
    assert "reload_failed" in [line["event"] for line in logs]


async def test_what_could_not_be_written_is_tried_again(tmp_path: Path, leader: Leader, crew: Crew) -> None:
    """It was a change like any other: once there is room, nobody has to change it once more."""
    steps, own = Steps(), tmp_path / "own"
    leader.changes.sleep = steps
    write(tmp_path, quota(5))
    with structlog.testing.capture_logs() as logs:
        running = asyncio.ensure_future(leader._follow())
        with full_disk(1000):
            await steps.step(2)
            await steps._sleeps.acquire()
        (problem,) = crew.told[-1][1]["problems"]
        assert problem == "it could not be taken over: File too large; it is tried again every 10 s"
        assert [line["event"] for line in logs] == ["reload_failed"]
        assert len(list(own.iterdir())) == 1
        crew.words()
        steps._go.release()
        await steps.step(1)
        await steps._sleeps.acquire()
    running.cancel()
    assert crew.words() == [(0, "prepare"), (1, "prepare"), (0, "commit"), (1, "commit")]
    assert steps.slept == [EVERY, STILL, AGAIN, STILL, EVERY]


async def test_what_a_worker_could_not_take_over_is_tried_again(tmp_path: Path, leader: Leader, crew: Crew) -> None:
    """It had no file or thread left, say, and the others have."""
    steps = Steps()
    leader.changes.sleep = steps
    crew.once[1, "prepare"] = [DEFECT]
    write(tmp_path, quota(5))
    running = asyncio.ensure_future(leader._follow())
    await steps.step(2)
    await steps.step(2)
    await steps._sleeps.acquire()
    running.cancel()
    assert crew.words()[-2:] == [(0, "commit"), (1, "commit")]
    assert steps.slept == [EVERY, STILL, AGAIN, STILL, EVERY]


async def test_each_worker_is_asked_whether_it_lives(leader: Leader, crew: Crew) -> None:
    """Who does not answer that is replaced by who asks for us."""
    steps = Steps()
    leader.sleep = steps
    running = asyncio.ensure_future(leader._pulse())
    await steps.step(2)
    await steps._sleeps.acquire()
    running.cancel()
    assert crew.words() == [(0, "live"), (1, "live")] * 2
    assert steps.slept == [PULSE] * 3


async def test_a_worker_that_begins_with_less_has_room_for_what_the_others_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would refuse what all others can take over, and so keep them from it."""
    (tmp_path / "own").mkdir()
    path = write(tmp_path, PII)
    leader = Leader(Source(path).start(), tmp_path / "own", Crew())  # type: ignore[arg-type]
    write(tmp_path)
    await offer(leader)
    monkeypatch.setenv(SNAPSHOT, str(leader.starts(1)))
    source = Source(path)
    successor = source.start()
    write(tmp_path, PII)
    assert source.load(snapshot(path), successor).resolved.needs.max_body_bytes == 1048576
    write(tmp_path, {**PII, "config": {**PII["config"], "maxBodyBytes": 1048577}})
    with pytest.raises(Declined, match="the server was started for 1048576"):
        source.load(snapshot(path), successor)


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
