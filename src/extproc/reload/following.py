"""A process that takes over what changes: by itself, or as its parent says."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import orjson
import structlog

from extproc.reload.changes import AGAIN, Changes
from extproc.reload.condition import bounded
from extproc.reload.loading import load
from extproc.reload.snapshot import Snapshot, name, reread
from extproc.reload.source import Declined, Loaded
from extproc.reload.thread import in_thread
from extproc.tether import Tether
from extproc.worker import Worker

log = structlog.get_logger("extproc.reload")

CHANGED: Final = "a file that the configuration refers to changed while it was read: it is read again"

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
            except Exception as error:
                log.exception("reload_failed")
                self.worker.condition.refused((trouble(error),))
                self.changes.failed()

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
            self.changes.tried(found, declined.looks, again=declined.again)
            worker.condition.refused(map(str, declined.errors))
            log_refused(map(str, declined.errors), force)
            return
        await worker.prepare(loaded)
        worker.commit()
        self.changes.accepted(found, loaded.looks)
        log_accepted(loaded, worker.condition.envoy)


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
            return await self._prepare(message)
        if what == "name":
            return self._same(worker.loaded, message)
        if what == "commit":
            worker.commit()
        elif what == "drop":
            await worker.drop()
        elif what == "refused":
            worker.condition.refused(message["problems"])
        elif what == "unchanged":
            worker.condition.unchanged()
        return ()  # to `live` too: the answer is what was asked for

    async def _prepare(self, message: Mapping[str, Any]) -> tuple[str, ...]:
        try:
            loaded = await load(self.worker.first, reread(await in_thread(Path(message["file"]).read_bytes, "read")))
        except Declined as declined:
            return bounded(map(str, declined.errors))
        if problems := self._same(loaded, message):
            await loaded.lease.end()
            return problems
        await self.worker.prepare(loaded)
        return ()

    @staticmethod
    def _same(loaded: Loaded, message: Mapping[str, Any]) -> tuple[str, ...]:
        """Whether it was made from what the parent has seen: the documents are the parent's, but not what they refer to."""
        return () if loaded.name == message["name"] else (CHANGED,)


def following(worker: Worker, tied: Tether | None) -> Follower | Obedient:
    """What is to run beside a worker that serves."""
    return Obedient(worker, tied) if tied else Follower(worker)


def trouble(error: Exception) -> str:
    """What is to be said of an error that is none of the configuration's: without its text, which may be anything."""
    why = error.strerror if isinstance(error, OSError) else None
    again = f"it is tried again every {AGAIN:g} s"
    return f"it could not be taken over: {why}; {again}" if why else f"{DEFECT}; {again}"


def is_in_force(found: Snapshot, seen: Changes, force: Loaded) -> bool:
    """Whether what was found is what is in force: somebody has undone a change."""
    looks = {path: seen.looks[path] for path in force.looks if path in seen.looks}
    return name(found, looks) == force.name


def log_accepted(loaded: Loaded, envoy: Iterable[str]) -> None:
    """Say so, and what `envoy` does not know of it."""
    findings = [str(finding) for finding in loaded.resolved.findings]
    log.info("configuration_accepted", hash=loaded.hash, findings=findings)
    for sentence in envoy:
        log.warning("envoy_outdated", problem=sentence)


def log_refused(problems: Iterable[str], force: Loaded) -> None:
    """Say why, as `extproc check` does, one line for each."""
    for problem in bounded(problems):
        log.error("configuration_refused", problem=problem, in_force=force.hash)
