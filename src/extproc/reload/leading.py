"""The parent of workers watches for them, so that all have the same configuration: it judges what it finds, lets each worker
make it ready, and only when all have done so tells them to go over. In between a try of an exchange finds its configuration in
every worker, whichever it comes to.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import structlog

from extproc.reload.changes import Changes, Sleep
from extproc.reload.condition import bounded, outdated
from extproc.reload.following import CHANGED, DEFECT, is_in_force, log_accepted, log_refused, trouble
from extproc.reload.loading import load
from extproc.reload.snapshot import Snapshot, written
from extproc.reload.source import Declined, Loaded
from extproc.workers import Crew

log = structlog.get_logger("extproc.reload")

KEPT: Final = 8
"""Files of configurations that were in force: a worker may just be starting with one."""

PATIENCE: Final = 60.0
"""Seconds for one answer of a worker."""

PULSE: Final = 15.0
"""Seconds between two questions whether a worker still lives. One that gives no answer serves nobody either."""

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
    sleep: Sleep = asyncio.sleep
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
            if self._behind.get(index) != self._force.name or await self._differs(index):
                await self._catch_up(index)
            if self._problems:
                await self._tell([index], {"do": "refused", "problems": self._problems})

    def again(self) -> None:
        """Read it now, whether it changed or not."""
        self.changes.asked.set()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            group.create_task(self._pulse())

    async def _follow(self) -> None:
        """Whatever becomes of one change, the next one is seen."""
        while True:
            try:
                found = await self.changes.next()
                async with self._talking:
                    await self.offer(found, asked=self.changes.forced)
            except Exception as error:
                log.exception("reload_failed")
                self.changes.failed()
                await self._failed(trouble(error))

    async def _pulse(self) -> None:
        """A worker that hangs is replaced, as it is when it does not answer anything else: its health alone would end all."""
        while True:
            await self.sleep(PULSE)
            try:
                async with self._talking:
                    await self._tell(self.crew.serving(), {"do": "live"})
            except Exception:
                log.exception("pulse_failed")

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
            self.changes.tried(found, declined.looks, again=declined.again)
            errors = bounded(map(str, declined.errors))
            log_refused(errors, self._force)
            await self._refused(errors)
            return
        await loaded.lease.end()  # the parent itself asks nothing
        file, workers = self._write(found), self.crew.serving()
        if problems := await self._prepared(workers, file, loaded.name):
            file.unlink()
            self.changes.tried(found, loaded.looks)
            self._read_again(problems)
            log_refused(problems, self._force)
            await self._refused(problems)
            return
        self.changes.accepted(found, loaded.looks)
        await self._commit(loaded, file, workers)

    async def _commit(self, loaded: Loaded, file: Path, workers: Sequence[int]) -> None:
        self._files.append(file)
        longer = loaded.resolved.settings.drain_seconds - self._force.resolved.settings.drain_seconds
        self.crew.patience = replace(self.crew.patience, drain=self.crew.patience.drain + longer)
        self._force, self._problems = loaded, ()
        for index, wrong in (await self._tell(workers, {"do": "commit"})).items():
            self._behind[index] = "" if wrong else loaded.name
            if wrong:
                await self._catch_up(index)
        while len(self._files) > KEPT:
            self._files.pop(0).unlink()
        log_accepted(loaded, outdated(self.first, loaded))

    async def _prepared(self, workers: Sequence[int], file: Path, name: str) -> tuple[str, ...]:
        """What a worker finds wrong with it; then no worker keeps it. One that gives no answer ends, or will be ended, and its
        successor begins with what is in force by then.
        """
        answers = await self._tell(workers, {"do": "prepare", "file": str(file), "name": name})
        wrong = [one if one == CHANGED else f"worker {index}: {one}" for index, told in answers.items() for one in told]
        if wrong:
            await self._tell(workers, {"do": "drop"})
        return bounded(wrong)

    async def _catch_up(self, index: int) -> None:
        """Let one that is behind go over to what is in force. If it cannot, another one takes its place, which begins with
        that: nobody serves what is not in force any more.
        """
        force = self._force.name
        problems: Sequence[str] = await self._prepared([index], self._files[-1], force)
        if not problems:
            problems = (await self._tell([index], {"do": "commit"})).get(index, ())
        if not problems:
            self._behind[index] = force
            return
        log.error("worker_behind", worker=index, problems=problems)
        self._read_again(problems)
        if self._behind.get(index) != force:
            self.crew.replace(index)

    async def _differs(self, index: int) -> bool:
        """Whether what the documents refer to was something else when this worker read it."""
        told = await self._tell([index], {"do": "name", "name": self._force.name})
        return bool(told.get(index))

    def _read_again(self, problems: Sequence[str]) -> None:
        """If what is there was changed meanwhile: what was seen is not what is there then, whatever it looks like now. And if a
        worker could not take it over, and not for what it says: after a while.
        """
        if any(one.endswith(DEFECT) for one in problems):
            self.changes.failed()
        if CHANGED in problems:
            self.changes.name = ""

    async def _refused(self, problems: tuple[str, ...]) -> None:
        self._problems = problems
        await self._tell(self.crew.serving(), {"do": "refused", "problems": problems})

    async def _failed(self, problem: str) -> None:
        """Tell them that it could not be taken over, if they can be told."""
        try:
            async with self._talking:
                await self._refused((problem,))
        except Exception:
            log.exception("reload_failed")

    async def _tell(self, workers: Sequence[int], message: Message) -> dict[int, list[str]]:
        """Tell these at once; what is wrong, by each that answered."""
        answers = await asyncio.gather(*(self.crew.ask(index, message, PATIENCE) for index in workers))
        return {index: told["problems"] for index, told in zip(workers, answers, strict=True) if told}

    def _write(self, found: Snapshot) -> Path:
        self._number += 1
        path = self.folder / f"configuration-{self._number}.json"
        try:
            path.write_bytes(written(found, self.first.source.room))
        except OSError:
            path.unlink(missing_ok=True)  # half of it would fill the disk even more
            raise
        return path
