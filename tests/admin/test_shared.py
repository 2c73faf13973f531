"""An answer for everybody who asks at the same time, with a clock that the test sets."""

import asyncio

import pytest

from extproc.admin.shared import LONGEST, Shared


class Source:
    """Answers when it is told to, and counts."""

    def __init__(self) -> None:
        self.asked = 0
        self.go = asyncio.Semaphore(0)

    async def __call__(self) -> int:
        self.asked += 1
        number = self.asked
        await self.go.acquire()
        return number


async def turns(number: int = 10) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def test_an_answer_is_never_older_than_the_question() -> None:
    source = Source()
    shared = Shared(source)
    first = asyncio.create_task(shared())
    await turns()
    later = [asyncio.create_task(shared()) for _ in range(5)]
    await turns()
    assert source.asked == 1
    source.go.release()
    assert await first == 1
    await turns()
    assert source.asked == 2
    source.go.release()
    assert await asyncio.gather(*later) == [2] * 5


async def test_who_gives_up_takes_it_from_nobody_else() -> None:
    source = Source()
    shared = Shared(source)
    one, other = asyncio.create_task(shared()), asyncio.create_task(shared())
    await turns()
    one.cancel()
    await turns()
    source.go.release()
    assert await other == 1


async def test_a_failure_is_told_to_all_who_asked_and_to_nobody_after_them() -> None:
    answers: list[Exception | int] = [ValueError("once"), 2]

    def source() -> int:
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    shared = Shared(source)
    found = await asyncio.gather(shared(), shared(), return_exceptions=True)
    assert [type(each) for each in found] == [ValueError, ValueError]
    assert await shared() == 2


@pytest.mark.parametrize(("took", "rest"), [(0.1, 0.3), (5.0, LONGEST)])
async def test_it_rests_between_two_answers(took: float, rest: float) -> None:
    now, slept = 100.0, list[float]()

    def source() -> str:
        nonlocal now
        now += took
        return "answer"

    async def sleep(seconds: float) -> None:
        nonlocal now
        slept.append(round(seconds, 6))
        now += seconds

    shared = Shared(source, 3.0, sleep, lambda: now)
    assert await shared() == "answer"
    assert slept == []
    assert await shared() == "answer"
    assert slept == [rest]
    now += 60.0
    assert await shared() == "answer"
    assert slept == [rest]
