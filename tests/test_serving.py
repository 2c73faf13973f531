"""One process that serves: how it ends."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from extproc.errors import ConfigError
from extproc.policy.describe import needs
from extproc.reload.source import Source
from extproc.serving import INTERRUPTED, Process
from extproc.worker import Worker

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
    loaded = Source(file).start()
    return Process(loaded, 0, loaded.resolved.settings.admin)


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
    while serving._worker is None or not serving._worker._started or serving._worker.ready:  # noqa: ASYNC110 - it tells nobody that it drains
        await asyncio.sleep(0)
    sends(signal.SIGTERM)()
    assert await ending == 0


async def test_sigint_cuts_a_drain_short_even_if_it_comes_with_the_sigterm(tmp_path: Path) -> None:
    assert await ended(process(tmp_path, 3600), sends(signal.SIGTERM, signal.SIGINT)) == INTERRUPTED


async def test_a_hangup_that_comes_before_it_serves_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody starts it, and has it read its configuration at once."""
    start = Worker.start

    async def hung_up(worker: Worker) -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        await start(worker)

    monkeypatch.setattr(Worker, "start", hung_up)
    serving = process(tmp_path, 0)
    running = asyncio.ensure_future(ended(serving, lambda: None))
    while serving._worker is None or serving._worker.condition.generation == 1:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running == 0


async def test_an_admin_port_that_is_taken_is_a_refusal(tmp_path: Path) -> None:
    (tmp_path / "admin.sock").write_text("somebody else's")
    with pytest.raises(ConfigError, match="cannot listen on"):
        await ended(process(tmp_path, 0), sends())
    assert not (tmp_path / "extproc.sock").exists()


UNREACHABLE = """\
---
apiVersion: egress.extproc.dev/v1alpha1
kind: EgressPolicy
metadata: {{name: limits, namespace: egress}}
spec:
  targetRefs: [{{kind: Gateway, name: egress}}]
  extensions:
  - name: quota
    type: QoSController:v1
    phase: request-headers
    failOpen: {fail_open}
    config:
      store: redis
      {fallback}
      limits: [{{name: all, requests: 5, window: 1m, key: ["'all'"]}}]
"""


@pytest.mark.parametrize(
    ("fail_open", "fallback", "status"),
    [("false", "", 503), ("true", "", 200), ("false", "fallback: local", 200)],
    ids=["required", "open", "fallback"],
)
async def test_a_dependency_that_was_never_there(tmp_path: Path, fail_open: str, fallback: str, status: int) -> None:
    """A start without it is no failure; /readyz tells of it only if an exchange needs it, and gRPC health never does."""
    process(tmp_path, 0)
    file = tmp_path / "extproc.yaml"
    connections = f"connections: {{redis: {{url: unix://{tmp_path}/no-redis.sock}}}}\n"
    policies = UNREACHABLE.format(fail_open=fail_open, fallback=fallback)
    file.write_text(file.read_text() + connections + policies)
    loaded = Source(file).start()
    serving = Process(loaded, 0, loaded.resolved.settings.admin)
    up = asyncio.Event()
    running = asyncio.ensure_future(ended(serving, up.set))
    await asyncio.wait_for(up.wait(), PATIENCE)
    while serving._worker is None or serving._worker._status()["dependencies"]["redis"]["reachable"] is None:  # noqa: ASYNC110 - it tells nobody that it asked
        await asyncio.sleep(0)
    transport = httpx.AsyncHTTPTransport(uds=str(tmp_path / "admin.sock"))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        ready = await client.get("/readyz")
        told = (await client.get("/status")).json()
    assert ready.status_code == status
    assert ready.text == "ok\n" if status == 200 else ready.text.startswith("redis: ")
    assert told["ready"] is (status == 200)
    assert told["dependencies"]["redis"]["required"] is (status == 503)
    assert told["dependencies"]["redis"]["reachable"] is False
    assert told["needs"] == needs(loaded.resolved)
    assert told["needs"]["maxBodyBytes"] == 1048576
    async with grpc.aio.insecure_channel(f"unix://{tmp_path}/extproc.sock") as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=""))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    sends(signal.SIGTERM)()
    assert await running == 0
