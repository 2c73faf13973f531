"""A worker's end of what ties it to its parent: a socket pair, and a pipe with a key that all workers share.

The worker says on the socket that it is ready, and answers what the parent asks, line by line. Its end means to the worker that
the parent is gone, however that happened: so no worker survives its parent.
"""

import asyncio
import os
import queue
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

TETHER: Final = "EXTPROC_TETHER"
"""Environment variable: the file descriptor that ties a worker to its parent."""

KEY: Final = "EXTPROC_KEY_FD"
"""Environment variable: the file descriptor from which a worker reads the key that it shares with the others. The key itself is
in no environment: other processes of the user can read that (proc(5), `environ`).
"""

KEY_BYTES: Final = 32

SNAPSHOT: Final = "EXTPROC_SNAPSHOT"
"""Environment variable: the file with the configuration that a worker is to begin with, which all others have too."""


class Tether:
    """The worker's end."""

    def __init__(self, connection: socket.socket) -> None:
        connection.set_inheritable(False)
        self._connection = connection
        self._heard: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._listener: Callable[[], object] | None = None
        threading.Thread(target=self._watch, name="tether", daemon=True).start()

    def ready(self) -> None:
        """Tell the parent that this worker serves."""
        self._connection.send(b"+")

    async def hear(self) -> bytes:
        """The next line of the parent."""
        loop, came = asyncio.get_running_loop(), asyncio.Event()
        self._listener = lambda: loop.call_soon_threadsafe(came.set)
        while self._heard.empty():
            await came.wait()
            came.clear()
        return self._heard.get()

    def say(self, line: bytes) -> None:
        """Answer the parent, in one line."""
        self._connection.sendall(line + b"\n")

    def _watch(self) -> None:
        """End at once when the parent has ended, whatever the event loop is doing."""
        with suppress(OSError):
            for line in self._connection.makefile("rb"):
                self._heard.put(line)
                with suppress(RuntimeError):  # the loop is closed: nobody listens any more
                    if self._listener:
                        self._listener()
        os._exit(1)


def tether() -> Tether | None:
    """The tie to the parent, if this process is a worker; None if it was started by itself. To be asked for once."""
    number = os.environ.pop(TETHER, None)
    return Tether(socket.socket(fileno=int(number))) if number else None


def shared_key() -> bytes | None:
    """The key of this worker and the others of its parent; None if this process was started by itself. To be asked for once.

    Raises: ValueError, if there is no whole key to be read.
    """
    number = os.environ.pop(KEY, None)
    if number is None:
        return None
    with os.fdopen(int(number), "rb") as pipe:
        key = pipe.read(KEY_BYTES + 1)
    if len(key) != KEY_BYTES:
        raise ValueError(f"the parent gave {len(key)} bytes as a key of {KEY_BYTES}")
    return key


def snapshot_file() -> Path | None:
    """The file of what this worker is to begin with; None if it was started by itself."""
    found = os.environ.pop(SNAPSHOT, None)
    return Path(found) if found else None
