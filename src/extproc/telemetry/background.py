"""Work that waits for others, in a thread of its own, so that no exchange waits for them."""

import threading
import time
from collections.abc import Callable

import structlog

log = structlog.get_logger("extproc.telemetry")


class Background:
    """Does `work` every so many seconds and when it is woken, and once more at its end. Errors are told, and nothing more."""

    def __init__(self, name: str, work: Callable[[], None], every: float) -> None:
        self._name, self._work, self._every = name, work, every
        self._woken, self._ending = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Soon, rather than when it would be time."""
        if not self._woken.is_set():
            self._woken.set()

    def rest(self, seconds: float) -> None:
        """Of the work itself: let others work. Not at the end."""
        self._ending.wait(seconds)

    def end(self) -> None:
        """To be followed by `wait`."""
        self._ending.set()
        self._woken.set()

    def wait(self, until: float) -> bool:
        """Whether it has ended by `until` (as time.monotonic tells). If it has not, it is left behind: it keeps no process from
        ending.
        """
        if self._thread.is_alive():
            self._thread.join(max(0.0, until - time.monotonic()))
        return not self._thread.is_alive()

    def _run(self) -> None:
        ending = False
        while not ending:
            self._woken.wait(self._every)
            self._woken.clear()
            ending = self._ending.is_set()
            self._once()

    def _once(self) -> None:
        try:
            self._work()
        except Exception:
            log.exception("background_failed", name=self._name)
