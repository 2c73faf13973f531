"""Real processes for tests: free ports, short directories for sockets, bounded starts, and an end by process id."""

import asyncio
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from aiohttp import web

from extproc.stub import Recorder, application

PATIENCE = 20.0
"""Seconds for a process to get ready, or to end."""


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


@contextmanager
def short_directory() -> Iterator[Path]:
    """A directory of ours whose name is short enough for Unix sockets."""
    path = Path(tempfile.mkdtemp(prefix="xp-", dir="/tmp"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def wait_until(ready: Callable[[], bool]) -> None:
    """Ask until it is so. Raises: TimeoutError."""
    deadline = time.monotonic() + PATIENCE
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError("what was waited for did not come")
        time.sleep(0.02)


class Process:
    """A process with its output in a file, and what it tells of itself in one beside it: an Envoy that has our server inside
    writes to both, and its access log in pieces.
    """

    def __init__(self, argv: Sequence[str], log: Path, environ: dict[str, str] | None = None) -> None:
        self.argv, self.log = argv, log
        self._errors = log.with_suffix(".err")
        with log.open("ab") as output, self._errors.open("ab") as errors:
            self.popen = subprocess.Popen(argv, stdout=output, stderr=errors, env=environ)

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Wait for what this process is to bring about."""

        def over() -> bool:
            if self.popen.poll() is not None:
                raise RuntimeError(f"{self.argv[:3]} ended with {self.popen.returncode}:\n{self.output}")
            return ready()

        wait_until(over)

    @property
    def output(self) -> str:
        return "".join(path.read_text("utf-8", "replace") for path in (self._errors, self.log))

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it, and say how it ended."""
        if self.popen.poll() is None:
            self.popen.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Wait for its end, and say how it ended."""
        try:
            code = self.popen.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait(PATIENCE)
            raise
        assert " panicked at " not in self.output  # Python's module in Envoy, which goes on as if nothing were
        return code


def accepts(where: Path | int) -> bool:
    """Whether somebody listens on this Unix socket or port."""
    family = socket.AF_UNIX if isinstance(where, Path) else socket.AF_INET
    address = str(where) if isinstance(where, Path) else ("127.0.0.1", where)
    with socket.socket(family) as trial:
        trial.settimeout(1)
        return trial.connect_ex(address) == 0


def envoy_live(admin: Path) -> bool:
    """Whether the Envoy of this admin socket has its listeners open."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1)
        if connection.connect_ex(str(admin)) != 0:
            return False
        connection.sendall(b"GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        try:
            return connection.recv(64).startswith(b"HTTP/1.1 200 ")
        except TimeoutError:  # it has bound the socket, and is not yet answering
            return False


def admin_get(admin: Path, path: str) -> bytes:
    """An answer of Envoy's admin interface, status line and all."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(str(admin))
        connection.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: connection.recv(65536), b""))


class Stub:
    """The stub upstream in a thread of its own; what it received is in `recorder`."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.port = free_port()
        self.recorder = Recorder(deque(maxlen=10_000))
        self._tls = tls
        self._started, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        if not self._started.wait(PATIENCE):
            raise RuntimeError("the stub did not start")

    def _serve(self) -> None:
        asyncio.run(self._run())

    async def _run(self) -> None:
        runner = web.AppRunner(application(self.recorder), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port, ssl_context=self._tls).start()
        self._started.set()
        await asyncio.to_thread(self._stop.wait)
        await runner.cleanup()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(PATIENCE)

    def received(self, path: str) -> list:
        """The requests to exactly this target."""
        return [request for request in tuple(self.recorder.requests) if request.path == path]
