"""One process that serves: how it ends."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from extproc.compose import configure
from extproc.errors import ConfigError
from extproc.serving import INTERRUPTED, Process

PATIENCE = 10.0

SETTINGS = """\
apiVersion: egress.extproc.dev/v1alpha1
kind: ExtProcConfiguration
gateway: egress/egress
authentication: none
listen: [{{address: "unix://{folder}/extproc.sock"}}]
admin: "unix://{folder}/admin.sock"
drainSeconds: {drain}
"""


def process(folder: Path, drain: float) -> Process:
    folder.chmod(0o700)
    file = folder / "extproc.yaml"
    file.write_text(SETTINGS.format(folder=folder, drain=drain))
    resolved = configure(file)
    return Process(resolved, 0, resolved.settings.admin)


def sends(*numbers: signal.Signals) -> Callable[[], None]:
    def send() -> None:
        for number in numbers:
            os.kill(os.getpid(), number)

    return send


async def ended(process: Process, on_ready: Callable[[], None]) -> int:
    return await asyncio.wait_for(process.run(on_ready), PATIENCE)


async def test_sigterm_drains(tmp_path: Path) -> None:
    assert await ended(process(tmp_path, 0), sends(signal.SIGTERM)) == 0


async def test_sigint_ends_at_once(tmp_path: Path) -> None:
    assert await ended(process(tmp_path, 3600), sends(signal.SIGINT)) == INTERRUPTED


async def test_a_second_sigterm_cuts_no_drain_short(tmp_path: Path) -> None:
    serving = process(tmp_path, 0.2)
    ending = asyncio.ensure_future(ended(serving, sends(signal.SIGTERM)))
    while not serving._started or serving._ready:  # noqa: ASYNC110 - it tells nobody that it drains
        await asyncio.sleep(0)
    sends(signal.SIGTERM)()
    assert await ending == 0


async def test_sigint_cuts_a_drain_short_even_if_it_comes_with_the_sigterm(tmp_path: Path) -> None:
    assert await ended(process(tmp_path, 3600), sends(signal.SIGTERM, signal.SIGINT)) == INTERRUPTED


async def test_an_admin_port_that_is_taken_is_a_refusal(tmp_path: Path) -> None:
    (tmp_path / "admin.sock").write_text("somebody else's")
    with pytest.raises(ConfigError, match="cannot listen on"):
        await ended(process(tmp_path, 0), sends())
    assert not (tmp_path / "extproc.sock").exists()
