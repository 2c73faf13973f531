"""One bash for the whole page: what a step sets, the next one has. A command that fails ends it, as `set -e` says."""

import asyncio
import os
import shlex
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from .page import Broken, Step

PATIENCE = 120.0
"""Seconds for one step."""


class Shell:
    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        """`folder` gets each step as a file, and its output."""
        self._process, self._folder = process, folder
        self._count = 0

    async def run(self, step: Step) -> str:
        """What it prints, to both streams. Raises: Broken, if it fails or takes too long."""
        self._count += 1
        script, output = (self._folder / f"{self._count}.{ending}" for ending in ("sh", "out"))
        script.write_text(f"{step.code}\n", "utf-8")
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin and stdout  # noqa: S101, PT018 - it was started with pipes
        stdin.write(f"source {shlex.quote(str(script))} </dev/null >{shlex.quote(str(output))} 2>&1; echo\n".encode())
        try:
            async with asyncio.timeout(PATIENCE):
                ended = await stdout.readline() == b""
        except TimeoutError:
            raise Broken(f"line {step.line}: not done after {PATIENCE:g} seconds") from None
        text = output.read_text("utf-8", "replace")
        if ended:
            raise Broken(f"line {step.line}: it failed with exit code {await self._process.wait()}:\n{text}")
        return text


@asynccontextmanager
async def shell(folder: Path, tree: Path, environ: Mapping[str, str]) -> AsyncIterator[Shell]:
    """A bash in `tree`, gone at the end with all that it started."""
    pipe = asyncio.subprocess.PIPE
    argv = ("bash", "--noprofile", "--norc", "-euo", "pipefail")
    process = await asyncio.create_subprocess_exec(
        *argv, cwd=tree, env=dict(environ), stdin=pipe, stdout=pipe, start_new_session=True
    )
    try:
        yield Shell(process, folder)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
