"""The parent of workers watches for them, so that all have the same configuration: it judges what it finds, lets each worker
make it ready, and only when all have done so tells them to go over. In between a try of an exchange finds its configuration in
every worker, whichever it comes to.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import structlog

from extproc.reload.changes import Changes
from extproc.reload.condition import bounded, outdated
from extproc.reload.following import DEFECT, is_in_force, load, log_refused
from extproc.reload.snapshot import Snapshot, written
from extproc.reload.source import Declined, Loaded
from extproc.workers import Crew

log = structlog.get_logger("extproc.reload")

KEPT: Final = 8
"""Files of configurations that were in force: a worker may just be starting with one."""

PATIENCE: Final = 60.0
"""Seconds for one answer of a worker."""

Message = Mapping[str, Any]


def led(crew: Crew, first: Loaded, folder: Path) -> Crew:
    """`crew` with a leader, whose files are in `folder`."""
    crew.leader = Leader(first, folder, crew)
    return crew


@dataclass(slots=True)
class Leader:
    """`first` is what the workers are started with; what is in force is written into `folder`, for those that come later."""

    first: Loaded
    folder: Path
    crew: Crew
    changes: Changes = field(init=False)
    _force: Loaded = field(init=False)
    _files: list[Path] = field(init=False)
    _problems: tuple[str, ...] = ()
    _number: int = 0
    _behind: dict[int, str] = field(default_factory=dict)
    _talking: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self._force = self.first
        self._files = [self._write(self.first.snapshot)]
        self.changes = Changes(self.first.source.path, self.first.looks, self.first.name)

    def starts(self, index: int) -> Path:
        """A worker is started now: the file of what it is to serve."""
        self._behind[index] = self._force.name
        return self._files[-1]

    async def serves(self, index: int) -> None:
        """A worker serves now: what happened while it started is told to it."""
        async with self._talking:
            if self._behind.get(index) != self._force.name:
                if problems := await self._prepared([index], self._files[-1]):
                    log.error("worker_behind", worker=index, problems=problems)
                    return
                await self._over([index])
            if self._problems:
                await self._tell([index], {"do": "refused", "problems": self._problems})

    def again(self) -> None:
        """Read it now, whether it changed or not."""
        self.changes.asked.set()

    async def run(self) -> None:
        """Until cancelled. Whatever becomes of one change, the next one is seen."""
        while True:
            try:
                found = await self.changes.next()
                async with self._talking:
                    await self.offer(found, asked=self.changes.forced)
            except Exception:
                log.exception("reload_failed")
                await self._refused((DEFECT,))

    async def offer(self, found: Snapshot, *, asked: bool) -> None:
        """Let all workers take over what was found, or none."""
        if not asked and is_in_force(found, self.changes, self._force):
            self.changes.accepted(found, self._force.looks)
            self._problems = ()
            await self._tell(self.crew.serving(), {"do": "unchanged"})
            return
        try:
            loaded = await load(self.first, found)
        except Declined as declined:
            self.changes.tried(found, declined.looks)
            log_refused(declined, self._force)
            await self._refused(map(str, declined.errors))
            return
        await loaded.lease.end()  # the parent itself asks nothing
        file, workers = self._write(found), self.crew.serving()
        if problems := await self._prepared(workers, file):
            file.unlink()
            self.changes.tried(found, loaded.looks)
            for problem in problems:
                log.error("configuration_refused", problem=problem, in_force=self._force.hash)
            await self._refused(problems)
            return
        self.changes.accepted(found, loaded.looks)
        await self._commit(loaded, file, workers)

    async def _commit(self, loaded: Loaded, file: Path, workers: Sequence[int]) -> None:
        self._files.append(file)
        longer = loaded.resolved.settings.drain_seconds - self._force.resolved.settings.drain_seconds
        self.crew.patience = replace(self.crew.patience, drain=self.crew.patience.drain + longer)
        self._force, self._problems = loaded, ()
        await self._over(workers)
        while len(self._files) > KEPT:
            self._files.pop(0).unlink()
        log.info("configuration_accepted", hash=loaded.hash, findings=[str(one) for one in loaded.resolved.findings])
        for sentence in outdated(self.first, loaded):
            log.warning("envoy_outdated", problem=sentence)

    async def _prepared(self, workers: Sequence[int], file: Path) -> tuple[str, ...]:
        """What a worker finds wrong with it; then no worker keeps it. One that gives no answer ends, or will be ended, and its
        successor begins with what is in force by then.
        """
        answers = await self._tell(workers, {"do": "prepare", "file": str(file)})
        wrong = [f"worker {index}: {one}" for index, told in answers.items() for one in told]
        if wrong:
            await self._tell(workers, {"do": "drop"})
        return bounded(wrong)

    async def _over(self, workers: Sequence[int]) -> None:
        """Let these go over to what is in force."""
        for index, wrong in (await self._tell(workers, {"do": "commit"})).items():
            if wrong:
                log.error("worker_behind", worker=index, problems=wrong)
            else:
                self._behind[index] = self._force.name

    async def _refused(self, problems: Iterable[str]) -> None:
        self._problems = bounded(problems)
        await self._tell(self.crew.serving(), {"do": "refused", "problems": self._problems})

    async def _tell(self, workers: Sequence[int], message: Message) -> dict[int, list[str]]:
        """Tell these at once; what is wrong, by each that answered."""
        answers = await asyncio.gather(*(self.crew.ask(index, message, PATIENCE) for index in workers))
        return {index: told["problems"] for index, told in zip(workers, answers, strict=True) if told}

    def _write(self, found: Snapshot) -> Path:
        self._number += 1
        path = self.folder / f"configuration-{self._number}.json"
        path.write_bytes(written(found))
        return path
