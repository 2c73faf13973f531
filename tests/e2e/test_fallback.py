"""A list of Backends as one cluster: each keeps its own TLS, name and certificate, whoever's turn it was before, and each
caller of many gets to the next one.
"""

import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from extproc.envoy.plan import Match, Retry, Rule, Tls, Upstream, VirtualHost
from tests.certificates import Authority, server_context
from tests.e2e.clients import http1, request_bytes
from tests.e2e.envoys import envoy, simple_plan
from tests.e2e.processes import Stub, free_port, short_directory, wait_until
from tests.e2e.scripted import serving

pytestmark = pytest.mark.e2e

CALLERS = 8


@contextmanager
def followed(name: str) -> Iterator[tuple[int, Stub]]:
    """A gateway whose first Backend is down, and the second, `second.test`, called `name`, which speaks TLS 1.3 alone."""
    with short_directory() as directory, serving(directory / "extproc.sock"):
        ours = Authority(directory)
        newest = server_context(ours.issue("second.test"))
        newest.minimum_version = ssl.TLSVersion.TLSv1_3
        second = Stub(newest)
        try:
            upstreams = (
                Upstream("egress/down", "localhost", free_port(), backend="egress/down", upstream_pass=True),
                Upstream("egress/second", "localhost", second.port, Tls(name, ours.file), True, "egress/second", True),
            )
            destinations = tuple((upstream, 1) for upstream in upstreams)
            rule = Rule("all", Match(), destinations, Retry(1), "egress/both")
            plan = simple_plan(directory, 1, upstreams=upstreams, hosts=(VirtualHost(("localhost",), (rule,)),))
            with envoy(plan, directory) as gateway:
                yield gateway.port, second
        finally:
            second.stop()


@pytest.mark.parametrize(("name", "status"), [("second.test", 200), ("another.test", 503)])
def test_the_next_backend_has_its_own_tls(name: str, status: int) -> None:
    with followed(name) as (port, second):
        assert http1(port, request_bytes("GET", "/x")).status == status
    assert len(second.recorder.requests) == (1 if status == 200 else 0)


def test_all_callers_at_once_get_to_the_next_backend() -> None:
    """Which answers none of them before it has seen them all."""
    with followed("second.test") as (port, second), ThreadPoolExecutor(CALLERS) as callers:
        waiting = request_bytes("GET", "/x", [("x-stub-gate", "all")])
        asked = [callers.submit(http1, port, waiting) for _ in range(CALLERS)]
        wait_until(lambda: len(second.recorder.requests) + sum(one.done() for one in asked) >= CALLERS)
        assert http1(port, request_bytes("POST", f"/__release/all?count={CALLERS}")).status == 204
        assert [one.result().status for one in asked] == [200] * CALLERS
