"""A process that follows its configuration: what it takes over, what it refuses, and what it says of that."""

import asyncio
import errno
import os
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.reload.changes import AGAIN, EVERY, STILL
from extproc.reload.following import Follower
from extproc.reload.source import Loaded, Source
from extproc.worker import Worker
from tests.e2e.gateway import PII, quota
from tests.e2e.processes import short_directory
from tests.reload.making import KEPT, Steps, following, offer, put, told, write


def counted(follower: Follower) -> dict[str, float]:
    series = follower.worker.condition.series
    results = ("accepted", "refused", "unchanged")
    found = {result: series.reloads.labels(result)._value.get() for result in results}
    return {**found, "now": series.refused._value.get()}


async def test_a_change_is_taken_over(tmp_path: Path) -> None:
    async with following(write(tmp_path, quota(5))) as follower:
        before, engine = told(follower), follower.worker.engine
        write(tmp_path, quota(6))
        await offer(follower)
        after = told(follower)
        assert follower.worker.engine is not engine
        assert (before["generation"], after["generation"]) == (1, 2)
        assert before["hash"] != after["hash"]
        assert follower.worker.engine.generation not in (engine.generation, after["hash"])
        assert after["problem"] == []
        assert counted(follower) == {"accepted": 1, "refused": 0, "unchanged": 0, "now": 0}


async def test_a_bad_one_keeps_the_last_good_one_and_says_what_check_says(tmp_path: Path) -> None:
    path = write(tmp_path, quota(5, algorithm="fixed-window"))
    async with following(path) as follower:
        engine = follower.worker.engine
        put(path, path.read_text().replace("fixed-window", "fixed-windows"))
        await offer(follower)
        assert follower.worker.engine is engine
        (problem,) = told(follower)["problem"]
        assert problem.startswith(f"{path}:")
        assert "limits[0].algorithm" in problem
        assert counted(follower) == {"accepted": 0, "refused": 1, "unchanged": 0, "now": 1}
        assert follower.worker._health().notes[0].startswith("the configuration on disk is refused since ")
        assert str(path) not in follower.worker._health().notes[0]


async def test_undoing_a_bad_one_is_no_reload(tmp_path: Path) -> None:
    path = write(tmp_path, quota(5))
    async with following(path) as follower:
        engine, good = follower.worker.engine, path.read_text()
        put(path, "nothing: of ours")
        await offer(follower)
        put(path, good)
        await offer(follower)
        assert follower.worker.engine is engine
        assert told(follower)["problem"] == []
        assert told(follower)["refusedAt"] is None
        assert counted(follower) == {"accepted": 0, "refused": 1, "unchanged": 1, "now": 0}
        assert follower.worker._health().notes == ()


async def test_good_and_bad_in_turn(tmp_path: Path) -> None:
    path = write(tmp_path, quota(5))
    async with following(path) as follower:
        for number in range(1, 9):
            write(tmp_path, quota(number)) if number % 2 else put(path, f"bad: {number}")
            await offer(follower)
            assert bool(told(follower)["problem"]) is (number % 2 == 0)
        assert told(follower)["generation"] == 5
        await follower.worker._generations.sweep()
        assert len(follower.worker.first.source.kept) == KEPT


async def test_whoever_asks_gets_it_loaded_though_it_did_not_change(tmp_path: Path) -> None:
    async with following(write(tmp_path)) as follower:
        before = told(follower)
        await offer(follower, asked=True)
        assert told(follower)["hash"] == before["hash"]
        assert told(follower)["generation"] == 2


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("gateway", "egress/other"),
        ("listen", [{"address": "127.0.0.1:9001", "insecure": True}]),
        ("admin", "127.0.0.1:9091"),
        ("workers", 3),
    ],
)
async def test_what_a_process_has_for_life_is_refused_whole(tmp_path: Path, field: str, value: Any) -> None:
    """With the policy beside it, though that one could be taken over."""
    path = write(tmp_path)
    async with following(path) as follower:
        engine = follower.worker.engine
        write(tmp_path, **{field: value})
        text = path.read_text()
        put(path, text.replace("name: egress\n", "name: other\n") if field == "gateway" else text)
        await offer(follower)
        assert follower.worker.engine is engine
        (problem,) = told(follower)["problem"]
        assert f"`{field}` cannot change while the server runs: restart it" in problem
        assert problem.startswith(f"{path}:")


async def test_a_setting_of_the_command_line_counts_instead(tmp_path: Path) -> None:
    path = write(tmp_path)
    worker = Worker(Source(path, admin="127.0.0.1:1").start(), "127.0.0.1:0", lambda: 0)
    follower = Follower(worker)
    write(tmp_path, admin="127.0.0.1:9099")
    await offer(follower)
    assert told(follower)["problem"] == []
    await worker.stop()


async def test_bodies_may_not_become_larger_than_there_is_room_for(tmp_path: Path) -> None:
    async with following(write(tmp_path, PII)) as follower:
        larger = {**PII, "config": {**PII["config"], "maxBodyBytes": 1048577}}
        write(tmp_path, larger)
        await offer(follower)
        (problem,) = told(follower)["problem"]
        assert "reads bodies of up to 1048577 bytes, and the server was started for 1048576: restart it" in problem
        write(tmp_path, {**PII, "config": {**PII["config"], "maxBodyBytes": 1000}})
        await offer(follower)
        assert told(follower)["problem"] == []


async def test_what_envoy_does_not_know_yet_is_said(tmp_path: Path) -> None:
    async with following(write(tmp_path)) as follower:
        write(tmp_path, quota(5))
        await offer(follower)
        assert told(follower)["envoy"] == []
        write(tmp_path, PII, budget="900ms")
        await offer(follower)
        (sentence,) = told(follower)["envoy"]
        assert sentence.startswith("Envoy's configuration must be generated anew")
        assert sentence.endswith("request body, budget, hosts changed")
        write(tmp_path)
        await offer(follower)
        assert told(follower)["envoy"] == []


async def test_a_defect_while_loading_is_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with following(write(tmp_path)) as follower:
        engine = follower.worker.engine
        monkeypatch.setattr("extproc.reload.source.plan_of", lambda _: {}["canary"])
        write(tmp_path, quota(5))
        await offer(follower)
        assert told(follower)["problem"] == [f"{tmp_path}/config.yaml: it could not be loaded: a defect, KeyError"]
        assert follower.worker.engine is engine


async def test_what_could_not_be_loaded_for_want_of_memory_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with following(write(tmp_path)) as follower:
        steps = Steps()

        def full(_: object) -> None:
            monkeypatch.setattr("extproc.reload.source.plan_of", lambda _: None)
            raise MemoryError

        monkeypatch.setattr("extproc.reload.source.plan_of", full)
        follower.changes.sleep = steps
        running = asyncio.ensure_future(follower.run())
        write(tmp_path, quota(5))
        await steps.step(2)
        await steps._sleeps.acquire()
        assert told(follower)["problem"] == [f"{tmp_path}/config.yaml: it could not be loaded: a defect, MemoryError"]
        steps._go.release()
        await steps.step()
        await steps._sleeps.acquire()
        running.cancel()
        assert (told(follower)["problem"], told(follower)["generation"]) == ([], 2)
        assert steps.slept == [EVERY, STILL, AGAIN, STILL, EVERY]


async def test_what_could_not_be_taken_over_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as for want of a descriptor: the same configuration is good a moment later."""
    async with following(write(tmp_path)) as follower:
        steps, prepare = Steps(), follower.worker.prepare

        async def fails(loaded: Loaded) -> None:
            monkeypatch.setattr(Worker, "prepare", lambda _, loaded: prepare(loaded))
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), "canary")

        monkeypatch.setattr(Worker, "prepare", lambda _, loaded: fails(loaded))
        follower.changes.sleep = steps
        running = asyncio.ensure_future(follower.run())
        write(tmp_path, quota(5))
        await steps.step(2)
        await steps._sleeps.acquire()
        again = "it could not be taken over: Too many open files; it is tried again every 10 s"
        assert told(follower)["problem"] == [again]
        steps._go.release()
        await steps.step()
        await steps._sleeps.acquire()
        running.cancel()
        assert told(follower)["problem"] == []
        assert told(follower)["generation"] == 2
        assert steps.slept == [EVERY, STILL, AGAIN, STILL, EVERY]


async def test_status_and_readiness_over_http(tmp_path: Path) -> None:
    path = write(tmp_path)
    worker = Worker(Source(path).start(), f"unix://{tmp_path}/admin.sock", lambda: 0)
    await worker.start()
    worker.serves()
    follower = Follower(worker)
    put(path, "bad: 1")
    await offer(follower)
    transport = httpx.AsyncHTTPTransport(uds=str(tmp_path / "admin.sock"))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        ready = await client.get("/readyz")
        alive = await client.get("/healthz")
        status = (await client.get("/status")).json()["configuration"]
        metrics = (await client.get("/metrics")).text
    await worker.stop()
    assert ready.status_code == 200
    assert ready.text.startswith("ok\nthe configuration on disk is refused since ")
    assert alive.text == "ok\n"
    (problem,) = status["problem"]
    assert problem.startswith(f"{path}:1: document 1: this is no document of a configuration")
    assert 'extproc_configuration_reloads_total{result="refused"} 1.0' in metrics
    assert "extproc_configuration_refused 1.0" in metrics
    assert f'extproc_configuration_info{{hash="{status["hash"]}"}} 1.0' in metrics
    assert "extproc_configuration_generations 1.0" in metrics


STEPS = st.lists(st.sampled_from(["good", "good again", "bad", "half", "gone", "pipe", "folder", "same"]), max_size=8)


@given(STEPS)
@settings(max_examples=25, deadline=None)
def test_whatever_is_on_disk_the_last_good_one_is_in_force(steps: list[str]) -> None:
    """And what is wrong is told, if what is there now is not that one."""

    async def play(folder: Path) -> None:
        path = write(folder, quota(1))
        good = path.read_text()
        async with following(path) as follower:
            force, wrong = good, False
            for step in steps:
                _remove(path)
                force, wrong = _put(path, step, force)
                await offer(follower)
                assert bool(told(follower)["problem"]) is wrong
                assert f"requests: {_limit(follower)}" in force
            await follower.worker._generations.sweep()
            assert len(follower.worker._generations._former) == 0
            assert len(follower.worker.first.source.kept) == KEPT

    with short_directory() as folder:
        asyncio.run(play(folder))


def _limit(follower: Follower) -> int:
    (found,) = [one for one in follower.worker.resolved.extensions if one.name == "quota"]
    limit: int = found.attachment.spec.config["limits"][0]["requests"]
    return limit


def _remove(path: Path) -> None:
    if path.is_dir():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def _put(path: Path, step: str, force: str) -> tuple[str, bool]:
    """Put this there; what is in force then, and whether what is there is wrong."""
    if step in ("good", "good again"):
        force = (
            force.replace("requests: 1", "requests: 2")
            if step == "good"
            else force.replace("requests: 2", "requests: 1")
        )
    if step in ("good", "good again", "same"):
        path.write_text(force)
        return force, False
    if step == "bad":
        path.write_text(force.replace("requests:", "request:"))
    elif step == "half":
        path.write_text(force[: len(force) // 2])
    elif step == "pipe":
        os.mkfifo(path)
    elif step == "folder":
        path.mkdir()
    return force, True
