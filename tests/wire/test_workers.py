"""Real processes: kept running, stopped as asked, and never left behind."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog

from extproc.tether import KEY, TETHER, shared_key, tether
from extproc.workers import ENDED, REFUSED, Crew, Patience

HERE = Path(__file__).parent


def crew_of(folder: Path, *deeds: str, **more: object) -> Crew:
    def command(index: int) -> list[str]:
        return [sys.executable, str(HERE / "worker_program.py"), str(folder), str(index), deeds[index]]

    return Crew(len(deeds), command, **more)  # type: ignore[arg-type]


def starts(folder: Path, index: int) -> list[int]:
    path = folder / f"{index}.starts"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def when(crew: Crew, condition: Callable[[int], bool]) -> asyncio.Event:
    """An event that is set once `condition` holds for the number of workers that are ready."""
    event = asyncio.Event()

    def told(ready: int) -> None:
        if condition(ready):
            event.set()

    crew.on_change = told
    return event


async def test_all_become_ready_and_drain_on_sigterm(folder: Path) -> None:
    crew = crew_of(folder, "serve", "serve")
    all_ready = when(crew, lambda ready: ready == 2)
    running = asyncio.ensure_future(crew.run())
    await all_ready.wait()
    crew.stop(signal.SIGTERM)
    assert await running == 0
    assert crew.ready == 0
    assert [(folder / f"{index}.drained").exists() for index in (0, 1)] == [True, True]
    assert [len(starts(folder, index)) for index in (0, 1)] == [1, 1]


async def test_sigint_ends_at_once_even_who_does_not_listen(folder: Path) -> None:
    crew = crew_of(folder, "serve", "deaf", patience=Patience(end=0.1))
    all_ready = when(crew, lambda ready: ready == 2)
    running = asyncio.ensure_future(crew.run())
    await all_ready.wait()
    crew.stop(signal.SIGINT)
    assert await running == ENDED
    assert not (folder / "1.drained").exists()


async def test_who_does_not_drain_in_time_is_killed_and_told_of(folder: Path) -> None:
    crew = crew_of(folder, "deaf", patience=Patience(drain=0.1))
    ready = when(crew, lambda ready: ready == 1)
    running = asyncio.ensure_future(crew.run())
    await ready.wait()
    crew.stop(signal.SIGTERM)
    assert await running == 1


async def test_a_dead_worker_is_started_again(folder: Path) -> None:
    crew = crew_of(folder, "serve", "serve", sleep=lambda seconds: asyncio.sleep(0))
    all_ready = when(crew, lambda ready: ready == 2)
    running = asyncio.ensure_future(crew.run())
    await all_ready.wait()
    fewer = when(crew, lambda ready: ready == 1)
    os.kill(starts(folder, 1)[0], signal.SIGKILL)
    await fewer.wait()
    again = when(crew, lambda ready: ready == 2)
    await again.wait()
    assert [len(starts(folder, index)) for index in (0, 1)] == [1, 2]
    crew.stop(signal.SIGTERM)
    assert await running == 0


async def test_one_that_does_not_serve_in_time_is_started_again(folder: Path) -> None:
    async def more_patient(seconds: float) -> None:
        crew.patience = Patience()

    crew = crew_of(folder, "serve", sleep=more_patient, patience=Patience(start=0))
    ready = when(crew, lambda ready: ready == 1)
    with structlog.testing.capture_logs() as logs:
        running = asyncio.ensure_future(crew.run())
        await ready.wait()
    assert [each["event"] for each in logs] == ["worker_late", "worker_died", "worker_ready"]
    crew.stop(signal.SIGTERM)
    assert await running == 0


async def test_one_that_cannot_be_started_again_is_tried_later_and_costs_no_other(folder: Path) -> None:
    """There is no process to be had, or no memory."""
    pauses: list[float] = []

    async def rest(seconds: float) -> None:
        pauses.append(seconds)
        crew.command = good if len(pauses) > 1 else lambda index: ["/nowhere/at/all"]

    crew = crew_of(folder, "serve", "serve", sleep=rest)
    good = crew.command
    all_ready = when(crew, lambda ready: ready == 2)
    running = asyncio.ensure_future(crew.run())
    await all_ready.wait()
    again = when(crew, lambda ready: ready == 2)
    os.kill(starts(folder, 1)[0], signal.SIGKILL)
    await again.wait()
    assert pauses == [0.5, 1.0]
    assert [len(starts(folder, index)) for index in (0, 1)] == [1, 2]
    crew.stop(signal.SIGTERM)
    assert await running == 0


async def test_the_pause_between_two_starts_doubles_up_to_a_bound(folder: Path) -> None:
    pauses: list[float] = []

    async def note(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 5:
            crew.stop(signal.SIGTERM)

    crew = crew_of(folder, "die", sleep=note, patience=Patience(first=0.5, longest=3.0))
    assert await crew.run() == 1
    assert pauses == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert len(starts(folder, 0)) == 5


async def test_a_stop_does_not_wait_for_the_pause(folder: Path) -> None:
    async def for_ever(seconds: float) -> None:
        crew.stop(signal.SIGTERM)
        await asyncio.Event().wait()

    crew = crew_of(folder, "die", sleep=for_ever)
    assert await crew.run() == 1
    assert len(starts(folder, 0)) == 1


async def test_a_refused_configuration_ends_all(folder: Path) -> None:
    crew = crew_of(folder, "serve", "refuse")
    assert await crew.run() == REFUSED
    assert len(starts(folder, 1)) == 1


async def test_a_command_that_cannot_be_run_leaves_nobody_behind(folder: Path) -> None:
    crew = crew_of(folder, "serve", "serve")
    crew.command = lambda index: crew_of(folder, "serve").command(0) if index == 0 else ["/nowhere/at/all"]
    with pytest.raises(ExceptionGroup):
        await crew.run()
    assert crew.ready == 0


def test_a_process_that_was_started_by_itself_has_no_tie() -> None:
    assert TETHER not in os.environ
    assert tether() is None


def test_it_has_no_key_in_common_either() -> None:
    assert KEY not in os.environ
    assert shared_key() is None


@pytest.mark.parametrize("given", [b"", bytes(31), bytes(33)])
def test_a_key_that_is_not_whole_is_none(given: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.write(writing, given)
    os.close(writing)
    monkeypatch.setenv(KEY, str(reading))
    with pytest.raises(ValueError, match="32"):
        shared_key()
    assert KEY not in os.environ


async def test_all_workers_share_one_key_and_those_that_follow_them_too(folder: Path) -> None:
    async def twice(seconds: float) -> None:
        if len(starts(folder, 0)) + len(starts(folder, 1)) >= 4:
            crew.stop(signal.SIGTERM)

    crew = crew_of(folder, "die", "die", sleep=twice)
    await crew.run()
    keys = [(folder / f"{index}.keys").read_text().splitlines() for index in (0, 1)]
    assert len(set(keys[0] + keys[1])) == 1
    assert sum(map(len, keys)) >= 4
    other = crew_of(folder, "refuse")
    await other.run()
    assert (folder / "0.keys").read_text().splitlines()[-1] != keys[0][0]
    assert repr(crew._key) not in repr(crew)


@asynccontextmanager
async def parent(folder: Path, deed: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A parent in a process of its own, whose workers are ready."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(HERE / "parent_program.py"), str(folder), deed, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout
    while await process.stdout.readline() != b"2\n":
        pass
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.parametrize(("how", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, ENDED)])
async def test_signals_of_the_parent_reach_the_workers(folder: Path, how: signal.Signals, code: int) -> None:
    async with parent(folder, "serve") as process:
        process.send_signal(how)
        assert await process.wait() == code
    assert not any(alive(pid) for index in (0, 1) for pid in starts(folder, index))


async def test_no_worker_survives_a_killed_parent(folder: Path) -> None:
    async with parent(folder, "deaf") as process:
        pids = [pid for index in (0, 1) for pid in starts(folder, index)]
        watches = [os.pidfd_open(pid) for pid in pids]
        process.kill()
        await asyncio.gather(*map(_ended, watches))
    assert len(pids) == 2


async def _ended(watch: int) -> None:
    """Until the process behind a pidfd has ended: then it can be read."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(watch, ended.set)
    await asyncio.wait_for(ended.wait(), 10)
    loop.remove_reader(watch)
    os.close(watch)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
