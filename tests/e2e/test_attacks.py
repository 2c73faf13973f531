"""Requests that are no ordinary ones: methods, hosts, paths and headers that two readers could read differently."""

from collections.abc import Iterator
from http.client import RemoteDisconnected

import orjson
import pytest

from tests.e2e.clients import Answer, http1, http2
from tests.e2e.gateway import AUTHN, INJECT, KEY, PII, TOKEN, Gateway, backend, gateway, policy, received
from tests.e2e.processes import Stub

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def gate(stub: Stub) -> Iterator[Gateway]:
    with gateway(policy(AUTHN), backend(stub.port, INJECT, PII)) as running:
        yield running


@pytest.fixture
def untouched(stub: Stub) -> Iterator[None]:
    """Nothing reaches the upstream in this test."""
    before = len(stub.recorder.requests)
    yield
    assert len(stub.recorder.requests) == before


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("method", ["TRACE", "TRACK", "trace"])
def test_methods_that_echo_are_403(gate: Gateway, method: str) -> None:
    try:
        answer = gate.send(method)
    except RemoteDisconnected:
        assert method != "TRACE"  # Envoy's codec does not know the others at all
    else:
        assert (answer.status, answer.code) == (403, "forbidden")


@pytest.mark.usefixtures("untouched")
def test_connect_is_403(gate: Gateway) -> None:
    head = f"CONNECT localhost:80 HTTP/1.1\r\nhost: localhost:80\r\nauthorization: Bearer {TOKEN}\r\n\r\n"
    answer = http1(gate.port, head.encode())
    assert (answer.status, answer.code) == (403, "forbidden")


@pytest.mark.usefixtures("untouched")
def test_connect_over_http2_is_refused(gate: Gateway) -> None:
    head = [(":method", "CONNECT"), (":authority", "localhost:80"), ("authorization", f"Bearer {TOKEN}")]
    assert http2(gate.port, head).status == 403


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("protocol", ["websocket", "anything", "WebSocket, h2c"])
def test_an_upgrade_is_403(gate: Gateway, protocol: str) -> None:
    answer = gate.get(headers=[("connection", "upgrade"), ("upgrade", protocol)])
    assert (answer.status, answer.code) == (403, "forbidden")


def test_an_upgrade_to_h2c_is_ignored(gate: Gateway, stub: Stub) -> None:
    """As RFC 9110 section 7.8 allows: the request is an ordinary one, and nothing of the upgrade goes on."""
    asked = [
        ("connection", "upgrade, http2-settings"),
        ("upgrade", "h2c"),
        ("http2-settings", "AAMAAABkAAQCAAAAAAIAAAAA"),
    ]
    assert gate.get("/attacks/h2c", headers=asked).status == 200
    headers = received(stub, "/attacks/h2c")
    assert not {"upgrade", "http2-settings", "connection"} & set(headers)


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    "host", ["localhost,other.test", "other.test", "local host", "localhost@other.test", "", "[::1]", "127.0.0.1", "*"]
)
def test_a_host_that_is_not_the_backends(gate: Gateway, host: str) -> None:
    try:
        answer = gate.get(host=host)
    except RemoteDisconnected:
        assert host == "local host"  # the codec's refusal
        return
    assert (answer.status, answer.code) in ((400, "bad_request"), (403, "no_backend"))


@pytest.mark.usefixtures("untouched")
def test_no_host_is_a_reply_of_envoys_own(gate: Gateway) -> None:
    """The server hears of it by a stream that begins with the response, and lets it be."""
    answer = gate.get(host=None)
    assert (answer.status, answer.code) == (400, "bad_request")


@pytest.mark.usefixtures("untouched")
def test_two_hosts(gate: Gateway) -> None:
    assert gate.get(headers=[("host", "other.test")]).status in (400, 403)


@pytest.mark.usefixtures("untouched")
def test_an_absolute_target_decides(gate: Gateway) -> None:
    assert gate.get("http://other.test/x", host="localhost").code == "no_backend"


@pytest.mark.parametrize("host", ["localhost:10000", "LocalHost", "localhost.", "LOCALHOST.:80"])
def test_a_host_in_another_form_is_the_same(gate: Gateway, host: str) -> None:
    assert gate.get(host=host).status == 200


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        ("/attacks/../b", "/b"),
        ("//attacks//c", "/attacks/c"),
        ("/attacks/%2e%2e/d", "/d"),
        ("/attacks/./e", "/attacks/e"),
    ],
)
def test_a_path_is_normalised_before_it_is_judged(gate: Gateway, stub: Stub, path: str, seen: str) -> None:
    assert gate.get(path).status == 200
    assert stub.recorder.last.path == seen


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("path", ["/a%00b", "/a%zz", "/a\\..\\b%5c", "/a%0d%0ab", "/a#b", "/caf\xe9", "/a%2fb"])
def test_a_path_with_two_readings_is_refused(gate: Gateway, path: str) -> None:
    try:
        assert gate.get(path).status in (307, 400)
    except RemoteDisconnected:
        assert path == "/caf\xe9"  # no character of a request line: the codec's refusal


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("value", [b"a\x00b", b"a\x01b", b"a\x7fb", b"a\x1bb"])
def test_control_characters_in_a_value_are_refused(gate: Gateway, value: bytes) -> None:
    try:
        answer = gate.get(headers=[("x-control", value)])
    except RemoteDisconnected:
        return
    assert answer.status == 400


@pytest.mark.parametrize(("value", "seen"), [(b"a\rb", "ab"), (b"a\r\n b", "a b"), (b"a\nb: c", "a")])
def test_line_ends_in_a_value_do_not_go_on(gate: Gateway, stub: Stub, value: bytes, seen: str) -> None:
    """Envoy's codec reads them as what they are: noise, a folded line, the end of the line."""
    assert gate.get("/attacks/line-end", headers=[("x-line-end", value)]).status == 200
    assert stub.recorder.last.values("x-line-end") == [seen]


@pytest.mark.usefixtures("untouched")
def test_a_forged_log_line_is_part_of_one_line(gate: Gateway) -> None:
    forged = '/x%22,%22level%22:%22info%22%0a{"forged":true}?a=\\n{"forged":true}'
    lines = logged(gate, gate.get(forged, token=None, headers=[("x-request-id", '{"forged": true}')])).splitlines()
    assert not any(orjson.loads(line).get("forged") for line in lines if line.startswith("{"))


def logged(gate: Gateway, denied: Answer) -> str:
    """What the server has said, with its line about this denial."""
    number = denied.json["error"]["request_id"]
    gate.server.wait_until(lambda: number in gate.server.output)
    return gate.server.output


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    "framing",
    [
        b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        b"content-length: +5\r\n\r\nhello",
        b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"transfer-encoding : chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_smuggling_is_refused(gate: Gateway, framing: bytes) -> None:
    head = f"POST /smuggled HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\n".encode()
    try:
        assert http1(gate.port, head + framing).status in (400, 403, 415, 501)
    except RemoteDisconnected:
        return


@pytest.mark.usefixtures("untouched")
def test_headers_that_leave_no_room_for_ours_are_431(gate: Gateway) -> None:
    """Envoy takes 100: the client's fault, and no failure of a policy."""
    answer = gate.get(headers=[("x-a", "b")] * 93)
    assert (answer.status, answer.code) == (431, "headers_too_large")


def test_no_secret_in_anything_that_was_said(gate: Gateway) -> None:
    answers = [gate.get("/attacks/a"), gate.get("/attacks/b", token=None), gate.send("TRACE")]
    output = logged(gate, answers[-1])
    assert KEY not in output
    assert TOKEN not in output
    assert all(KEY not in value for answer in answers for _, value in answer.headers)
