"""Processes that live and die together: started in order, each when the one before it is ready; one's end is everybody's."""

import asyncio
import ctypes
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from extproc.errors import ExtprocError
from extproc.workers import ENDED

POLL: Final = 0.05
"""Seconds between two questions whether a process is ready."""

PR_SET_PDEATHSIG: Final = 1
_PRCTL: Final[Any] = getattr(ctypes.CDLL(None), "prctl", None)
"""Linux alone has it; elsewhere a killed parent leaves its children."""


class Ended(ExtprocError):
    """A process ended, or did not get ready; the sentence says which and how. `code` is what to exit with."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Child:
    """One process: `ready` is asked until it says yes, at most `patience` seconds; when told to end it has `grace` seconds."""

    name: str
    argv: Sequence[str]
    ready: Callable[[], Awaitable[bool]]
    patience: float = 20.0
    grace: float = 10.0


@dataclass(slots=True)
class Running:
    """A child and its process."""

    child: Child
    process: asyncio.subprocess.Process

    async def wait_ready(self) -> None:
        """Raises: Ended."""
        try:
            async with asyncio.timeout(self.child.patience):
                while not await self.child.ready():
                    if self.process.returncode is not None:
                        raise self.ended()
                    await asyncio.sleep(POLL)
        except TimeoutError as error:
            raise Ended(f"{self.child.name} was not ready within {self.child.patience:g} seconds") from error
        if self.process.returncode is not None:
            raise self.ended()

    def ended(self) -> Ended:
        """Why it is over. A refused configuration (exit code 2) stays one."""
        code = self.process.returncode or 0
        how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return Ended(f"{self.child.name} ended {how}", 2 if code == 2 else 1)

    async def stop(self, number: signal.Signals) -> None:
        """Tell it to end; if it does not, end it."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        try:
            async with asyncio.timeout(self.child.grace):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()


async def run(children: Sequence[Child], announce: Callable[[], None]) -> int:
    """Run `children` until a signal asks to end: SIGINT ends all at once (and gives 130); SIGTERM ends them in their order, so
    that each can finish what it has begun (and gives 0). `announce` is called when all are ready.

    Raises:
        Ended: one of them ended by itself, or did not get ready; the others are ended too.
    """
    asked: asyncio.Queue[signal.Signals] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked.put_nowait, number)
    running: list[Running] = []
    graceful = False
    try:
        graceful = await _live(children, running, announce, asked) is signal.SIGTERM
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        await _stop(running, graceful=graceful)
    return 0 if graceful else ENDED


async def _live(
    children: Sequence[Child],
    running: list[Running],
    announce: Callable[[], None],
    asked: asyncio.Queue[signal.Signals],
) -> signal.Signals:
    """From the first start to the first end. Returns the signal that asked for it."""
    stop = asyncio.ensure_future(asked.get())
    up = asyncio.ensure_future(_start(children, running, announce))
    tasks: set[asyncio.Future[Any]] = {stop, up}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if stop.done():
            return stop.result()
        up.result()
        return await _until_end(running, stop)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _until_end(running: list[Running], stop: asyncio.Future[signal.Signals]) -> signal.Signals:
    waits = [asyncio.ensure_future(one.process.wait()) for one in running]
    tasks: set[asyncio.Future[Any]] = {stop, *waits}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waits:
            task.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
    if stop.done():
        return stop.result()
    raise next(one for one in running if one.process.returncode is not None).ended()


async def _start(children: Sequence[Child], running: list[Running], announce: Callable[[], None]) -> None:
    for child in children:
        running.append(Running(child, await launch(child.argv)))
        await running[-1].wait_ready()
    announce()


async def _stop(running: list[Running], *, graceful: bool) -> None:
    if graceful:
        for one in running:
            await one.stop(signal.SIGTERM)
    else:
        await asyncio.gather(*(one.stop(signal.SIGINT) for one in running))


async def launch(argv: Sequence[str]) -> asyncio.subprocess.Process:
    """Start a process in a session of its own (a Ctrl-C of the terminal is ours to pass on), which does not outlive us."""
    prepare = _die_with_parent if _PRCTL else None
    return await asyncio.create_subprocess_exec(*argv, start_new_session=True, preexec_fn=prepare)


def _die_with_parent() -> None:
    """Between fork and exec: ask Linux for SIGTERM when the parent dies, however it does (prctl(2))."""
    _PRCTL(PR_SET_PDEATHSIG, signal.SIGTERM)
