"""A list of Backends as one cluster: each keeps its own TLS, name and certificate, whoever's turn it was before."""

import pytest

from extproc.envoy.plan import Match, Retry, Rule, Tls, Upstream, VirtualHost
from tests.certificates import Authority, server_context
from tests.e2e.clients import http1, request_bytes
from tests.e2e.envoys import envoy, simple_plan
from tests.e2e.processes import Stub, free_port, short_directory
from tests.e2e.scripted import serving

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize(("name", "status"), [("second.test", 200), ("another.test", 503)])
def test_the_next_backend_has_its_own_tls(name: str, status: int) -> None:
    with short_directory() as directory, serving(directory / "extproc.sock"):
        ours = Authority(directory)
        second = Stub(server_context(ours.issue("second.test")))
        try:
            upstreams = (
                Upstream("egress/down", "localhost", free_port(), backend="egress/down", upstream_pass=True),
                Upstream("egress/second", "localhost", second.port, Tls(name, ours.file), True, "egress/second", True),
            )
            destinations = tuple((upstream, 1) for upstream in upstreams)
            rule = Rule("all", Match(), destinations, Retry(1), "egress/both")
            plan = simple_plan(directory, 1, upstreams=upstreams, hosts=(VirtualHost(("localhost",), (rule,)),))
            with envoy(plan, directory) as gateway:
                answer = http1(gateway.port, request_bytes("GET", "/x"))
        finally:
            second.stop()
    assert answer.status == status
    assert len(second.recorder.requests) == (1 if status == 200 else 0)
