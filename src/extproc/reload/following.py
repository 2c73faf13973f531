"""A process that takes over what changes: by itself, or as its parent says."""

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import orjson
import structlog

from extproc.reload.changes import Changes
from extproc.reload.condition import Condition, bounded
from extproc.reload.snapshot import Snapshot, name, reread
from extproc.reload.source import Declined, Loaded
from extproc.tether import Tether
from extproc.worker import Worker

log = structlog.get_logger("extproc.reload")

TURN: Final = 0.0005
"""Seconds after which the thread that loads must let others go on, if they want to."""

DEFECT: Final = "it could not be taken over: a defect, the log has more"


@dataclass(slots=True)
class Follower:
    """Of a process that nobody tells. `changes` is what it watches."""

    worker: Worker
    changes: Changes = field(init=False)

    def __post_init__(self) -> None:
        first = self.worker.first
        self.changes = Changes(first.source.path, first.looks, first.name)

    async def run(self) -> None:
        """Until cancelled. Whatever becomes of one change, the next one is seen."""
        while True:
            try:
                found = await self.changes.next()
                await self.offer(found, asked=self.changes.forced)
            except Exception:
                log.exception("reload_failed")
                self.worker.condition.refused((DEFECT,))

    async def offer(self, found: Snapshot, *, asked: bool) -> None:
        """Take over what was found, or say why not."""
        worker, force = self.worker, self.worker.loaded
        if not asked and is_in_force(found, self.changes, force):
            self.changes.accepted(found, force.looks)
            worker.condition.unchanged()
            log.info("configuration_unchanged", hash=force.hash)
            return
        try:
            loaded = await load(worker.first, found)
        except Declined as declined:
            self.changes.tried(found, declined.looks)
            worker.condition.refused(map(str, declined.errors))
            log_refused(declined, force)
            return
        await worker.prepare(loaded)
        worker.commit()
        self.changes.accepted(found, loaded.looks)
        log_accepted(loaded, worker.condition)


class Line(Protocol):
    """The line to the parent."""

    async def hear(self) -> bytes: ...
    def say(self, line: bytes) -> None: ...


@dataclass(slots=True)
class Obedient:
    """Of a worker: its parent watches, so that all workers have the same one, and says when."""

    worker: Worker
    line: Line

    async def run(self) -> None:
        """Until cancelled. Each question is answered, with the sentences that say what is wrong."""
        while True:
            message = orjson.loads(await self.line.hear())
            try:
                problems = await self._do(message)
            except Exception:
                log.exception("reload_failed")
                problems = (DEFECT,)
            self.line.say(orjson.dumps({"id": message["id"], "problems": problems}))

    async def _do(self, message: Mapping[str, Any]) -> tuple[str, ...]:
        worker, what = self.worker, message["do"]
        if what == "prepare":
            return await self._prepare(await asyncio.to_thread(Path(message["file"]).read_bytes))
        if what == "commit":
            worker.commit()
        elif what == "drop":
            await worker.drop()
        elif what == "refused":
            worker.condition.refused(message["problems"])
        else:
            worker.condition.unchanged()
        return ()

    async def _prepare(self, data: bytes) -> tuple[str, ...]:
        try:
            loaded = await load(self.worker.first, reread(data))
        except Declined as declined:
            return bounded(map(str, declined.errors))
        await self.worker.prepare(loaded)
        return ()


def following(worker: Worker, tied: Tether | None) -> Follower | Obedient:
    """What is to run beside a worker that serves."""
    return Obedient(worker, tied) if tied else Follower(worker)


async def load(first: Loaded, found: Snapshot) -> Loaded:
    """What was found, for a process that was started with `first`. In a thread, which lets exchanges go on as soon as they can,
    and not only after 5 ms. Raises: Declined.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(before, TURN))
    try:
        return await asyncio.to_thread(first.source.load, found, first)
    except Declined as declined:
        await declined.lease.end()
        raise
    finally:
        sys.setswitchinterval(before)


def is_in_force(found: Snapshot, seen: Changes, force: Loaded) -> bool:
    """Whether what was found is what is in force: somebody has undone a change."""
    looks = {path: seen.looks[path] for path in force.looks if path in seen.looks}
    return name(found, looks) == force.name


def log_accepted(loaded: Loaded, condition: Condition) -> None:
    """Say so, and what else there is to do."""
    findings = [str(finding) for finding in loaded.resolved.findings]
    log.info("configuration_accepted", hash=loaded.hash, findings=findings)
    for sentence in condition.envoy:
        log.warning("envoy_outdated", problem=sentence)


def log_refused(declined: Declined, force: Loaded) -> None:
    """Say why, as `extproc check` does, one line for each."""
    for problem in bounded(map(str, declined.errors)):
        log.error("configuration_refused", problem=problem, in_force=force.hash)
