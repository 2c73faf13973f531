"""Other people's code in our task: it may take its time, and may not take the task with it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from extproc.errors import Defect
from extproc.wire.pace import PACE, bounded, pause

LONG = 60.0


async def swiftly() -> str:
    return "done"


async def slowly() -> str:
    for _ in range(3):
        await asyncio.sleep(0)
    await asyncio.sleep(0.001)
    return "done"


async def never() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("work", [swiftly, slowly])
def test_gives_what_the_coroutine_returns(work: Callable[[], Awaitable[str]]) -> None:
    assert asyncio.run(bounded(work(), LONG)) == "done"


def test_what_never_waits_is_done_without_a_turn_of_the_loop() -> None:
    async def main() -> list[str]:
        order: list[str] = []
        asyncio.get_running_loop().call_soon(order.append, "other")
        order.append(await bounded(swiftly(), LONG))
        return list(order)

    assert asyncio.run(main()) == ["done"]


def test_an_awaitable_that_is_no_coroutine() -> None:
    async def main() -> str:
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_result, "done")
        return await bounded(future, LONG)

    assert asyncio.run(main()) == "done"


def test_time_is_up() -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            await bounded(never(), 0.01)
        assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]
        await asyncio.sleep(0)

    asyncio.run(main())


def test_a_value_given_after_the_time_does_not_count() -> None:
    async def stubborn() -> str:
        with suppress(asyncio.CancelledError):
            await never()
        return "done"

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await bounded(stubborn(), 0.01)

    asyncio.run(main())


def test_it_may_clean_up_after_the_time() -> None:
    cleaned = []

    async def tidy() -> None:
        try:
            await never()
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await bounded(tidy(), 0.01)

    asyncio.run(main())
    assert cleaned == [True]


@pytest.mark.parametrize("leaves", [False, True])
def test_one_that_takes_no_notice_of_its_end_is_closed(leaves: bool) -> None:
    """Else a loop that catches everything would keep the exchange, and its caller's place, for ever."""
    closed: list[bool] = []

    async def stubborn() -> None:
        try:
            while True:
                with suppress(asyncio.CancelledError):
                    await never()
        finally:
            closed.append(True)

    async def main() -> None:
        task = asyncio.ensure_future(bounded(stubborn(), 0.01))
        if leaves:
            await asyncio.sleep(0)
            task.cancel()
        await asyncio.wait_for(asyncio.wait([task]), LONG)
        with pytest.raises(asyncio.CancelledError if leaves else TimeoutError):
            await task

    asyncio.run(main())
    assert closed == [True]


def test_it_may_have_timeouts_of_its_own() -> None:
    async def patient() -> str:
        try:
            async with asyncio.timeout(0.001):
                await never()
        except TimeoutError:
            return "gave up"
        return "?"

    assert asyncio.run(bounded(patient(), LONG)) == "gave up"


def test_exceptions_pass() -> None:
    async def failing(turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        raise LookupError

    for turns in (0, 1, 2):
        with pytest.raises(LookupError):
            asyncio.run(bounded(failing(turns), LONG))


ENDINGS = [
    asyncio.CancelledError(),
    SystemExit(0),
    KeyboardInterrupt(),
    GeneratorExit(),
    BaseExceptionGroup("two", [SystemExit(0), ValueError()]),
]


@pytest.mark.parametrize("turns", [0, 1, 2])
@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: type(ending).__name__)
def test_what_would_end_the_task_is_a_defect(ending: BaseException, turns: int) -> None:
    async def ends() -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        raise ending

    async def main() -> str:
        with pytest.raises(Defect, match=type(ending).__name__):
            await bounded(ends(), LONG)
        await asyncio.sleep(0)
        return "alive"

    assert asyncio.run(main()) == "alive"


def test_a_cancelled_task_that_it_waits_for_is_a_defect() -> None:
    async def main() -> None:
        other = asyncio.ensure_future(never())
        asyncio.get_running_loop().call_soon(other.cancel)
        with pytest.raises(Defect, match="CancelledError"):
            await bounded(_forward(other), LONG)

    asyncio.run(main())


async def _forward(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


@pytest.mark.parametrize("before", [0, 1])
@pytest.mark.parametrize("after", [0, 1])
def test_cancelling_the_task_that_runs_it_is_a_defect(before: int, after: int) -> None:
    async def suicidal() -> None:
        for _ in range(before):
            await asyncio.sleep(0)
        asyncio.current_task().cancel()  # type: ignore[union-attr]
        for _ in range(after):
            await asyncio.sleep(0)

    async def main() -> str:
        with pytest.raises(Defect, match="cancelled the task"):
            await bounded(suicidal(), LONG)
        await asyncio.sleep(0)
        return "alive"

    assert asyncio.run(main()) == "alive"


@pytest.mark.parametrize("swallows", [False, True])
def test_a_real_cancellation_passes_whatever_the_guest_makes_of_it(swallows: bool) -> None:
    seen = []

    async def guest() -> str:
        try:
            await never()
        except asyncio.CancelledError:
            seen.append("cancelled")
            if not swallows:
                raise
        return "done"

    async def main() -> None:
        task = asyncio.ensure_future(bounded(guest(), LONG))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    asyncio.run(main())
    assert seen == ["cancelled"]


def test_closing_closes_the_guest() -> None:
    closed = []

    async def guest() -> None:
        try:
            await never()
        finally:
            closed.append(True)

    async def main() -> None:
        coroutine = bounded(guest(), LONG)
        coroutine.send(None)
        coroutine.close()

    asyncio.run(main())
    assert closed == [True]


def test_pause_lets_others_run() -> None:
    async def main() -> list[str]:
        order: list[str] = []
        asyncio.get_running_loop().call_soon(order.append, "other")
        await pause()
        order.append("us")
        return order

    assert asyncio.run(main()) == ["other", "us"]


def test_the_clock_does_not_go_back() -> None:
    first = PACE.now()
    asyncio.run(pause())
    assert PACE.now() >= first
