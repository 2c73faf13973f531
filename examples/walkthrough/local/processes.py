"""Processes on free ports of loopback, each with its output in a file, and ended by their own process groups."""

import asyncio
import os
import shlex
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from extproc.envoy.process import launch

POLL = 0.05
"""Seconds between two questions whether something is ready."""
GRACE = 8.0
"""Seconds that a process has to end."""


class Unfit(Exception):
    """Something that is needed is not here, or does not start; the sentence says what."""


@dataclass(frozen=True)
class Process:
    """One that was started, and the file of its output."""

    process: asyncio.subprocess.Process
    log: Path

    async def ready(self, is_ready: Callable[[], Awaitable[bool]], patience: float) -> None:
        """Wait for it, for so many seconds. Raises: Unfit."""
        try:
            async with asyncio.timeout(patience):
                while not await is_ready():
                    if self.process.returncode is not None:
                        raise self._unfit(f"ended with {self.process.returncode}")
                    await asyncio.sleep(POLL)
        except TimeoutError:
            raise self._unfit(f"was not ready within {patience:g} seconds") from None

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """With all that it started. One that has ended is let be: its number may be another's by now."""
        if self.process.returncode is not None:
            return
        self._signal(how)
        try:
            async with asyncio.timeout(GRACE):
                await self.process.wait()
        except TimeoutError:
            pass
        self._signal(signal.SIGKILL)
        await self.process.wait()

    async def succeeded(self) -> None:
        """Wait for its end. Raises: Unfit."""
        if await self.process.wait():
            raise self._unfit(f"ended with {self.process.returncode}")

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def _unfit(self, what: str) -> Unfit:
        return Unfit(f"{self.log.stem} {what}:\n{self.log.read_text('utf-8', 'replace')[-3000:]}")


async def start(argv: Sequence[str], log: Path, environ: Mapping[str, str] | None = None) -> Process:
    """`environ` comes by a file, not by an argument: those can be seen by every user of this machine."""
    variables = log.with_suffix(".env")
    variables.touch(0o600)
    variables.write_text("".join(f"export {name}={shlex.quote(value)}\n" for name, value in (environ or {}).items()))
    script = '. "$0"; log=$1; shift; exec "$@" >>"$log" 2>&1 </dev/null'
    return Process(await launch(("/usr/bin/env", "-i", "/bin/sh", "-c", script, str(variables), str(log), *argv)), log)


@asynccontextmanager
async def running(argv: Sequence[str], log: Path) -> AsyncIterator[Process]:
    """From its start to its end, which loses nothing that anybody wants."""
    process = await start(argv, log)
    try:
        yield process
    finally:
        await process.stop(signal.SIGKILL)


def free_port() -> int:
    """Free for TCP and for UDP."""
    with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagram:
        stream.bind(("127.0.0.1", 0))
        port = int(stream.getsockname()[1])
        datagram.bind(("127.0.0.1", port))
        return port


async def accepts(port: int) -> bool:
    """Whether somebody listens."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def answers(port: int, path: str) -> bool:
    """Whether a GET of it is answered with a status below 400."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
        status = (await reader.readline()).split(b" ")[1:2]
        writer.close()
    except OSError:
        return False
    return bool(status) and status[0] < b"400"


def write(path: Path, content: bytes) -> None:
    """For this user alone: it may be a key."""
    path.parent.mkdir(0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.touch(0o600)
    path.write_bytes(content)
