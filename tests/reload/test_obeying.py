"""A worker, which does as its parent says."""

import asyncio
from pathlib import Path

import orjson
import pytest

from extproc.reload.following import CHANGED, Obedient
from extproc.reload.snapshot import name, reread, snapshot, written
from extproc.worker import Worker
from tests.e2e.gateway import quota, tokens
from tests.reload.making import KEPT, following, put, write


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


def _asks(file: Path, worker: Worker, **more: str) -> bytes:
    """To prepare what is in this file, as a parent does who read the same."""
    found = reread(file.read_bytes())
    return orjson.dumps({"id": 1, "do": "prepare", "file": str(file), "name": name(found, worker.loaded.looks), **more})


async def _hears(worker: Worker, parent: Parent) -> None:
    with pytest.raises(asyncio.CancelledError):
        await Obedient(worker, parent).run()
