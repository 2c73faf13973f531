"""The server inside an Envoy: what is said on its control socket, where somebody keeps it and where nobody does."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from extproc.envoy.keep import DRAIN, DRAINED
from extproc.hosted import RELOAD, Process
from extproc.reload.source import Source
from extproc.tether import Tether
from tests.e2e.gateway import quota
from tests.reload.making import write


class Parent:
    """Says nothing."""

    def ready(self) -> None: ...

    async def hear(self) -> bytes:
        await asyncio.Event().wait()
        return b""


async def until(holds: Callable[[], bool]) -> None:
    """Raises: TimeoutError."""
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0)


@asynccontextmanager
async def serving(folder: Path, tied: Parent | None, **settings: Any) -> AsyncIterator[Process]:
    """A process that serves a configuration in `folder`."""
    source = Source(write(folder, **settings)).start()
    process = Process(source, 0, folder / "control.sock", inside=True, tied=cast("Tether | None", tied))
    await process.start()
    try:
        await until(lambda: process.worker.ready)
        yield process
    finally:
        await process.stop()


async def ask(process: Process, what: bytes = RELOAD) -> bytes:
    """What it says to that."""
    assert process.control
    reader, writer = await asyncio.open_unix_connection(process.control)
    writer.write(what)
    writer.write_eof()
    said = await reader.read()
    writer.close()
    return said


async def test_where_a_parent_reads_nobody_drains_a_worker_by_asking_for_it(tmp_path: Path) -> None:
    async with serving(tmp_path, Parent()) as process:
        assert await ask(process) == b""
        assert process.worker.ready


@pytest.mark.parametrize("how", [RELOAD, RELOAD.strip(), b"reload\r\n"])
async def test_whoever_can_reach_the_control_socket_can_have_it_read(tmp_path: Path, how: bytes) -> None:
    async with serving(tmp_path, None) as process:
        write(tmp_path, quota(5))
        assert await ask(process, how) == b""
        await until(lambda: process.worker.condition.generation > 1)
        assert process.worker.ready
        assert process.worker.condition.status()["problem"] == []


@pytest.mark.parametrize("said", [b"", b"\n", b"relod\n", b"drain reload\n", b"x" * 100_000], ids=len)
async def test_what_is_no_word_of_it_changes_nothing(tmp_path: Path, said: bytes) -> None:
    async with serving(tmp_path, None) as process:
        assert await ask(process, said) == b""
        assert process.worker.ready


async def test_who_tells_it_to_drain_is_told_when_it_has(tmp_path: Path) -> None:
    async with serving(tmp_path, None, drainSeconds=0) as process:
        assert await ask(process, DRAIN) == DRAINED
        assert not process.worker.ready
