"""When the breaker opens, what it lets through, and that nothing wedges it."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.adapters.redis_breaker import Breaker, BreakerState
from extproc.testing import Clock


def opened(clock: Clock) -> Breaker:
    breaker = Breaker(clock, failures=3, cooldown=2.0)
    for _ in range(3):
        assert breaker.admits()
        breaker.failed()
    return breaker


def test_it_opens_after_so_many_failures_in_a_row() -> None:
    breaker = Breaker(Clock(), failures=3)
    for outcome in (breaker.failed, breaker.failed, breaker.succeeded, breaker.failed, breaker.failed):
        outcome()
        assert breaker.state is BreakerState.CLOSED
    breaker.failed()
    assert breaker.state is BreakerState.OPEN
    assert not breaker.admits()


def test_half_open_it_lets_one_through() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.advance(1.99)
    assert not breaker.admits()
    clock.advance(0.01)
    assert breaker.state is BreakerState.HALF_OPEN
    assert [breaker.admits() for _ in range(3)] == [True, False, False]


def test_a_good_answer_closes_it() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.advance(2)
    assert breaker.admits()
    breaker.succeeded()
    assert breaker.state is BreakerState.CLOSED
    assert all(breaker.admits() for _ in range(5))


def test_a_bad_answer_keeps_it_open_for_another_while() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.advance(2)
    assert breaker.admits()
    clock.advance(0.5)
    breaker.failed()
    clock.advance(1.4)
    assert not breaker.admits()
    clock.advance(0.1)
    assert breaker.admits()


def test_a_question_that_is_never_answered_holds_nobody_up() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.advance(2)
    assert breaker.admits()
    clock.advance(2)
    assert breaker.admits()


def test_failures_of_older_questions_keep_it_open_no_longer() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.advance(1.9)
    breaker.failed()
    clock.advance(0.1)
    assert breaker.admits()


@pytest.mark.parametrize("options", [{"failures": 0}, {"cooldown": 0.0}])
def test_a_breaker_that_could_not_work_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="at least one failure"):
        Breaker(Clock(), **options)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=200))
def test_while_nothing_succeeds_it_asks_at_most_once_a_cooldown(steps: list[tuple[float, bool]]) -> None:
    clock = Clock()
    breaker, asked = opened(clock), []
    for passed, answered in steps:
        clock.advance(passed)
        if breaker.admits():
            asked.append(clock())
            if answered:
                breaker.failed()
    assert all(later - earlier >= 2.0 - 1e-6 for earlier, later in pairwise(asked))
