"""What is seen of a change, and when: with a clock that the test steps."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from extproc.reload.changes import EVERY, RESTLESS, STILL, Changes
from extproc.reload.snapshot import Snapshot, look, name, snapshot
from tests.reload.making import Steps, put


@asynccontextmanager
async def watching(path: Path, *others: Path) -> AsyncIterator[tuple[Changes, Steps, list[Snapshot]]]:
    looks = {other: look(other, counts=True) for other in others}
    steps = Steps()
    changes = Changes(path, looks, name(snapshot(path), looks), steps)
    seen: list[Snapshot] = []

    async def watch() -> None:
        while True:
            seen.append(await changes.next())

    task = asyncio.ensure_future(watch())
    yield changes, steps, seen
    task.cancel()


def texts(seen: list[Snapshot]) -> list[bytes]:
    return [file.content for found in seen for file in found.files if isinstance(file.content, bytes)]


async def test_nothing_is_seen_while_nothing_changes(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("1")
    async with watching(path) as (_, steps, seen):
        await steps.step(5)
        path.touch()
        put(path, "1")
        await steps.step(5)
        assert seen == []
        assert set(steps.slept) == {EVERY}


async def test_a_change_counts_once_it_stands_still(tmp_path: Path) -> None:
    """What an editor has written half of is not taken."""
    path = tmp_path / "a.yaml"
    path.write_text("1")
    async with watching(path) as (_, steps, seen):
        path.write_text("ha")
        await steps.step()
        await steps._sleeps.acquire()  # it has seen it, and waits whether there is more
        path.write_text("half and half")
        steps._go.release()
        await steps.step()
        await steps._sleeps.acquire()
        assert texts(seen) == [b"half and half"]
        assert steps.slept == [EVERY, STILL, STILL, EVERY]


async def test_what_changes_all_the_time_is_not_taken_over_before_it_stands_still(tmp_path: Path) -> None:
    """Somebody writes slowly, in place: each prefix may be a valid configuration, with less policy than the whole. Whoever asks
    for it gets it all the same.
    """
    path = tmp_path / "a.yaml"
    path.write_text("1")
    async with watching(path) as (changes, steps, seen):
        for number in range(2 * RESTLESS):
            await steps._sleeps.acquire()
            path.write_text(f"version {number}")
            steps._go.release()
        await steps._sleeps.acquire()
        assert seen == []
        changes.asked.set()
        path.write_text("asked for")
        steps._go.release()
        await steps._sleeps.acquire()
        assert texts(seen) == [b"asked for"]


async def test_a_change_that_is_undone_meanwhile_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("1")
    async with watching(path) as (_, steps, seen):
        path.unlink()
        await steps.step()
        await steps._sleeps.acquire()
        path.write_text("1")
        steps._go.release()
        await steps.step(3)
        assert seen == []


async def test_whoever_asks_gets_it_at_once_changed_or_not(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("1")
    async with watching(path) as (changes, steps, seen):
        await steps._sleeps.acquire()
        changes.asked.set()
        await steps._sleeps.acquire()
        assert texts(seen) == [b"1"]
        assert changes.forced
        assert not changes.asked.is_set()


async def test_a_file_that_it_refers_to_is_a_change_too(tmp_path: Path) -> None:
    path, other = tmp_path / "a.yaml", tmp_path / "tokens"
    path.write_text("1")
    other.write_text("one")
    async with watching(path, other) as (_, steps, seen):
        put(other, "two")
        await steps.step(2)
        await steps._sleeps.acquire()
        assert len(seen) == 1


async def test_what_was_refused_is_tried_again_when_what_it_lacked_comes(tmp_path: Path) -> None:
    """And not before, whatever it was made of."""
    path, other, lacking = tmp_path / "a.yaml", tmp_path / "tokens", tmp_path / "more"
    path.write_text("1")
    other.write_text("one")
    async with watching(path, other) as (changes, steps, seen):
        put(other, "two")
        put(path, "2")
        await steps.step(2)
        await steps._sleeps.acquire()
        changes.tried(seen[0], {lacking: look(lacking, counts=True)})
        steps._go.release()
        await steps.step(3)
        await steps._sleeps.acquire()
        assert len(seen) == 1
        lacking.write_text("here")
        steps._go.release()
        await steps.step()
        await steps._sleeps.acquire()
        assert len(seen) == 2


async def test_only_what_is_in_force_counts_once_it_is(tmp_path: Path) -> None:
    path, other = tmp_path / "a.yaml", tmp_path / "tokens"
    path.write_text("1")
    other.write_text("one")
    async with watching(path, other) as (changes, steps, seen):
        await steps._sleeps.acquire()
        changes.accepted(snapshot(path), {})
        other.unlink()
        steps._go.release()
        await steps.step(3)
        assert seen == []


async def test_a_folder_that_goes_and_comes_back(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "a.yaml").write_text("1")
    async with watching(folder) as (_, steps, seen):
        (folder / "a.yaml").unlink()
        folder.rmdir()
        await steps.step(2)
        await steps._sleeps.acquire()
        assert texts(seen) == []
        assert len(seen) == 1
        folder.mkdir()
        (folder / "a.yaml").write_text("1")
        steps._go.release()
        await steps.step()
        await steps._sleeps.acquire()
        assert texts(seen) == [b"1"]
