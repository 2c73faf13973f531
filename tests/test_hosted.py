"""The server inside an Envoy that nobody keeps: it follows its configuration by itself."""

import asyncio
from pathlib import Path
from typing import cast

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


async def test_where_a_parent_reads_nobody_drains_a_worker_by_asking_for_it(tmp_path: Path) -> None:
    control, parent = tmp_path / "control.sock", cast("Tether", Parent())
    process = Process(Source(write(tmp_path)).start(), 0, control, inside=True, tied=parent)
    await process.start()
    while not process.worker.ready:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0)
    reader, writer = await asyncio.open_unix_connection(control)
    writer.write(RELOAD)
    assert await reader.read() == b""
    writer.close()
    assert process.worker.ready
    await process.stop()


async def test_whoever_can_reach_the_control_socket_can_have_it_read(tmp_path: Path) -> None:
    control = tmp_path / "control.sock"
    process = Process(Source(write(tmp_path)).start(), 0, control, inside=True, tied=None)
    await process.start()
    while not process.worker.ready:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0)
    write(tmp_path, quota(5))
    reader, writer = await asyncio.open_unix_connection(control)
    writer.write(RELOAD)
    assert await reader.read() == b""
    writer.close()
    async with asyncio.timeout(20):
        while process.worker.condition.generation == 1:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0)
    assert process.worker.ready
    assert process.worker.condition.status()["problem"] == []
    await process.stop()
