"""Nobody reads the log of the server: the node's disk is full, or the container runtime hangs. Exchanges go on."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.e2e import gateway as gateways
from tests.e2e.gateway import AUTHN, INJECT, TRANSPORT, Gateway, backend, gateway, policy
from tests.e2e.processes import Process, Stub

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        TRANSPORT == "inprocess", reason="lines of Envoy's own are in the pipe, and its end waits for a reader"
    ),
]

DENIALS = 400
"""Lines of about 350 bytes: twice what a pipe takes."""


class Piped(Process):
    """A process whose output goes into a pipe."""

    def __init__(self, argv: Sequence[str], log: Path, environ: dict[str, str] | None = None) -> None:
        self.argv, self.log = argv, log
        self.reading, writing = os.pipe()
        self._errors = log
        log.touch()
        self.popen = subprocess.Popen(argv, stdout=writing, stderr=writing, env=environ)
        os.close(writing)


@pytest.fixture
def gate(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    monkeypatch.setattr(gateways, "Process", Piped)
    with gateway(policy(AUTHN), backend(stub.port, INJECT)) as running:
        yield running
        with suppress(OSError):
            os.close(reading(running))


def reading(gate: Gateway) -> int:
    assert isinstance(gate.server, Piped)
    return gate.server.reading


@pytest.mark.parametrize("reader", ["stopped", "gone"])
def test_exchanges_go_on(gate: Gateway, reader: str) -> None:
    if reader == "gone":
        os.close(reading(gate))
    statuses = [gate.get("/unread", token="nobodys").status for _ in range(DENIALS)]
    assert statuses == [401] * DENIALS
    assert gate.get("/unread").status == 200
    metrics = httpx.get(f"http://{gate.admin_port}/metrics").text
    [denials] = [line for line in metrics.splitlines() if line.startswith("extproc_denials_total{")]
    assert denials.endswith(f" {DENIALS}.0")
    [dropped] = [line for line in metrics.splitlines() if line.startswith("extproc_log_lines_dropped_total ")]
    assert (float(dropped.partition(" ")[2]) > 0) is (reader == "gone")
    assert gate.server.stop() == 0
