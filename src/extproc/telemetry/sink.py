"""Where log lines leave this process: through a thread of its own. Standard error is mostly a pipe, and whoever reads it may be
slow, stop, or be gone; no exchange waits for that, and none fails of it. What cannot be kept meanwhile is dropped and counted.
"""

import atexit
import json
import os
import select
import sys
import threading
from collections import deque
from datetime import UTC, datetime
from functools import cache
from typing import Final

MOST_BYTES: Final = 4 * 1024 * 1024
"""Of lines that wait: about ten thousand."""

TOGETHER: Final = select.PIPE_BUF
"""Bytes that leave at once. So many are never mixed with those of another process that writes into the same pipe (pipe(7))."""

GRACE: Final = 0.25
"""Seconds at the end for the lines that wait. Ctrl-C ends a process after one, and OpenTelemetry has a part of it too."""


class Sink:
    """Lines to the file descriptor `out`."""

    def __init__(self, out: int, most: int = MOST_BYTES) -> None:
        self._out, self._most = out, most
        self._waiting: deque[bytes] = deque()
        self._held = 0
        self._dropped = self._told = 0
        self._torn = b""
        self._changed = threading.Condition()  # its holder may take it again: whoever collects garbage may have to warn
        self._thread: threading.Thread | None = None

    @property
    def dropped(self) -> int:
        """Lines that nobody will read."""
        return self._dropped

    def write(self, line: str) -> None:
        """To be written soon, with a newline. From any thread; it waits for nobody and raises nothing."""
        data = line.encode("utf-8", "replace") + b"\n"
        with self._changed:
            if self._held + len(data) > self._most:
                self._dropped += 1
                return
            self._waiting.append(data)
            self._held += len(data)
            self._changed.notify_all()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()

    def flush(self, seconds: float = GRACE) -> bool:
        """Wait until all is written, for at most so long; whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._held, seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                dropped = self._dropped
                lines = self._some(_gone(dropped - self._told))
            well = self._put(b"".join(lines))
            with self._changed:
                self._held -= sum(map(len, lines[1:]))
                self._told = dropped if well else self._told
                self._dropped += 0 if well else len(lines) - 1
                self._changed.notify_all()

    def _some(self, first: bytes) -> list[bytes]:
        """`first`, and as many lines as leave together with it; one at least."""
        lines = [first, self._waiting.popleft()]
        size = len(first) + len(lines[1])
        while self._waiting and size + len(self._waiting[0]) <= TOGETHER:
            lines.append(self._waiting.popleft())
            size += len(lines[-1])
        return lines

    def _put(self, data: bytes) -> bool:
        """Whether somebody may read it. Here it may wait, for as long as it takes."""
        left = data = self._torn + data
        while left:
            try:
                left = left[os.write(self._out, left) :]
            except BlockingIOError:  # somebody else made it so, who has it too
                select.select([], [self._out], [])
            except OSError:  # nobody reads any more, or the disk is full: the counter says so
                self._torn = b"\n" if len(left) < len(data) else self._torn  # what comes next begins a line
                return False
        self._torn = b""
        return True


@cache
def standard_error() -> Sink:
    """That of this process. What waits at its end has GRACE."""
    sink = Sink(2 if sys.stderr else os.open(os.devnull, os.O_WRONLY))  # closed at our start, 2 may be anything by now
    atexit.register(sink.flush)
    return sink


def _gone(number: int) -> bytes:
    """A line that tells of dropped ones, if there are any."""
    at = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    told = {"timestamp": at, "level": "warning", "event": "log_lines_dropped", "number": number}
    return json.dumps(told).encode() + b"\n" if number else b""
