"""A circuit breaker: what is down is not waited for by every request."""

from collections.abc import Callable
from enum import StrEnum


class BreakerState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Breaker:
    """Opens after so many `failures` in a row, and lets one question through every `cooldown` seconds from then on.
    `now` is seconds of a clock that is never set.
    """

    def __init__(self, now: Callable[[], float], failures: int = 5, cooldown: float = 1.0) -> None:
        if failures < 1 or cooldown <= 0:
            raise ValueError("a breaker wants at least one failure, and a cooldown of more than 0 seconds")
        self._now = now
        self._most = failures
        self._cooldown = cooldown
        self._failures = 0
        self._next = 0.0
        """When the next question may be let through, while it is not closed."""

    @property
    def failures(self) -> int:
        """In a row, until now."""
        return self._failures

    @property
    def state(self) -> BreakerState:
        if self._failures < self._most:
            return BreakerState.CLOSED
        return BreakerState.OPEN if self._now() < self._next else BreakerState.HALF_OPEN

    def admits(self) -> bool:
        """Whether a question may be asked now. Half open it says so once for each cooldown: a question that is never
        answered holds nobody up for longer.
        """
        if self._failures < self._most:
            return True
        now = self._now()
        if now < self._next:
            return False
        self._next = now + self._cooldown
        return True

    def succeeded(self) -> None:
        self._failures = 0

    def failed(self) -> None:
        """Failures of questions that were asked before it opened keep it open no longer."""
        self._failures += 1
        if self._failures == self._most:
            self._next = self._now() + self._cooldown
