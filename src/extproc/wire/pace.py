"""Time as the engine is handed it, from asyncio: what the clock says, how long something may take, let others run."""

import asyncio
import time
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import suppress
from typing import Any, Final, Generic, TypeVar

import structlog

from extproc.core.link import Pace
from extproc.errors import Defect

T = TypeVar("T")

log = structlog.get_logger("extproc.wire")

LINGER: Final = 0.1
"""Seconds to tidy up in, for what has been told that its time is over. Whoever takes no notice of that is closed."""


async def bounded(awaitable: Awaitable[T], seconds: float) -> T:
    """What `awaitable` gives, within `seconds`. Its first step runs at once: what never waits needs no timer.

    A cancellation of our own task passes. Whatever else would end the task or the loop becomes a Defect, since the code
    that runs here is other people's, and how a stream ends is not theirs to say.

    Raises:
        TimeoutError: it took longer, and gave a value all the same, or went on waiting for more than LINGER.
        Defect: it raised CancelledError though nobody cancelled it, or what is no Exception; or it cancelled our task.
    """
    coroutine = awaitable if type(awaitable) is types.CoroutineType else _wait(awaitable)
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("there is no task to run in")
    before = task.cancelling()
    try:
        waits_for = coroutine.send(None)
    except StopIteration as done:
        if task.cancelling() == before:  # nearly always: it had nothing to wait for
            return done.value  # type: ignore[no-any-return] # what the coroutine returned
        await _Guest(coroutine, task, before).settle()
        return done.value  # type: ignore[no-any-return]
    except BaseException as error:  # noqa: BLE001 - whatever it is: translated, and raised
        await _Guest(coroutine, task, before).settle()
        raise _translated(error) from None
    return await _rest(_Guest(coroutine, task, before), waits_for, seconds)


async def pause() -> None:
    """One turn of the loop for the others."""
    await asyncio.sleep(0)


def spawn(work: Coroutine[Any, Any, None]) -> None:
    """Run `work` in a task of its own, which ends with the process and not with whoever asks."""
    task = asyncio.get_running_loop().create_task(work)
    _SPAWNED.add(task)
    task.add_done_callback(_over)


async def settled(seconds: float) -> None:
    """Wait until all that was spawned is done, for at most so many seconds."""
    own = [task for task in _SPAWNED if task.get_loop() is asyncio.get_running_loop()]
    if own:
        await asyncio.wait(own, timeout=seconds)


_SPAWNED: Final[set[asyncio.Task[None]]] = set()
"""Tasks that nobody waits for: asyncio itself would let them be collected as garbage."""


def _over(task: asyncio.Task[None]) -> None:
    _SPAWNED.discard(task)
    if not task.cancelled() and (error := task.exception()):
        log.error("settling_failed", error=type(error).__name__)


PACE: Final = Pace(time.monotonic, bounded, pause, spawn)


def _translated(error: BaseException) -> Exception:
    """What other people's code raised, as what the engine can take: nothing that would end the task or the loop."""
    return error if isinstance(error, Exception) else Defect(f"it raised {type(error).__name__}")


class _Guest(Generic[T]):
    """Other people's coroutine in our task, from its first step on. `own` is how often it has cancelled that task itself."""

    __slots__ = ("before", "coroutine", "own", "task")

    def __init__(self, coroutine: Coroutine[Any, Any, T], task: "asyncio.Task[Any]", before: int) -> None:
        self.coroutine, self.task, self.before = coroutine, task, before
        self.own = task.cancelling() - before  # nobody else has run since

    def step(self, advance: Callable[[Any], Any], value: Any) -> Any:
        """One step, up to what it waits for next. Raises: StopIteration, when it is done; Defect; what it raises."""
        before = self.task.cancelling()
        try:
            return advance(value)
        except (Exception, asyncio.CancelledError):
            raise
        except BaseException as error:  # noqa: BLE001 - SystemExit, KeyboardInterrupt, GeneratorExit, and groups with them
            raise _translated(error) from None
        finally:
            self.own += self.task.cancelling() - before

    @property
    def left(self) -> int:
        """How often our task is to be cancelled since the guest came."""
        return self.task.cancelling() - self.before

    def close(self) -> None:
        """End it where it waits. It may refuse even this, and is not asked again."""
        with suppress(Exception):
            self.step(lambda _: self.coroutine.close(), None)

    async def settle(self) -> None:
        """Nothing, if our task is not to be cancelled.

        Raises:
            CancelledError: it is, from outside; however the guest took that.
            Defect: it is, by the guest, which is undone.
        """
        if self.left <= 0:
            return
        if self.own >= self.left:
            for _ in range(self.left):
                self.task.uncancel()
            with suppress(asyncio.CancelledError):  # the one that may still be on its way to us
                await asyncio.sleep(0)
            if self.left <= 0:
                raise Defect("it cancelled the task that runs it")
        raise asyncio.CancelledError


async def _wait(awaitable: Awaitable[T]) -> T:
    return await awaitable


async def _rest(guest: _Guest[T], waits_for: Any, seconds: float) -> T:
    """What a coroutine gives whose first step has been run and waits for something."""
    try:
        value = await _timed(guest, waits_for, seconds)
    except asyncio.CancelledError as error:
        await guest.settle()
        raise _translated(error) from None
    except Exception:
        await guest.settle()
        raise
    await guest.settle()
    return value


async def _timed(guest: _Guest[T], waits_for: Any, seconds: float) -> T:
    async with asyncio.timeout(seconds + LINGER) as last, asyncio.timeout(seconds) as limit:
        value = await _drive(guest, waits_for, last)
    if limit.expired():
        raise TimeoutError
    return value


@types.coroutine
def _drive(guest: _Guest[T], waits_for: Any, last: asyncio.Timeout) -> Generator[Any, Any, T]:
    """The rest of a coroutine whose first step has been run and waits for `waits_for`. After `last` it gets no other step."""
    while True:
        try:
            try:
                sent = yield waits_for
            except GeneratorExit:
                guest.coroutine.close()
                raise
            except BaseException as error:  # whatever is thrown into us is thrown into it
                if last.expired():
                    guest.close()
                    raise
                waits_for = guest.step(guest.coroutine.throw, error)
            else:
                waits_for = guest.step(guest.coroutine.send, sent)
        except StopIteration as done:
            value: T = done.value
            return value
