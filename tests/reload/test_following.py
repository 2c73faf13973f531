"""A process that follows its configuration: what it takes over, what it keeps, what it refuses and says."""

import asyncio
import errno
import gc
import os
import threading
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.core.session import Session
from extproc.errors import ConfigError, Unavailable
from extproc.policy import read
from extproc.ports import Algorithm, Demand
from extproc.reload.changes import AGAIN, EVERY, STILL
from extproc.reload.following import CHANGED, Follower, Obedient
from extproc.reload.snapshot import name, reread, snapshot, written
from extproc.reload.source import Loaded, Source
from extproc.worker import Worker
from tests.e2e.gateway import PII, quota, tokens
from tests.e2e.processes import short_directory
from tests.reload.making import Steps, following, put, write

KEPT = 2
"""What one configuration of these tests borrows: its file secrets, and what is known of tokens."""

REDIS = {"redis": {"url": "unix:///nowhere/redis.sock"}}


async def offer(follower: Follower, *, asked: bool = False) -> None:
    """What is on disk now."""
    changes = follower.changes
    seen = await changes._look()
    changes.looks, changes.name = seen.looks, seen.name
    await follower.offer(seen.snapshot, asked=asked)


def told(follower: Follower) -> dict[str, Any]:
    return follower.worker.condition.status()


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
    path = write(tmp_path, quota(5))
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


def _redis(number: int = 5) -> dict[str, Any]:
    found = quota(number)
    return {**found, "config": {**found["config"], "store": "redis"}}


async def test_a_refused_one_leaves_nothing_behind(tmp_path: Path) -> None:
    path = write(tmp_path)
    async with following(path) as follower:
        before = len(follower.worker.first.source.kept)
        write(tmp_path, _redis(), connections=REDIS)
        put(path, path.read_text().replace("window: 1h", "window: 1x"))
        await offer(follower)
        assert told(follower)["problem"]
        assert len(follower.worker.first.source.kept) == before


async def test_what_is_known_of_tokens_stays_known(tmp_path: Path) -> None:
    """Else each reload would send every caller to the API server at once."""
    path = write(tmp_path)
    text = path.read_text()
    static = "static:\n          path: tokens"
    assert static in text
    put(path, text.replace(static, "kubernetes: {}"))
    async with following(path) as follower:
        first = _reviews(follower)
        put(path, path.read_text().replace("ai-workloads", "other-team"))
        await offer(follower)
        assert told(follower)["problem"] == []
        assert _reviews(follower) is first
        put(path, path.read_text().replace("audiences:\n      - egress", "audiences:\n      - elsewhere"))
        await offer(follower)
        assert _reviews(follower) is not first


def _reviews(follower: Follower) -> Any:
    (found,) = [one for one in follower.worker.resolved.extensions if one.name == "authn"]
    reviews: Any = found.link.filter
    return reviews._reviews


async def test_a_token_that_was_taken_out_of_the_file_is_nobodys_at_once(tmp_path: Path) -> None:
    async with following(write(tmp_path)) as follower:
        assert await _reviews(follower).peer("token-of-ai-workloads", "") is not None
        before, engine = told(follower)["hash"], follower.worker.engine
        put(tmp_path / "tokens", tokens().replace("token-of-ai-workloads", "another-token"))
        await offer(follower)
        assert told(follower)["generation"] == 2
        assert follower.worker.engine.generation != engine.generation
        assert told(follower)["hash"] == before, "whoever knows the documents could try tokens until the hash fits"
        assert await _reviews(follower).peer("token-of-ai-workloads", "") is None


async def test_a_token_file_that_is_replaced_for_a_moment_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in force is what was looked at: otherwise a token that was there for a moment would be good until the next
    change, since the file looks as before.
    """
    path, contents = tmp_path / "tokens", read.content

    def swapped(shown: Path, real: Path) -> bytes | ConfigError:
        found = contents(shown, real)
        if real == path:
            put(path, tokens().replace("token-of-ai-workloads", "another-token"))
        return found

    async with following(write(tmp_path)) as follower:
        write(tmp_path, quota(5))
        seen = await follower.changes._look()
        monkeypatch.setattr(read, "content", swapped)
        await follower.offer(seen.snapshot, asked=False)
        monkeypatch.undo()
        assert told(follower)["problem"] == []
        assert await _reviews(follower).peer("another-token", "") is None
        assert await _reviews(follower).peer("token-of-ai-workloads", "") is not None
        assert follower.changes.name != (await follower.changes._look()).name, "the next look sees what came meanwhile"


async def test_a_token_file_that_was_not_there_a_moment_ago_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with following(write(tmp_path)) as follower:
        write(tmp_path, quota(5))
        seen = await follower.changes._look()
        gone = ConfigError("there is no such file")
        monkeypatch.setattr(read, "content", lambda _shown, _real: gone)
        await follower.offer(seen.snapshot, asked=False)
        monkeypatch.undo()
        assert "the token file was not there a moment ago" in told(follower)["problem"][0]


async def test_a_worker_takes_over_nothing_that_its_parent_has_not_seen(tmp_path: Path) -> None:
    """Its documents are the parent's; the token file is read by each."""
    path = write(tmp_path)
    async with following(path) as follower:
        worker, engine = follower.worker, follower.worker.engine
        write(tmp_path, quota(5))
        file = tmp_path / "good.json"
        file.write_bytes(written(snapshot(path)))
        asked = _asks(file, worker)
        put(tmp_path / "tokens", tokens().replace("token-of-ai-workloads", "another-token"))
        parent = Parent(asked, b'{"id": 2, "do": "commit"}', b'{"id": 3, "do": "name", "name": "another"}')
        await _hears(worker, parent)
        assert worker.engine is engine
        assert [CHANGED.encode() in one for one in parent.heard] == [True, False, True]
        assert len(worker.first.source.kept) == KEPT


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


async def test_a_token_file_that_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    async with following(write(tmp_path)) as follower:
        (tmp_path / "tokens").unlink()
        os.mkfifo(tmp_path / "tokens")
        await asyncio.wait_for(offer(follower), 20)
        assert "it is no regular file" in told(follower)["problem"][0]
        (tmp_path / "tokens").unlink()
        (tmp_path / "tokens").write_text(tokens())
        await offer(follower)
        assert told(follower)["problem"] == []


async def test_secrets_are_in_no_sentence(tmp_path: Path) -> None:
    async with following(write(tmp_path)) as follower:
        (tmp_path / "tokens").write_text("tokens: [{token: canary-token, user: x}]")
        await offer(follower)
        assert told(follower)["problem"]
        assert "canary" not in str(told(follower))


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


class Parent:
    """What a parent says, in turn, and what it hears."""

    def __init__(self, *said: bytes) -> None:
        self.said, self.heard = list(said), list[bytes]()

    async def hear(self) -> bytes:
        if not self.said:
            raise asyncio.CancelledError
        return self.said.pop(0)

    def say(self, line: bytes) -> None:
        self.heard.append(line)


async def test_a_worker_does_as_its_parent_says(tmp_path: Path) -> None:
    path = write(tmp_path)
    async with following(path) as follower:
        worker, engine = follower.worker, follower.worker.engine
        write(tmp_path, quota(5))
        (tmp_path / "good.json").write_bytes(written(snapshot(path)))
        put(path, "bad: 1")
        (tmp_path / "bad.json").write_bytes(written(snapshot(path)))
        good, bad = (_asks(tmp_path / f"{name}.json", worker) for name in ("good", "bad"))
        parent = Parent(good, b'{"id": 2, "do": "drop"}', bad, b'{"id": 3, "do": "commit"}')
        await _hears(worker, parent)
        assert worker.engine is engine
        assert parent.heard[:2] == [b'{"id":1,"problems":[]}', b'{"id":2,"problems":[]}']
        assert b"no document of a configuration" in parent.heard[2]
        assert b"a defect" in parent.heard[3], "there is nothing to go over to"
        parent = Parent(good, b'{"id": 4, "do": "commit"}', b'{"id": 5, "do": "refused", "problems": ["x"]}')
        await _hears(worker, parent)
        assert worker.engine is not engine
        assert worker.condition.problems == ("x",)
        parent = Parent(b'{"id": 6, "do": "live"}')
        await _hears(worker, parent)
        assert parent.heard == [b'{"id":6,"problems":[]}']
        assert worker.condition.problems == ("x",)
        await _hears(worker, Parent(b'{"id": 7, "do": "unchanged"}'))
        assert worker.condition.problems == ()


def _asks(file: Path, worker: Worker, **more: str) -> bytes:
    """To prepare what is in this file, as a parent does who read the same."""
    found = reread(file.read_bytes())
    return orjson.dumps({"id": 1, "do": "prepare", "file": str(file), "name": name(found, worker.loaded.looks), **more})


async def _hears(worker: Worker, parent: Parent) -> None:
    with pytest.raises(asyncio.CancelledError):
        await Obedient(worker, parent).run()


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
