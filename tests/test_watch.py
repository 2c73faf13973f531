"""The watch over dependencies, with answers that are written down and a clock that nobody waits for."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import pytest

from extproc.watch import EVERY, TOLERATED, Watch

DOWN = "it refuses connections"


class Asked:
    """A dependency that gives these answers, one a question."""

    def __init__(self, name: str, *answers: str | BaseException | None) -> None:
        self.name, self._answers = name, list(answers)
        self.questions = 0

    async def probe(self) -> str | None:
        self.questions += 1
        answer = self._answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def close(self) -> None: ...


class Silent(Asked):
    async def probe(self) -> str | None:
        await asyncio.Event().wait()
        return None


def watch(*dependencies: Asked, required: Iterable[str] = ("redis",), **options: object) -> Watch:
    return Watch({each.name: each for each in dependencies}, frozenset(required), **options)


async def told(watching: Watch, questions: int) -> list[tuple[str, ...]]:
    """The problems after each question."""
    found = []
    for _ in range(questions):
        await watching.ask()
        found.append(watching.problems())
    return found


def test_nothing_is_ready_before_it_was_asked() -> None:
    watching = watch(Asked("redis"))
    assert watching.problems() == ("redis: it has not been asked yet",)
    assert watching.status() == {"redis": {"required": True, "reachable": None, "problem": None}}
    assert watch().problems() == ()


async def test_one_that_was_never_reached_is_down_at_once_and_well_at_its_first_answer() -> None:
    watching = watch(Asked("redis", DOWN, DOWN, None))
    assert await told(watching, 3) == [(f"redis: {DOWN}",), (f"redis: {DOWN}",), ()]


async def test_the_first_failure_of_one_that_was_well_is_tolerated_and_no_more() -> None:
    assert TOLERATED == 1
    watching = watch(Asked("redis", None, DOWN, DOWN, None))
    assert await told(watching, 4) == [(), (), (f"redis: {DOWN}",), ()]


async def test_one_that_fails_every_other_time_does_not_flap() -> None:
    watching = watch(Asked("redis", *[None, DOWN] * 10))
    assert await told(watching, 20) == [()] * 20


async def test_the_status_tells_a_failure_that_is_still_tolerated() -> None:
    watching = watch(Asked("redis", None, DOWN))
    await told(watching, 2)
    assert watching.status() == {"redis": {"required": True, "reachable": False, "problem": DOWN}}


async def test_one_that_no_exchange_needs_is_told_and_changes_nothing() -> None:
    watching = watch(Asked("vault", DOWN, DOWN, DOWN, None, DOWN, DOWN))
    assert await told(watching, 6) == [()] * 6
    assert watching.status() == {"vault": {"required": False, "reachable": False, "problem": DOWN}}


async def test_only_what_is_required_is_in_the_way() -> None:
    watching = watch(
        Asked("redis", None), Asked("vault", DOWN), Asked("kubernetes", "403"), required=("redis", "vault")
    )
    assert await told(watching, 1) == [(f"vault: {DOWN}",)]


async def test_one_that_hangs_is_not_waited_for_and_keeps_no_other_from_being_asked() -> None:
    other = Asked("vault", None)
    watching = watch(Silent("redis"), other, patience=0.01)
    assert await told(watching, 1) == [("redis: it did not answer within 0.01 s",)]
    assert watching.status()["vault"]["reachable"] is True


ERRORS = [
    ValueError("hunter2"),
    OSError("hunter2"),
    ExceptionGroup("hunter2", [KeyError(1)]),
    asyncio.CancelledError("hunter2"),  # of something that the probe waited for, not of the watch
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_a_probe_that_raises_is_a_problem_without_its_text_and_the_watch_goes_on(error: BaseException) -> None:
    watching = watch(Asked("redis", error, None), Asked("vault", None, None))
    [first, second] = await told(watching, 2)
    assert first == (f"redis: asking it failed with {type(error).__name__}",)
    assert second == ()


async def test_it_can_be_cancelled_while_it_asks() -> None:
    task = asyncio.ensure_future(watch(Silent("redis")).run())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def stopping(after: int, waited: list[float]) -> Callable[[float], Awaitable[None]]:
    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == after:
            raise asyncio.CancelledError

    return sleep


async def test_it_asks_over_and_over_whatever_comes_and_tells_the_metrics() -> None:
    waited: list[float] = []
    heard: list[tuple[str, bool]] = []
    redis = Asked("redis", None, ValueError(), DOWN, TimeoutError(), None)
    watching = watch(redis, told=lambda name, up: heard.append((name, up)), sleep=stopping(5, waited))
    with pytest.raises(asyncio.CancelledError):
        await watching.run()
    assert redis.questions == 5
    assert waited == [EVERY] * 5
    assert heard == [("redis", up) for up in (True, False, False, False, True)]
    assert watching.problems() == ()


def followed(watching: Watch, *dependencies: Asked, required: Iterable[str] = ("redis",)) -> None:
    watching.follow({each.name: each for each in dependencies}, frozenset(required))


async def test_one_that_another_configuration_has_too_stays_known() -> None:
    redis = Asked("redis", None, DOWN)
    watching = watch(redis)
    await watching.ask()
    followed(watching, redis, Asked("vault"))
    assert watching.problems() == ()
    assert watching.status()["vault"]["reachable"] is None
    followed(watching, redis, required=["redis", "vault"])
    assert set(watching.status()) == {"redis"}


async def test_one_of_the_same_name_is_another_one() -> None:
    watching = watch(Asked("redis", None))
    await watching.ask()
    followed(watching, Asked("redis"))
    assert watching.problems() == ("redis: it has not been asked yet",)


async def test_one_that_was_met_is_known_when_it_counts_and_not_before() -> None:
    told: list[tuple[str, bool]] = []
    redis, vault = Asked("redis", None), Asked("vault", DOWN)
    watching = watch(redis, told=lambda name, up: told.append((name, up)))
    await watching.ask()
    await watching.meet({"redis": redis, "vault": vault})
    assert redis.questions == 1, "it is known already"
    assert set(watching.status()) == {"redis"}
    assert told == [("redis", True)]
    followed(watching, redis, vault, required=["redis", "vault"])
    assert watching.problems() == (f"vault: {DOWN}",)
    assert told[-1] == ("vault", False)


async def test_another_configuration_may_come_between_a_round_and_its_questions() -> None:
    first, second = Asked("redis", None, None), Asked("vault", None)
    watching = watch(first)
    asking = asyncio.ensure_future(watching.ask())
    await asyncio.sleep(0)  # the round has begun, and no question of it
    watching.follow({"vault": second}, frozenset({"vault"}))
    await asking
    await watching.ask()
    assert watching.problems() == ()


async def test_an_answer_that_comes_when_it_does_not_count_any_more_changes_nothing() -> None:
    told: list[tuple[str, bool]] = []
    asked, answer = asyncio.Event(), asyncio.Event()

    class Slow(Asked):
        async def probe(self) -> str | None:
            asked.set()
            await answer.wait()
            return DOWN

    watching = watch(Slow("redis"), told=lambda name, up: told.append((name, up)))
    asking = asyncio.ensure_future(watching.ask())
    await asked.wait()
    followed(watching, required=[])
    answer.set()
    await asking
    assert told == []
    assert watching.status() == {}
