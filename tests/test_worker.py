"""What a process that serves makes room for."""

from pathlib import Path

import pytest

from extproc.compose import configure
from extproc.envoy.resolved import plan_of
from extproc.reload.source import Source
from extproc.wire.framing import ROOM
from extproc.worker import Worker
from tests.e2e.gateway import PII
from tests.reload.making import write


@pytest.mark.parametrize("most", [1000, 1024 * 1024, 16 * 1024 * 1024])
async def test_one_message_may_hold_what_envoy_reads_before_it_stops(tmp_path: Path, most: int) -> None:
    """Its buffer, and once more as much: of a body that is streamed all of that comes as one piece."""
    path = write(tmp_path, {**PII, "config": {"maxBodyBytes": most}})
    worker = Worker(Source(path).start(), "127.0.0.1:0", lambda: 0)
    try:
        assert worker.largest + ROOM >= 2 * plan_of(configure(path)).buffer_bytes
    finally:
        await worker.stop()
