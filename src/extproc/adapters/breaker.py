"""A circuit breaker: what is down is not asked by every exchange."""

from collections.abc import Callable
from enum import StrEnum

from extproc.errors import Unavailable


class Unasked(Unavailable):
    """Nobody was asked: what is down is left alone for a while, or too many wait already."""


class State(StrEnum):
    """HALF_OPEN is an open one whose trial is under way, or may be."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Breaker:
    """Closed until `failures` calls in a row have failed. Then open: nobody calls, but once in each `pause` (seconds) one call
    is let through as a trial, and its success closes it again. `now` is seconds of a clock that is never set back.

    The pause is counted from the failure that opened it, and from then on from each trial: calls that were made earlier, and
    probes that ask it nothing, keep it open no longer when they fail.
    """

    def __init__(self, now: Callable[[], float], failures: int = 5, pause: float = 1.0) -> None:
        if failures < 1 or pause <= 0:
            raise ValueError("a breaker wants at least one failure, and a pause of more than 0 seconds")
        self._now = now
        self._most = failures
        self._pause = pause
        self._failures = 0
        self._trying = False
        self._trial_at = 0.0
        """When the next call may be let through, while it is not closed."""

    @property
    def failures(self) -> int:
        """In a row, until now."""
        return self._failures

    @property
    def state(self) -> State:
        if self._failures < self._most:
            return State.CLOSED
        return State.HALF_OPEN if self._trying or self._now() >= self._trial_at else State.OPEN

    def allows(self) -> bool:
        """Whether a call may be made now. The caller makes it, and then says how it went.

        A trial that nobody reports on (its task was ended) only costs the pause: then there is another.
        """
        if self._failures < self._most:
            return True
        now = self._now()
        if now < self._trial_at:
            return False
        self._trying = True
        self._trial_at = now + self._pause
        return True

    def succeeded(self) -> None:
        self._failures = 0
        self._trying = False

    def failed(self) -> None:
        self._failures += 1
        self._trying = False
        if self._failures == self._most:
            self._trial_at = self._now() + self._pause
