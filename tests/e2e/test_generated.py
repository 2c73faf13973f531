"""What the generated configuration makes of a server's answers, and of requests before and after the server sees them."""

import signal
import socket
import stat
from collections.abc import Iterator
from http.client import RemoteDisconnected

import pytest

from extproc.envoy.plan import Match, Rule, Upstream, VirtualHost
from extproc.policy.names import Address
from extproc.wire.pb import external_processor_pb2 as pb
from tests.e2e.clients import Answer, http1, http2, request_bytes
from tests.e2e.envoys import Envoy, envoy, simple_plan
from tests.e2e.processes import Stub, admin_get, short_directory
from tests.e2e.scripted import Script, Scripted, go_on, serving

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def running(stub: Stub) -> Iterator[tuple[Scripted, Envoy]]:
    with short_directory() as directory, serving(directory / "extproc.sock") as scripted:
        plan = simple_plan(directory, stub.port, request_body=True, response_body=True, max_body_bytes=65536)
        with envoy(plan, directory) as gateway:
            yield scripted, gateway


@pytest.fixture
def server(running: tuple[Scripted, Envoy]) -> Iterator[Scripted]:
    scripted = running[0]
    scripted.requests.clear()
    yield scripted
    scripted.script = go_on


@pytest.fixture
def port(running: tuple[Scripted, Envoy]) -> int:
    return running[1].port


def setting(**headers: str) -> Script:
    """A server that sets these request headers (`_` for `-`, `__` for `:`)."""

    def script(request: pb.ProcessingRequest) -> pb.ProcessingResponse:
        response = go_on(request)
        if request.HasField("request_headers"):
            for name, value in headers.items():
                option = response.request_headers.response.header_mutation.set_headers.add()
                option.header.key = name.replace("__", ":").replace("_", "-")
                option.header.raw_value = value.encode()
        return response

    return script


def removing(name: str) -> Script:
    def script(request: pb.ProcessingRequest) -> pb.ProcessingResponse:
        response = go_on(request)
        if request.HasField("request_headers"):
            response.request_headers.response.header_mutation.remove_headers.append(name)
        return response

    return script


def get(port: int, path: str = "/x", **options: object) -> Answer:
    return http1(port, request_bytes("GET", path, **options))  # type: ignore[arg-type]


def upstream_headers(answer: Answer) -> dict[str, str]:
    return dict(answer.json["x_received"]["headers"])


def test_what_the_server_may_change(server: Scripted, port: int) -> None:
    server.script = setting(authorization="Bearer injected", __path="/x?key=1", cookie="c")
    answer = get(port, headers=[("authorization", "Bearer workload")])
    assert answer.json["x_received"]["path"] == "/x?key=1"
    assert upstream_headers(answer)["authorization"] == "Bearer injected"


@pytest.mark.parametrize(
    "name",
    ["host", "__authority", "__scheme", "__method", "x_envoy_retry_on", "transfer_encoding", "connection", "upgrade"],
)
def test_what_not_even_the_server_may_set(server: Scripted, port: int, name: str) -> None:
    server.script = setting(**{name: "chunked"})
    answer = get(port)
    assert (answer.status, answer.code) == (503, "policy_unavailable")


@pytest.mark.parametrize("name", ["host", "x-envoy-retry-on", "transfer-encoding"])
def test_what_not_even_the_server_may_remove(server: Scripted, port: int, name: str) -> None:
    server.script = removing(name)
    assert get(port).status == 503


def test_a_body_that_changed_takes_content_length_along(server: Scripted, port: int) -> None:
    def script(request: pb.ProcessingRequest) -> pb.ProcessingResponse:
        response = go_on(request)
        if request.HasField("request_body"):
            response.request_body.response.body_mutation.body = b"shorter"
            option = response.request_body.response.header_mutation.set_headers.add()
            option.header.key, option.header.raw_value = "content-length", b"7"
        return response

    server.script = script
    answer = http1(port, request_bytes("POST", "/x", body=b"a longer body"))
    assert answer.json["x_received"]["body"] == "shorter"
    assert upstream_headers(answer)["content-length"] == "7"


def test_attributes_and_modes_are_told(server: Scripted, port: int) -> None:
    get(port)
    first, response = server.requests[0], server.requests[1]
    told = first.attributes["envoy.filters.http.ext_proc"].fields
    assert told["xds.cluster_name"].string_value == "egress/stub"
    assert told["xds.route_name"].string_value == "all"
    assert told["source.address"].string_value.startswith("127.0.0.1:")
    assert (first.protocol_config.request_body_mode, first.protocol_config.response_body_mode) == (2, 2)
    details = response.attributes["envoy.filters.http.ext_proc"].fields["response.code_details"].string_value
    assert details == "via_upstream"


def test_own_answers_of_the_server_are_left_alone(server: Scripted, port: int) -> None:
    def script(request: pb.ProcessingRequest) -> pb.ProcessingResponse:
        response = pb.ProcessingResponse()
        response.immediate_response.status.code = 403
        response.immediate_response.body = b'{"error":{"code":"ours"}}'
        response.immediate_response.details = "extproc_ours"
        option = response.immediate_response.headers.set_headers.add()
        option.header.key, option.header.raw_value = "content-type", b"application/json"
        return response

    server.script = script
    answer = get(port)
    assert (answer.status, answer.body) == (403, b'{"error":{"code":"ours"}}')
    assert answer.values("content-type") == ["application/json"]


def test_answers_of_the_backend_are_left_alone(server: Scripted, port: int) -> None:
    answer = get(port, "/status/503")
    assert (answer.status, answer.json["error"]["type"]) == (503, "stub")


def test_a_backend_that_goes_away_is_503(server: Scripted, port: int) -> None:
    answer = get(port, "/reset")
    assert (answer.status, answer.code) == (503, "backend_unavailable")


def test_a_server_that_fails_is_503(server: Scripted, port: int) -> None:
    def script(request: pb.ProcessingRequest) -> pb.ProcessingResponse:
        raise ValueError("text of the server")

    server.script = script
    answer = get(port)
    assert (answer.status, answer.code) == (503, "policy_unavailable")
    assert b"text of the server" not in answer.body  # gRPC tells Envoy of it, Envoy its log, and nobody the client


def test_the_one_worker_that_serves_is_asked_by_all(stub: Stub) -> None:
    with short_directory() as directory, serving(directory / "extproc.sock"):
        others = (Address(path=directory / f"nobody-{number}.sock") for number in range(3))
        plan = simple_plan(directory, stub.port, sockets=(*others, Address(path=directory / "extproc.sock")))
        with envoy(plan, directory) as gateway:
            assert [get(gateway.port).status for _ in range(20)] == [200] * 20


def test_a_dns_server_that_says_nothing_keeps_no_other_backend_waiting(stub: Stub) -> None:
    with (
        short_directory() as directory,
        serving(directory / "extproc.sock"),
        socket.socket(type=socket.SOCK_DGRAM) as silent,
    ):
        silent.bind(("127.0.0.1", 0))
        resolvers = (Address(host="127.0.0.1", port=silent.getsockname()[1]),)
        upstreams = Upstream("egress/stub", "localhost", stub.port, internal=True), Upstream("egress/a", "a.test", 80)
        hosts = tuple(VirtualHost((one.host,), (Rule("all", Match(), ((one, 1),)),)) for one in upstreams)
        plan = simple_plan(directory, stub.port, upstreams=upstreams, hosts=hosts, resolvers=resolvers)
        with envoy(plan, directory) as gateway:
            assert get(gateway.port).status == 200
            assert get(gateway.port, host="a.test").code == "backend_unavailable"


def test_a_spurious_answer_is_503(server: Scripted, port: int) -> None:
    server.script = lambda request: pb.ProcessingResponse(response_body=pb.BodyResponse())
    answer = get(port)
    assert (answer.status, answer.code) == (503, "policy_unavailable")


def test_a_request_too_large_is_413(server: Scripted, port: int) -> None:
    answer = http1(port, request_bytes("POST", "/x", body=b"x" * 400_000))
    assert (answer.status, answer.code) == (413, "body_too_large")


def test_a_response_too_large_is_502(server: Scripted, port: int) -> None:
    answer = get(port, "/big/1MiB")
    assert (answer.status, answer.code) == (502, "response_unprocessable")


def test_an_unknown_host_is_asked_about_and_goes_nowhere(server: Scripted, port: int) -> None:
    answer = get(port, host="nowhere.test")
    assert (answer.status, answer.code) == (403, "no_backend")
    assert "xds.cluster_name" not in server.requests[0].attributes["envoy.filters.http.ext_proc"].fields


@pytest.mark.parametrize("host", ["localhost:1234", "LOCALHOST", "localhost."])
def test_the_host_is_normalised(server: Scripted, port: int, host: str) -> None:
    answer = get(port, host=host)
    assert answer.status == 200
    fields = {header.key: header.raw_value for header in server.requests[0].request_headers.headers.headers}
    assert fields[":authority"].lower() == b"localhost"


@pytest.mark.parametrize(
    ("path", "seen"), [("/a/../b", b"/b"), ("//a//b", b"/a/b"), ("/a/./b", b"/a/b"), ("/%61", b"/a")]
)
def test_the_path_is_normalised(server: Scripted, port: int, path: str, seen: bytes) -> None:
    get(port, path)
    fields = {header.key: header.raw_value for header in server.requests[0].request_headers.headers.headers}
    assert fields[":path"] == seen


@pytest.mark.parametrize("path", ["/a%2fb", "/a%5cb", "/a%2F..%2Fb"])
def test_escaped_slashes_are_redirected(server: Scripted, port: int, path: str) -> None:
    assert get(port, path).status == 307


@pytest.mark.parametrize(
    "sent",
    [
        request_bytes(host=None),
        request_bytes(path="/a#b"),
        b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
    ],
)
def test_ambiguous_requests_reach_nothing(server: Scripted, stub: Stub, port: int, sent: bytes) -> None:
    before = len(stub.recorder.requests)
    assert http1(port, sent).status in (400, 403)
    assert len(stub.recorder.requests) == before


@pytest.mark.parametrize(
    "sent",
    [
        request_bytes(headers=[("x_user", "root")]),
        b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        b"GET / HTTP/1.0\r\n\r\n",
    ],
)
def test_what_the_codec_refuses_reaches_nothing(server: Scripted, stub: Stub, port: int, sent: bytes) -> None:
    """Envoy closes such a connection at once, before its answer has come back from the ext_proc filter."""
    before = len(stub.recorder.requests)
    with pytest.raises(RemoteDisconnected):
        http1(port, sent)
    assert len(stub.recorder.requests) == before


def test_an_upgrade_is_refused(server: Scripted, port: int) -> None:
    answer = http1(port, request_bytes(headers=[("connection", "upgrade"), ("upgrade", "websocket")]))
    assert (answer.status, answer.code) == (403, "forbidden")


def test_the_backend_learns_nothing_of_the_inside(server: Scripted, port: int) -> None:
    spoofed = [("x-forwarded-for", "10.0.0.1"), ("forwarded", "for=10.0.0.1"), ("x-envoy-max-retries", "9")]
    received = upstream_headers(get(port, headers=spoofed))
    assert not [name for name in received if "forwarded" in name.lower() or name.lower().startswith("x-envoy")]
    assert {name: value for name, value in received.items() if name.lower() == "host"}.popitem()[1].startswith(
        "localhost:"
    )


def test_trailers_of_a_request_are_told_and_can_be_removed(server: Scripted, port: int) -> None:
    def script(request: pb.ProcessingRequest) -> pb.ProcessingResponse:
        response = go_on(request)
        if request.HasField("request_trailers"):
            response.request_trailers.header_mutation.remove_headers.append("x-late")
        return response

    server.script = script
    head = [(":method", "POST"), (":path", "/x"), (":scheme", "http"), (":authority", "localhost")]
    answer = http2(port, head, b"body", [("x-late", "secret")])
    assert answer.status == 200
    assert [r for r in server.requests if r.HasField("request_trailers")]
    assert "x-late" not in upstream_headers(answer)


def test_the_access_log_has_no_path_query_or_header(running: tuple[Scripted, Envoy], server: Scripted) -> None:
    envoy = running[1]
    answer = get(envoy.port, "/canary-path?canary=query", headers=[("authorization", "canary-header")])
    envoy.process.wait_until(lambda: upstream_headers(answer)["x-request-id"] in envoy.process.output)
    assert "canary" not in "".join(line for line in envoy.process.output.splitlines() if line.startswith("{"))


def test_a_caller_cannot_write_what_it_likes_into_the_access_log(running: tuple[Scripted, Envoy]) -> None:
    envoy = running[1]
    http2(envoy.port, [(":method", "Y" * 50_000), (":path", "/x"), (":scheme", "http"), (":authority", "localhost")])
    envoy.process.wait_until(lambda: '"method":"YYY' in envoy.process.output)
    assert max(map(len, envoy.process.output.splitlines())) < 1000


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/ready", True),
        ("/stats?filter=ext_proc", True),
        ("/config_dump", True),
        ("/runtime", False),
        ("/quitquitquit", False),
    ],
)
def test_admin_serves_only_what_is_needed(running: tuple[Scripted, Envoy], path: str, allowed: bool) -> None:
    status = admin_get(running[1].admin, path).split(b" ", 2)[1]
    assert (status == b"200") is allowed


def test_the_admin_socket_is_ours_and_survives_a_kill(stub: Stub) -> None:
    with short_directory() as directory, serving(directory / "extproc.sock"):
        plan = simple_plan(directory, stub.port)
        with envoy(plan, directory) as first:
            assert stat.S_IMODE(first.admin.stat().st_mode) == 0o660
            first.process.stop(signal.SIGKILL)
        with envoy(plan, directory) as second:
            assert get(second.port).status == 200
