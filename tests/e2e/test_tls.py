"""TLS towards a Backend: the certificate must be of a trusted authority, and for the Backend's name."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from extproc.envoy.plan import Match, Rule, Tls, Upstream, VirtualHost
from tests.certificates import Authority, server_context
from tests.e2e.clients import Answer, http1, request_bytes
from tests.e2e.envoys import envoy, simple_plan
from tests.e2e.processes import Stub, short_directory
from tests.e2e.scripted import serving

pytestmark = pytest.mark.e2e


@contextmanager
def stubs(directory: Path) -> Iterator[tuple[dict[str, Upstream], dict[str, Stub]]]:
    """A stub for each case, all at localhost: what differs is the certificate and what Envoy is told to expect."""
    ours, alien = Authority(directory), Authority(directory, "alien")
    client = ours.issue("client.test")
    contexts = {
        "right.test": server_context(ours.issue("right.test")),
        "wrong.test": server_context(ours.issue("other.test")),
        "wild.test": server_context(ours.issue("*.test")),
        "alien.test": server_context(alien.issue("alien.test")),
        "mutual.test": server_context(ours.issue("mutual.test"), ours.file),
        "anonymous.test": server_context(ours.issue("anonymous.test"), ours.file),
        "127.0.0.1": server_context(ours.issue("127.0.0.1")),
        "127.0.0.2": server_context(ours.issue("127.0.0.3")),
    }
    running = {name: Stub(context) for name, context in contexts.items()}
    mutual = {"mutual.test": {"cert": client.cert, "key": client.key}}
    upstreams = {
        name: Upstream(f"egress/{name}", "localhost", stub.port, Tls(name, ours.file, **mutual.get(name, {})))
        for name, stub in running.items()
    }
    try:
        yield upstreams, running
    finally:
        for stub in running.values():
            stub.stop()


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Callable[[str], Answer], dict[str, Stub]]]:
    with short_directory() as directory, serving(directory / "extproc.sock"), stubs(directory) as (upstreams, started):
        hosts = tuple(
            VirtualHost((name,), (Rule(name, Match(), ((upstream, 1),)),)) for name, upstream in upstreams.items()
        )
        plan = simple_plan(directory, 1, upstreams=tuple(upstreams.values()), hosts=hosts)
        with envoy(plan, directory) as gateway:
            yield lambda host: http1(gateway.port, request_bytes("GET", "/x", host=host)), started


@pytest.mark.parametrize("host", ["right.test", "wild.test", "mutual.test", "127.0.0.1"])
def test_a_right_certificate_is_accepted(running: tuple[Callable[[str], Answer], dict[str, Stub]], host: str) -> None:
    ask, _ = running
    assert ask(host).status == 200


@pytest.mark.parametrize("host", ["wrong.test", "alien.test", "anonymous.test", "127.0.0.2"])
def test_a_wrong_certificate_is_503_and_nothing_is_sent(
    running: tuple[Callable[[str], Answer], dict[str, Stub]], host: str
) -> None:
    ask, started = running
    answer = ask(host)
    assert (answer.status, answer.code) == (503, "backend_unavailable")
    assert not started[host].recorder.requests
