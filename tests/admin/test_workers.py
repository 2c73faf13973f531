"""Several real worker processes behind one admin port."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from extproc.admin import Workers

WORKER = """
import asyncio, sys
from prometheus_client import CollectorRegistry
from extproc.admin import Admin, Health
from extproc.core.event import Record
from extproc.telemetry import Metrics
from extproc.telemetry.exposition import expose

async def main(path, exchanges, ready):
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    for _ in range(int(exchanges)):
        metrics.count(Record("egress/egress"))
    admin = Admin(
        f"unix://{path}",
        health=lambda: Health(ready=ready == "ready", started=True, problems=tuple(filter(None, ready.split("|")[1:]))),
        metrics=lambda: expose(registry),
        status=lambda: {"exchanges": int(exchanges)},
        catalog=dict,
    )
    await admin.start()
    print("listening", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await admin.stop()

asyncio.run(main(*sys.argv[1:]))
"""


class Processes:
    """The workers of a test, by their names."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.running: dict[str, asyncio.subprocess.Process] = {}

    async def start(self, name: str, exchanges: int, ready: str = "ready") -> Path:
        path = self.directory / f"{name}.sock"
        pipe = asyncio.subprocess.PIPE
        command = (sys.executable, "-c", WORKER, str(path), str(exchanges), ready)
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
        self.running[name] = process
        assert process.stdout is not None
        assert await process.stdout.readline() == b"listening\n"
        return path

    async def kill(self, name: str) -> None:
        process = self.running.pop(name)
        process.kill()
        await process.communicate()


@pytest.fixture
async def processes(tmp_path: Path) -> AsyncIterator[Processes]:
    started = Processes(tmp_path)
    yield started
    for name in list(started.running):
        await started.kill(name)


def requests(exposition: bytes) -> dict[str, float]:
    families = text_string_to_metric_families(exposition.decode())
    samples = [sample for family in families for sample in family.samples]
    return {sample.labels["worker"]: sample.value for sample in samples if sample.name == "extproc_requests_total"}


async def test_the_parent_tells_what_all_workers_count(processes: Processes) -> None:
    workers = Workers({"0": await processes.start("0", 3), "1": await processes.start("1", 5)})
    assert requests(await workers.metrics()) == {"0": 3, "1": 5}
    assert (await workers.status())["workers"] == {"0": {"exchanges": 3}, "1": {"exchanges": 5}}
    health = await workers.health()
    assert (health.ready, health.started) == (True, True)


async def test_a_worker_that_was_killed_shows_and_comes_back(processes: Processes) -> None:
    workers = Workers({"0": await processes.start("0", 3), "1": await processes.start("1", 5)})
    await processes.kill("1")
    exposition = await workers.metrics()
    assert b'extproc_worker_up{worker="1"} 0' in exposition
    assert b'extproc_worker_up{worker="0"} 1' in exposition
    assert (await workers.status())["workers"]["1"] is None
    health = await workers.health()
    assert (health.ready, health.problems) == (False, ("worker 1: it does not answer",))

    await processes.start("1", 2)
    assert b'extproc_worker_up{worker="1"} 1' in await workers.metrics()
    assert (await workers.health()).ready


async def test_one_worker_that_is_not_ready_is_enough(processes: Processes) -> None:
    workers = Workers({"0": await processes.start("0", 3), "1": await processes.start("1", 5, "starting")})
    health = await workers.health()
    assert (health.ready, health.started) == (False, True)
    assert health.problems == ("worker 1: not yet, or no longer",)


async def test_each_problem_names_its_worker(processes: Processes) -> None:
    bad = await processes.start("1", 0, "|redis: it refuses connections|vault: it is sealed")
    workers = Workers(
        {"0": await processes.start("0", 0), "1": bad, "2": await processes.start("2", 0, "|redis: gone")}
    )
    health = await workers.health()
    assert (health.ready, health.started) == (False, True)
    assert health.problems == (
        "worker 1: redis: it refuses connections",
        "worker 1: vault: it is sealed",
        "worker 2: redis: gone",
    )


async def test_a_worker_that_hangs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extproc.admin.workers.PATIENCE", 0.05)
    done = asyncio.Event()

    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()
        writer.close()

    path = tmp_path / "silent.sock"
    server = await asyncio.start_unix_server(silent, path)
    assert await Workers({"0": path}).metrics() == (
        b"# HELP extproc_worker_up Whether the worker told its metrics.\n"
        b'# TYPE extproc_worker_up gauge\nextproc_worker_up{worker="0"} 0\n'
    )
    done.set()
    server.close()
