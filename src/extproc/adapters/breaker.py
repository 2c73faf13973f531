"""A circuit breaker: what is down is not asked by every exchange."""

from collections.abc import Callable
from enum import StrEnum


class State(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Breaker:
    """Closed until `failures` calls in a row have failed. Then open: nobody calls, but once in `open_seconds` one call is let
    through as a trial, and its success closes it again. `now` is seconds of a clock that is never set back.
    """

    def __init__(self, now: Callable[[], float], failures: int = 5, open_seconds: float = 1.0) -> None:
        self._now = now
        self._most = failures
        self._pause = open_seconds
        self._failed = 0
        self._trial_at = 0.0
        self._state = State.CLOSED

    @property
    def state(self) -> State:
        return self._state

    def allows(self) -> bool:
        """Whether a call may be made now. The caller makes it, and then says how it went.

        A trial that nobody reports on (its task was ended) only costs the pause: then there is another.
        """
        if self._state is State.CLOSED:
            return True
        now = self._now()
        if now < self._trial_at:
            return False
        self._state = State.HALF_OPEN
        self._trial_at = now + self._pause
        return True

    def succeeded(self) -> None:
        self._failed = 0
        self._state = State.CLOSED

    def failed(self) -> None:
        self._failed += 1
        if self._failed >= self._most:
            self._state = State.OPEN
            self._trial_at = self._now() + self._pause
