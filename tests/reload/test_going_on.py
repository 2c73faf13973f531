"""What goes on from one configuration to the next, and that nothing else is left of the former one."""

import gc
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from extproc.core.session import Session
from extproc.errors import Unavailable
from extproc.ports import Algorithm, Demand
from tests.e2e.gateway import PII, quota
from tests.reload.making import KEPT, following, offer, put, told, write

REDIS = {"redis": {"url": "unix:///nowhere/redis.sock"}}


def _redis(number: int = 5) -> dict[str, Any]:
    found = quota(number)
    return {**found, "config": {**found["config"], "store": "redis"}}


async def test_a_limit_goes_on_counting(tmp_path: Path) -> None:
    path = write(tmp_path, quota(5))
    async with following(path) as follower:
        demand = Demand(b"somebody's", Algorithm.FIXED_WINDOW, 5, 3600.0, 5)
        for number in range(5):
            outside = follower.worker.resolved.outside
            assert outside is not None
            assert (await outside.counters("memory").take([demand])).admitted
            write(tmp_path, quota(6 + number))
            await offer(follower)
        outside = follower.worker.resolved.outside
        assert outside is not None
        assert not (await outside.counters("memory").take([demand])).admitted


async def test_clients_with_the_same_settings_go_on(tmp_path: Path) -> None:
    async with following(write(tmp_path, quota(5), connections=REDIS)) as follower:
        write(tmp_path, _redis(), connections=REDIS)
        await offer(follower)
        first = follower.worker._watch.dependencies["redis"]
        write(tmp_path, _redis(6), connections=REDIS)
        await offer(follower)
        assert follower.worker._watch.dependencies["redis"] is first
        assert follower.worker._watch.status()["redis"]["reachable"] is False, "it was asked before it was in force"
        other = {"redis": {"url": "unix:///nowhere/other.sock"}}
        write(tmp_path, _redis(6), connections=other)
        await offer(follower)
        assert follower.worker._watch.dependencies["redis"] is not first
        write(tmp_path)
        await offer(follower)
        await follower.worker._generations.sweep()
        assert follower.worker._watch.status() == {}
        assert len(follower.worker.first.source.kept) == KEPT


async def test_an_exchange_keeps_what_it_began_with(tmp_path: Path) -> None:
    async with following(write(tmp_path)) as follower:
        session = Session(follower.worker.engine)
        write(tmp_path, quota(5))
        await offer(follower)
        await follower.worker._generations.sweep()
        assert session.engine is not follower.worker.engine
        assert session.engine.admission is follower.worker.engine.admission
        assert session.engine.passports is follower.worker.engine.passports
        assert follower.worker._status()["configuration"]["inUse"] == 2
        session.close()


async def test_exchanges_of_closed_configurations_are_told_that_it_is_unavailable(tmp_path: Path) -> None:
    """One that was given up after its time: what it reached is closed, and says so."""
    async with following(write(tmp_path, _redis(), connections=REDIS)) as follower:
        outside = follower.worker.resolved.outside
        assert outside is not None
        store = outside.counters("redis")
        write(tmp_path)
        await offer(follower)
        await follower.worker._generations.close()
        with pytest.raises(Unavailable):
            await store.take([Demand(b"x", Algorithm.FIXED_WINDOW, 5, 1.0, 5)])


async def test_a_refused_one_leaves_nothing_behind(tmp_path: Path) -> None:
    path = write(tmp_path)
    async with following(path) as follower:
        before = len(follower.worker.first.source.kept)
        write(tmp_path, _redis(), connections=REDIS)
        put(path, path.read_text().replace("window: 1h", "window: 1x"))
        await offer(follower)
        assert told(follower)["problem"]
        assert len(follower.worker.first.source.kept) == before


async def test_a_hundred_configurations_leave_no_file_and_no_thread(tmp_path: Path) -> None:
    """With a Redis that is another one each time, and every fifth refused."""
    async with following(write(tmp_path, _redis(), connections=REDIS)) as follower:
        counts = []
        for number in range(100):
            redis = {"redis": {"url": f"unix:///nowhere/{number}.sock"}}
            write(tmp_path, _redis(number + 1), connections=redis if number % 5 else {"redis": {}})
            await offer(follower)
            await follower.worker._generations.sweep()
            if number in (9, 99):
                gc.collect()
                files = os.listdir("/proc/self/fd")  # noqa: PTH208 - not waited for
                counts.append((len(files), threading.active_count()))
        assert counts[1] <= counts[0]
        assert told(follower)["generation"] == 81


async def test_memory_is_flat(tmp_path: Path) -> None:
    """As many objects after forty configurations as after twenty."""
    async with following(write(tmp_path, PII)) as follower:
        counts = []
        for number in range(40):
            write(tmp_path, quota(number + 1), PII)
            await offer(follower)
            await follower.worker._generations.sweep()
            if number in (19, 39):
                gc.collect()
                counts.append(len(gc.get_objects()))
        assert told(follower)["generation"] == 41
        assert counts[1] <= counts[0] + 100
        assert len(follower.worker._generations) == 1
