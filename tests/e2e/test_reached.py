"""What Envoy says of an upstream that gave no answer, and whether we take it for one that has seen the request."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from extproc.core.closing import UNREACHED
from extproc.core.session import ENVOYS
from extproc.envoy.bootstrap import bootstrap
from extproc.envoy.plan import Match, Plan, Retry, Rule, Tls, Upstream, VirtualHost
from tests.certificates import Authority
from tests.e2e import envoys
from tests.e2e.clients import http1, request_bytes
from tests.e2e.processes import free_port, short_directory
from tests.e2e.scripted import serving

pytestmark = pytest.mark.e2e

Act = Callable[[socket.socket, int], None]
"""What an upstream does with a connection, by its number."""


def closes(connection: socket.socket, _number: int) -> None:
    connection.close()


def reads_and_closes(connection: socket.socket, _number: int) -> None:
    connection.recv(65536)
    connection.close()


def reads_and_waits(connection: socket.socket, _number: int) -> None:
    connection.recv(65536)
    connection.settimeout(5)
    with connection:
        try:
            connection.recv(1)
        except OSError:
            return


def answers_garbage(connection: socket.socket, _number: int) -> None:
    connection.recv(65536)
    connection.sendall(b"what?\r\n\r\n")
    connection.close()


def answers_503_once(connection: socket.socket, number: int) -> None:
    connection.recv(65536)
    if number == 0:
        connection.sendall(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    connection.close()


@contextmanager
def upstream(act: Act) -> Iterator[int]:
    """A server that does `act` with each connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        over = threading.Event()

        def serve() -> None:
            number = 0
            while not over.is_set():
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                act(connection, number)
                number += 1

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            over.set()
            server.shutdown(socket.SHUT_RDWR)


def asked(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[dict[str, Any]], None] = lambda _: None, **plan: Any
) -> str:
    """The details that the server hears of the answer to one request."""
    with short_directory() as directory, serving(directory / "extproc.sock") as scripted:

        def changed(wanted: Plan) -> Any:
            found = dict(bootstrap(wanted))
            change(found)
            return found

        monkeypatch.setattr(envoys, "bootstrap", changed)
        with envoys.envoy(envoys.simple_plan(directory, 1, **plan), directory) as running:
            http1(running.port, request_bytes("POST", "/x", [], b"ok", "localhost"))
        found = [one for one in scripted.requests if one.HasField("response_headers")]
        fields = found[-1].attributes["envoy.filters.http.ext_proc"].fields
        return fields["response.code_details"].string_value  # type: ignore[no-any-return]


def to(upstream: Upstream, retry: Retry | None = None) -> dict[str, Any]:
    host = VirtualHost(("localhost",), (Rule("all", Match(), ((upstream, 1),), retry),))
    return {"upstreams": (upstream,), "hosts": (host,)}


def at(port: int, host: str = "localhost") -> Upstream:
    return Upstream("egress/stub", host, port)


def route(found: dict[str, Any]) -> dict[str, Any]:
    listener = found["static_resources"]["listeners"][0]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return manager["route_config"]["virtual_hosts"][0]["routes"][0]["route"]  # type: ignore[no-any-return]


def cluster(found: dict[str, Any]) -> dict[str, Any]:
    return next(one for one in found["static_resources"]["clusters"] if one["name"] == "egress/stub")


def timing_out(found: dict[str, Any]) -> None:
    route(found)["timeout"] = "0.3s"


def timing_out_each_try(found: dict[str, Any]) -> None:
    route(found)["retry_policy"] = {"retry_on": "5xx", "num_retries": 1, "per_try_timeout": "0.3s"}


def hurried(found: dict[str, Any]) -> None:
    cluster(found)["connect_timeout"] = "0.3s"


def overflowing(found: dict[str, Any]) -> None:
    cluster(found)["circuit_breakers"] = {"thresholds": [{"max_requests": 0, "max_pending_requests": 0}]}


def dropping(found: dict[str, Any]) -> None:
    drop = {"category": "all", "drop_percentage": {"numerator": 100}}
    cluster(found)["load_assignment"]["policy"] = {"drop_overloads": [drop]}


def nowhere(found: dict[str, Any]) -> None:
    route(found)["cluster"] = "egress/other"
    listener = found["static_resources"]["listeners"][0]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    manager["route_config"]["validate_clusters"] = False


def nothing(_found: dict[str, Any]) -> None: ...


RESET = "upstream_reset_before_response_started"
RETRY = Retry(2, (503,))


@pytest.mark.parametrize(
    ("act", "change", "retry", "details", "reached"),
    [
        (None, nothing, None, RESET + "{remote_connection_failure", False),
        (None, nothing, RETRY, RESET + "{remote_connection_failure", False),
        (None, nowhere, None, "cluster_not_found", False),
        (closes, nothing, None, RESET + "{connection_termination", True),
        (closes, nothing, RETRY, RESET + "{connection_termination", True),
        (reads_and_closes, nothing, RETRY, RESET + "{connection_termination", True),
        (answers_garbage, nothing, None, RESET + "{protocol_error", True),
        (answers_503_once, nothing, RETRY, RESET + "{connection_termination", True),
        (reads_and_waits, timing_out, None, "response_timeout", True),
        (reads_and_waits, timing_out_each_try, None, "upstream_per_try_timeout", True),
        (reads_and_waits, overflowing, None, RESET + "{overflow}", False),
        (reads_and_waits, dropping, None, "unconditional_drop_overload", False),
    ],
)
def test_whether_anybody_has_seen_the_request(
    monkeypatch: pytest.MonkeyPatch,
    act: Act | None,
    change: Callable[[dict[str, Any]], None],
    retry: Retry | None,
    details: str,
    reached: bool,
) -> None:
    with upstream(act) if act else nullcontext(free_port()) as port:
        said = asked(monkeypatch, change, **to(at(port), retry))
    assert said.startswith(details)
    assert (UNREACHED.match(said) is None) is reached
    assert ENVOYS.match(said)


def test_a_name_that_nobody_has(monkeypatch: pytest.MonkeyPatch) -> None:
    assert UNREACHED.match(asked(monkeypatch, **to(at(80, "nobody.invalid"))))


def test_one_that_does_not_speak_tls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    authority = Authority(tmp_path).file
    with upstream(reads_and_closes) as port:
        assert UNREACHED.match(asked(monkeypatch, **to(replace(at(port), tls=Tls("localhost", authority)))))


def test_one_that_lets_nobody_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its queue is full, so that nobody connects within the time for it."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as others:
        for _ in range(3):
            other = others.enter_context(socket.socket())
            other.setblocking(False)
            other.connect_ex(full.getsockname())
        said = asked(monkeypatch, hurried, **to(at(full.getsockname()[1])))
    assert said == RESET + "{connection_timeout}"
    assert UNREACHED.match(said)


def test_an_answer_is_the_upstreams_own(monkeypatch: pytest.MonkeyPatch) -> None:
    with upstream(answers_503_once) as port:
        said = asked(monkeypatch, **to(at(port)))
    assert not UNREACHED.match(said)
    assert not ENVOYS.match(said)
