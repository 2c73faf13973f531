"""Lines of the log that outsiders can provoke, so seldom that they cannot fill it."""

import time
from collections.abc import Callable
from typing import Any, Final

import structlog

log = structlog.get_logger("extproc.wire")

EVERY: Final = 1.0
"""Seconds between two lines of one event."""


class Seldom:
    """A line of each event EVERY seconds, which says how many before it were left out."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def warning(self, event: str, **told: object) -> None:
        """`event` is one of a few fixed words."""
        now = self._clock()
        if now - self._last.get(event, now - EVERY) < EVERY:
            self._left_out[event] = self._left_out.get(event, 0) + 1
            return
        self._last[event] = now
        more: dict[str, Any] = {"left_out": count} if (count := self._left_out.pop(event, 0)) else {}
        log.warning(event, **told, **more)
