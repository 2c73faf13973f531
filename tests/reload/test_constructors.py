"""Other people's filters while a configuration is loaded: whatever their constructors do, the server goes on."""

import asyncio
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from extproc import Continue, Phase
from extproc.reload.condition import LONGEST, bounded
from extproc.reload.loading import MOST_STUCK, load
from extproc.reload.source import Declined
from extproc.schema import Model
from tests.e2e.gateway import quota
from tests.reload.making import KEPT, following, offer, put, told, write

DO: dict[str, Callable[[], object]] = {}


class Odd:
    """Does in its constructor what a test says."""

    Config = type("OddConfig", (Model,), {})
    phases = frozenset({Phase.REQUEST_HEADERS})

    def __init__(self, config: object, context: object) -> None:
        DO["now"]()

    async def decide(self, phase: Phase, exchange: object) -> Continue:
        return Continue()


class Forgetful(Odd):
    @property
    def caches(self) -> dict[str, object]:
        raise KeyError("canary")


ODD = {"name": "odd", "type": "example.com/Odd:v1", "phase": "request-headers"}


FILTERS = {"example.com/Odd:v1": f"{__name__}:Odd", "example.com/Forgetful:v1": f"{__name__}:Forgetful"}


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit, ValueError])
async def test_whatever_a_constructor_raises_is_a_refusal(tmp_path: Path, error: type[BaseException]) -> None:
    def fail() -> None:
        raise error("canary")

    DO["now"] = fail
    async with following(write(tmp_path)) as follower:
        engine = follower.worker.engine
        write(tmp_path, ODD, filters=FILTERS)
        await offer(follower)
        (problem,) = told(follower)["problem"]
        assert error.__name__ in problem
        assert "canary" not in problem
        assert follower.worker.engine is engine
        del engine
        write(tmp_path, quota(5))
        await offer(follower)
        assert told(follower)["problem"] == []
        await follower.worker._generations.sweep()
        assert len(follower.worker.first.source.kept) == KEPT


async def test_a_constructor_that_never_returns_is_refused_and_not_waited_for(
    tmp_path: Path,
) -> None:
    """Nor at the end of the process: its thread is a daemon. What it borrowed is given back if it returns after all."""
    stuck = threading.Event()
    DO["now"] = lambda: stuck.wait(20)
    async with following(write(tmp_path)) as follower:
        first = follower.worker.first
        source = first.source
        write(tmp_path, ODD, filters=FILTERS)
        seen = await follower.changes._look()
        for _ in range(MOST_STUCK):
            with pytest.raises(Declined, match=r"config.yaml: it was not built within 0\.\d+ s: some extension waits"):
                await load(first, seen.snapshot, 0.01)
        with pytest.raises(Declined, match="4 configurations before it have not been built yet: restart the server"):
            await load(first, seen.snapshot)
        assert all(thread.daemon for thread in threading.enumerate() if thread.name == "load")
        stuck.set()
        async with asyncio.timeout(20):
            while source.stuck:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0)
        assert len(source.kept) == KEPT
        await offer(follower)
        assert told(follower)["problem"] == []


async def test_one_that_cannot_say_what_it_remembers_is_in_force_all_the_same(tmp_path: Path) -> None:
    DO["now"] = lambda: None
    async with following(write(tmp_path)) as follower:
        write(tmp_path, {**ODD, "type": "example.com/Forgetful:v1"}, filters=FILTERS)
        await offer(follower)
        status = told(follower)
        assert (status["generation"], status["problem"]) == (2, [])
        assert follower.changes.name == follower.worker.loaded.name


async def test_one_that_cannot_be_made_ready_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with following(write(tmp_path)) as follower:
        write(tmp_path, quota(5), connections={"redis": {"url": "unix:///nowhere/redis.sock"}})
        monkeypatch.setattr(type(follower.worker._watch), "meet", _fails)
        loaded = await load(follower.worker.first, (await follower.changes._look()).snapshot)
        with pytest.raises(ValueError, match="canary"):
            await follower.worker.prepare(loaded)
        assert follower.worker._generations.next is None
        assert len(follower.worker.first.source.kept) == KEPT


async def _fails(*_: object) -> None:
    raise ValueError("canary")


def test_sentences_are_bounded() -> None:
    """They go in one line to each worker, and whoever is told of more than it reads ends."""
    (one,) = bounded(["x" * 9_000_000])
    assert len(one) == LONGEST
    assert bounded([one]) == (one,)


async def test_the_switch_interval_is_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sys.getswitchinterval()
    async with following(write(tmp_path)) as follower:
        put(tmp_path / "config.yaml", "bad: 1")
        await offer(follower)
        assert sys.getswitchinterval() == before
        seen = (await follower.changes._look()).snapshot
        monkeypatch.setattr(threading.Thread, "start", _no_thread)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            await load(follower.worker.first, seen)
        assert sys.getswitchinterval() == before
        monkeypatch.undo()


def _no_thread(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")
