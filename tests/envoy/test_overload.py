"""An Envoy that has no memory left for more: what is new is told so, as everything else that Envoy itself answers."""

import json
import os
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection

import pytest

from extproc.envoy.binary import command, find_envoy
from extproc.envoy.bootstrap import bootstrap, text
from extproc.policy.names import Address
from tests.e2e.processes import Process, envoy_live, free_port, short_directory, wait_until
from tests.envoy.test_bootstrap import plan

pytestmark = pytest.mark.e2e


@pytest.fixture
def port() -> Iterator[int]:
    """Of a gateway whose memory is full from the begin; the server that it would ask is away."""
    found = free_port()
    with short_directory() as folder:
        admin, server = Address(path=folder / "admin.sock"), Address(path=folder / "x.sock")
        listen = Address(host="127.0.0.1", port=found)
        config = bootstrap(plan(listen=listen, admin=admin, sockets=(server,), max_heap_bytes=1))
        (folder / "envoy.yaml").write_text(text(config))
        envoy = Process(command(find_envoy(os.environ), folder / "envoy.yaml", concurrency=1), folder / "envoy.log")
        try:
            envoy.wait_until(lambda: envoy_live(folder / "admin.sock"))
            yield found
        finally:
            envoy.stop()


def code_of(port: int) -> tuple[int, str]:
    with closing(HTTPConnection("127.0.0.1", port, timeout=5)) as caller:
        caller.request("GET", "/", headers={"host": "localhost"})
        answer = caller.getresponse()
        return answer.status, json.loads(answer.read())["error"]["code"]


def test_what_is_new_is_told_that_the_gateway_cannot_serve_it(port: int) -> None:
    """Until it has looked at its memory for the first time it asks the server."""
    wait_until(lambda: code_of(port) != (503, "policy_unavailable"))
    assert code_of(port) == (503, "gateway_error")


def test_nothing_bounds_it_unless_it_is_told() -> None:
    (connections,) = bootstrap(plan())["overload_manager"]["resource_monitors"]
    assert "connections" in connections["name"]
    full = bootstrap(plan(max_heap_bytes=100))["overload_manager"]
    assert full["resource_monitors"][1]["typed_config"]["max_heap_size_bytes"] == 100
    assert [one["name"].rpartition(".")[2] for one in full["actions"]] == ["shrink_heap", "stop_accepting_requests"]
