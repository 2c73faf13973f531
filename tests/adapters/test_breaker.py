"""When the breaker opens, what it lets through, and that nothing wedges it."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.adapters.breaker import Breaker, State
from extproc.testing import Clock


def opened(clock: Clock) -> Breaker:
    breaker = Breaker(clock, failures=3, pause=2.0)
    for _ in range(3):
        assert breaker.allows()
        breaker.failed()
    return breaker


def test_it_opens_after_so_many_failures_in_a_row() -> None:
    breaker = Breaker(Clock(), failures=3)
    for outcome in (breaker.failed, breaker.failed, breaker.succeeded, breaker.failed, breaker.failed):
        outcome()
        assert breaker.state is State.CLOSED
    assert breaker.allows()
    breaker.failed()
    assert breaker.state is State.OPEN
    assert breaker.failures == 3
    assert not breaker.allows()


def test_half_open_it_lets_one_through() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.advance(1.99)
    assert not breaker.allows()
    clock.advance(0.01)
    assert breaker.state is State.HALF_OPEN
    assert [breaker.allows() for _ in range(3)] == [True, False, False]
    assert breaker.state is State.HALF_OPEN


def test_a_good_answer_closes_it() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.advance(2)
    assert breaker.allows()
    breaker.succeeded()
    assert breaker.state is State.CLOSED
    assert all(breaker.allows() for _ in range(5))


def test_a_failed_trial_keeps_it_open_for_another_pause() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.advance(2)
    assert breaker.allows()
    clock.advance(0.5)
    breaker.failed()
    assert breaker.state is State.OPEN
    clock.advance(1.4)
    assert not breaker.allows()
    clock.advance(0.1)
    assert breaker.allows()


def test_a_trial_that_nobody_reports_on_is_followed_by_another() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.advance(2)
    assert breaker.allows()
    clock.advance(2)
    assert breaker.allows()


def test_failures_of_others_keep_it_open_no_longer() -> None:
    """Of calls that were made before it opened, and of probes, which ask it nothing."""
    clock = Clock()
    breaker = opened(clock)
    for _ in range(15):
        clock.advance(0.125)
        breaker.failed()
        assert not breaker.allows()
    clock.advance(0.125)
    assert breaker.allows()


def test_what_opened_it_once_opens_it_again() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.advance(2)
    assert breaker.allows()
    breaker.succeeded()
    for _ in range(3):
        assert breaker.allows()
        breaker.failed()
    assert breaker.state is State.OPEN
    assert not breaker.allows()


@pytest.mark.parametrize("options", [{"failures": 0}, {"pause": 0.0}])
def test_a_breaker_that_could_not_work_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="at least one failure"):
        Breaker(Clock(), **options)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=200))
def test_while_nothing_succeeds_it_asks_at_most_once_a_pause(steps: list[tuple[float, bool]]) -> None:
    clock = Clock()
    breaker, asked = opened(clock), []
    for passed, answered in steps:
        clock.advance(passed)
        if breaker.allows():
            asked.append(clock())
            if answered:
                breaker.failed()
    assert all(later - earlier >= 2.0 - 1e-6 for earlier, later in pairwise(asked))
