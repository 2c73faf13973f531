"""Several processes that serve, and one that keeps them. A worker is a program of its own, started fresh: nothing of the
parent's threads or event loop is in it.

Parent and worker hold one socket pair. The worker says on it that it is ready; its end means to the parent that the worker
is gone, and to the worker that the parent is, however that happened: so no worker survives its parent.
"""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import orjson
import structlog

from extproc.tether import KEY, KEY_BYTES, SNAPSHOT, TETHER

log = structlog.get_logger("extproc.workers")

LONGEST_LINE: Final = 1024 * 1024
"""Bytes of what one says to the other."""

REFUSED: Final = 2
"""Exit code of a worker whose configuration is refused: starting it again would not help."""

ENDED: Final = 130
"""Exit code after SIGINT, as shells have it."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: between the death of a worker and its next start (doubled each time, up to `longest`, and back to `first`
    once one lived for `steady`); from a start until it serves; between SIGTERM and SIGKILL; between SIGINT and SIGKILL.
    """

    first: float = 0.5
    longest: float = 30.0
    steady: float = 60.0
    start: float = 120.0
    drain: float = 60.0
    end: float = 1.0


class Leads(Protocol):
    """Who gives the workers their configuration."""

    def starts(self, index: int) -> Path:
        """A worker is started now: the file of what it begins with."""
        ...

    async def serves(self, index: int) -> None:
        """It serves now."""
        ...

    async def run(self) -> None:
        """Until cancelled."""
        ...

    def again(self) -> None:
        """Somebody wants the configuration read now."""
        ...


@dataclass(slots=True)
class _Worker:
    """One of them: the process that runs as worker `index`, if one does. `served`: it did once. `line` leads to it."""

    index: int
    process: asyncio.subprocess.Process | None = None
    ready: bool = False
    served: bool = False
    line: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    asked: int = 0


@dataclass(slots=True)
class Crew:
    """`count` workers, each kept running. `command` gives the program and arguments of worker `index` (from 0); `on_change`
    is told how many are ready whenever that changes. All of them are handed one random key, and only they.
    """

    count: int
    command: Callable[[int], Sequence[str]]
    patience: Patience = field(default_factory=Patience)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    on_change: Callable[[int], None] | None = None
    leader: Leads | None = None
    _workers: list[_Worker] = field(init=False)
    _stopping: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _signal: signal.Signals | None = None
    _key: bytes = field(init=False, repr=False, default_factory=lambda: os.urandom(KEY_BYTES))

    def __post_init__(self) -> None:
        self._workers = [_Worker(index) for index in range(self.count)]

    @property
    def ready(self) -> int:
        """How many workers serve now."""
        return sum(worker.ready for worker in self._workers)

    def serving(self) -> Sequence[int]:
        """The workers that serve now."""
        return [worker.index for worker in self._workers if worker.ready]

    async def ask(self, index: int, question: Mapping[str, Any], seconds: float) -> Mapping[str, Any] | None:
        """What a worker answers; None if it ends instead, or takes too long, and then it is to end. One question at a time."""
        worker = self._workers[index]
        if worker.line is None:
            return None
        reader, writer = worker.line
        worker.asked += 1
        try:
            async with asyncio.timeout(seconds):
                writer.write(orjson.dumps({**question, "id": worker.asked}) + b"\n")
                while line := await reader.readline():
                    answer: dict[str, Any] = orjson.loads(line)
                    if answer["id"] == worker.asked:  # and not the answer to one that took too long
                        return answer
        except (TimeoutError, OSError, ValueError):  # ValueError: no line, or none that ends
            log.error("worker_silent", worker=index, question=question.get("do"))  # noqa: TRY400 - a traceback says nothing
            self.replace(index)
        return None

    async def run(self) -> int:
        """Keep the workers until told to stop, or until one refuses its configuration.

        Returns the exit code for the parent: 0 after an orderly stop, 2 if a worker refused, 130 after SIGINT, else 1.
        """
        async with asyncio.TaskGroup() as group:
            keepers = [group.create_task(self._keep(worker)) for worker in self._workers]
        codes = {keeper.result() for keeper in keepers}
        if REFUSED in codes:
            return REFUSED
        if self._signal is signal.SIGINT:
            return ENDED
        return int(bool(codes - {0, -signal.SIGTERM}))

    def replace(self, index: int) -> None:
        """Let a worker end, and another one begin in its place with what is in force."""
        worker = self._workers[index]
        _send(worker, signal.SIGTERM)
        if process := worker.process:
            asyncio.get_running_loop().call_later(self.patience.drain, _kill, worker, process)

    def stop(self, how: signal.Signals) -> None:
        """Pass `how` on to all workers, and start none anew. SIGTERM lets them drain, SIGINT ends them at once."""
        if self._signal is signal.SIGINT or self._signal is how:
            return
        self._signal = how
        self._stopping.set()
        for worker in self._workers:
            _send(worker, how)
        after = self.patience.end if how is signal.SIGINT else self.patience.drain
        asyncio.get_running_loop().call_later(after, self._kill)

    def _kill(self) -> None:
        for worker in self._workers:
            _send(worker, signal.SIGKILL)

    async def _keep(self, worker: _Worker) -> int:
        """Run a worker, again and again, until the crew stops. Gives its last exit code."""
        delay = self.patience.first
        while True:
            started = time.monotonic()
            try:
                code = await self._live(worker)
            except OSError as error:  # there is no room for one more process: those that there are go on
                if not worker.served:
                    raise
                log.error("worker_not_started", worker=worker.index, why=error.strerror)  # noqa: TRY400 - a traceback says nothing
                code = 1
            if code == REFUSED and not worker.served:
                self.stop(signal.SIGTERM)
            if self._stopping.is_set():
                return code
            if time.monotonic() - started >= self.patience.steady:
                delay = self.patience.first
            log.error("worker_died", worker=worker.index, exit=code, restart_in=delay)
            await self._rest(delay)
            if self._stopping.is_set():
                return code
            delay = min(delay * 2, self.patience.longest)

    async def _live(self, worker: _Worker) -> int:
        """One life of a worker, from its start to its exit code (negative: the signal that killed it)."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with ours:
            with theirs, _pipe_with(self._key) as key:
                environment = {**os.environ, TETHER: str(theirs.fileno()), KEY: str(key)}
                if self.leader:
                    environment[SNAPSHOT] = str(self.leader.starts(worker.index))
                worker.process = await asyncio.create_subprocess_exec(
                    *self.command(worker.index),
                    pass_fds=(theirs.fileno(), key),
                    env=environment,
                    start_new_session=True,
                )
            if self._signal:  # it came while the process was being started
                _send(worker, self._signal)
            watch = asyncio.ensure_future(self._watch(worker, ours))
            try:
                return await worker.process.wait()
            finally:
                watch.cancel()
                _send(worker, signal.SIGKILL)  # it still runs only if this task was cancelled
                worker.process = None
                self._became(worker, ready=False)

    async def _watch(self, worker: _Worker, ours: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=ours, limit=LONGEST_LINE)
        try:
            if not await self._serves_in_time(worker, reader):
                return
            log.info("worker_ready", worker=worker.index)
            worker.line, worker.served = (reader, writer), True
            self._became(worker, ready=True)
            if self.leader:
                await self.leader.serves(worker.index)
            await asyncio.Event().wait()  # until it ends
        finally:
            worker.line = None
            writer.close()

    async def _serves_in_time(self, worker: _Worker, reader: asyncio.StreamReader) -> bool:
        """Whether it says so before it ends. One that takes too long is killed: it serves nobody."""
        try:
            async with asyncio.timeout(self.patience.start):
                return bool(await reader.read(1))
        except TimeoutError:
            log.error("worker_late", worker=worker.index, seconds=self.patience.start)  # noqa: TRY400 - as above
            _send(worker, signal.SIGKILL)
            return False

    def _became(self, worker: _Worker, *, ready: bool) -> None:
        if worker.ready is not ready:
            worker.ready = ready
            if self.on_change:
                self.on_change(self.ready)

    async def _rest(self, seconds: float) -> None:
        """Wait, but no longer than until the crew stops."""
        resting = asyncio.ensure_future(self.sleep(seconds))
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait((resting, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            resting.cancel()
            stopping.cancel()


async def supervise(crew: Crew) -> int:
    """Run `crew` as the whole job of this process: SIGTERM and SIGINT are passed on to it, and SIGHUP lets its leader read the
    configuration at once. Gives the exit code.
    """
    loop, leader = asyncio.get_running_loop(), crew.leader
    signals = (signal.SIGTERM, signal.SIGINT)
    for each in signals:
        loop.add_signal_handler(each, crew.stop, each)
    if leader:
        loop.add_signal_handler(signal.SIGHUP, leader.again)
    leading = asyncio.ensure_future(leader.run()) if leader else None
    try:
        return await crew.run()
    finally:
        for each in (*signals, *([signal.SIGHUP] if leader else [])):
            loop.remove_signal_handler(each)
        if leading:
            leading.cancel()


@contextmanager
def _pipe_with(data: bytes) -> Iterator[int]:
    """The reading end of a pipe that holds `data`, which is less than any pipe takes."""
    reading, writing = os.pipe()
    try:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(data)
        yield reading
    finally:
        os.close(reading)


def _kill(worker: _Worker, process: asyncio.subprocess.Process) -> None:
    """If it is still that one."""
    if worker.process is process:
        _send(worker, signal.SIGKILL)


def _send(worker: _Worker, what: signal.Signals) -> None:
    if worker.process and worker.process.returncode is None:
        with suppress(ProcessLookupError):
            worker.process.send_signal(what)
