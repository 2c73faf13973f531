"""Workers that do not answer, and those that are replaced."""

import asyncio
import signal
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from extproc import hosting
from extproc.cli.main import app
from extproc.envoy.keep import DRAIN, DRAINED, Keeper
from extproc.reload.source import Loaded
from extproc.workers import Crew, Patience
from tests.reload.making import write
from tests.wire.test_workers import crew_of, starts, when


async def _soon(_: float) -> None:
    await asyncio.sleep(0)


async def test_a_worker_that_gives_no_answer_is_replaced(tmp_path: Path) -> None:
    """It would serve what is not in force any more, or go over when nobody expects it."""
    crew = crew_of(tmp_path, "serve", sleep=_soon)
    ready = when(crew, lambda ready: ready == 1)
    running = asyncio.ensure_future(crew.run())
    await ready.wait()
    again = when(crew, lambda ready: ready == 1)
    assert await crew.ask(0, {"do": "prepare"}, 0.01) is None
    async with asyncio.timeout(20):
        await again.wait()
    crew.stop(signal.SIGTERM)
    assert await running == 0
    assert len(starts(tmp_path, 0)) == 2


async def test_one_that_does_not_even_end_is_killed(tmp_path: Path) -> None:
    crew = crew_of(tmp_path, "deaf", sleep=_soon, patience=Patience(drain=0.05))
    ready = when(crew, lambda ready: ready == 1)
    running = asyncio.ensure_future(crew.run())
    await ready.wait()
    again = when(crew, lambda ready: ready == 1)
    crew.replace(0)
    async with asyncio.timeout(20):
        await again.wait()
    crew.stop(signal.SIGINT)
    await running
    assert len(starts(tmp_path, 0)) == 2


@pytest.mark.parametrize("said", [b"x" * 1000, b"no JSON\n"])
async def test_an_answer_that_is_none_is_as_good_as_silence(said: bytes) -> None:
    crew = Crew(1, lambda _: [])
    ours, theirs = socket.socketpair()
    with theirs:
        line = await asyncio.open_connection(sock=ours, limit=64)
        crew._workers[0].line = line
        theirs.send(said)
        assert await crew.ask(0, {"do": "drop"}, 20) is None
        line[1].close()


async def test_an_envoy_that_is_replaced_drains_first(tmp_path: Path) -> None:
    """Envoy itself ends at once."""
    order = list[bytes]()

    async def control(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        order.append(await reader.readline())
        writer.write(DRAINED)
        writer.close()

    path = tmp_path / "control.sock"
    server = await asyncio.start_unix_server(control, path)
    keeper = Keeper(1, crew_of(tmp_path, "serve").command, sleep=_soon, controls=(path,))
    ready = when(keeper, lambda ready: ready == 1)
    running = asyncio.ensure_future(keeper.run())
    await ready.wait()
    again = when(keeper, lambda ready: ready == 1)
    keeper.replace(0)
    async with asyncio.timeout(20):
        await again.wait()
    assert order == [DRAIN]
    assert len(starts(tmp_path, 0)) == 2
    keeper.stop(signal.SIGINT)
    await running
    server.close()


@pytest.mark.parametrize(
    ("arguments", "function"),
    [(["serve", "--transport", "envoy"], "serve"), (["run", "--mode", "inprocess"], "run")],
)
def test_processes_in_another_folder_get_an_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], function: str
) -> None:
    seen = list[Loaded]()

    async def serve(*given: object) -> int:
        seen.extend(one for one in given if isinstance(one, Loaded))
        return 0

    write(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hosting, function, serve)
    CliRunner().invoke(app, [*arguments, "--config", "config.yaml"])
    (loaded,) = seen
    assert loaded.source.path == tmp_path / "config.yaml"
    assert all(path.is_absolute() for path in loaded.looks)
