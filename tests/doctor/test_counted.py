"""What a real Envoy counts when a server ends its streams cleanly, and when a circuit breaker is full."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from extproc.doctor.examine import of_envoy
from extproc.doctor.finding import Code
from tests.calls import serve
from tests.certificates import Authority
from tests.doctor.parts import Parts, needs_of, plan_in
from tests.doctor.real import running, told
from tests.e2e.processes import Stub, free_port, short_directory, wait_until

pytestmark = pytest.mark.e2e


def leave(requests: Iterator[Any], _: object) -> Iterator[Any]:
    """Read a message, and end the stream as if all were said."""
    next(requests)
    yield from ()


@contextmanager
def leaving(path: Path) -> Iterator[None]:
    """A server that does so, on the Unix socket `path`."""
    server = grpc.server(ThreadPoolExecutor(4))
    serve(server, leave)
    server.add_insecure_port(f"unix:{path}")
    server.start()
    try:
        yield
    finally:
        server.stop(0).wait()


def test_streams_that_ended_cleanly_and_a_full_circuit_breaker(stub: Stub) -> None:
    with short_directory() as directory, leaving(directory / "extproc.sock"):
        plan = plan_in(directory, Authority(directory).file)
        ended, full = Parts(plan, "ended"), Parts(plan, "full")
        full.breaker["max_requests"] = 0
        full.manager["stat_prefix"] = "full"
        ports = []
        for one in (ended, full):
            ports.append(free_port())
            one.listener["address"]["socket_address"]["port_value"] = ports[-1]
            endpoint = one.stub["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
            endpoint["address"]["socket_address"]["port_value"] = stub.port
        resources = {"listeners": [ended.listener, full.listener], "clusters": [*ended.clusters, *full.clusters]}
        with running({"static_resources": resources}, directory) as admin:
            answers = [httpx.get(f"http://localhost:{port}/counted").status_code for port in ports]
            wait_until(lambda: "_overflow" in str(told(admin).stats))
            said = told(admin)
    assert answers == [200, 503]
    needs = needs_of(plan)
    codes = [one.code for one in of_envoy("Envoy", said.dump, said.stats, needs)]
    assert {Code.TRAFFIC_ENDED, Code.TRAFFIC_OVERFLOW} <= set(codes)
