"""When the breaker lets calls through."""

from hypothesis import given
from hypothesis import strategies as st

from extproc.adapters.breaker import Breaker, State
from extproc.testing import Clock


def opened(clock: Clock) -> Breaker:
    breaker = Breaker(clock, failures=3, open_seconds=2.0)
    for _ in range(3):
        breaker.failed()
    return breaker


def test_it_opens_after_so_many_failures_in_a_row() -> None:
    breaker = Breaker(Clock(), failures=3)
    for _ in range(2):
        breaker.failed()
    breaker.succeeded()
    for _ in range(2):
        breaker.failed()
    assert breaker.allows()
    assert breaker.state is State.CLOSED
    breaker.failed()
    assert not breaker.allows()
    assert breaker.state is State.OPEN


def test_one_trial_at_a_time_and_its_success_closes_it() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.advance(1.99)
    assert not breaker.allows()
    clock.advance(0.01)
    assert [breaker.allows() for _ in range(3)] == [True, False, False]
    assert breaker.state is State.HALF_OPEN
    breaker.succeeded()
    assert [breaker.allows() for _ in range(3)] == [True] * 3
    assert breaker.state is State.CLOSED


def test_a_failed_trial_opens_it_again() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.advance(2)
    assert breaker.allows()
    clock.advance(1)
    breaker.failed()
    assert breaker.state is State.OPEN
    clock.advance(1.9)
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


@given(st.lists(st.floats(0, 0.9)))
def test_what_is_down_is_asked_once_a_pause(passing: list[float]) -> None:
    clock = Clock(0.0)
    breaker, calls = Breaker(clock, failures=5, open_seconds=1.0), 0
    for seconds in passing:
        clock.advance(seconds)
        if breaker.allows():
            calls += 1
            breaker.failed()
    assert calls <= 5 + clock.seconds
