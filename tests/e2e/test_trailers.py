"""Trailers of requests: removed but for those that the configuration lists, as an upstream that reads them sees. And those of
answers, which may echo what was injected.
"""

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.e2e.clients import http1, request_bytes
from tests.e2e.gateway import AUTHN, INJECT, KEY, TOKEN, Gateway, backend, gateway, policy
from tests.e2e.test_upstream import raw

pytestmark = pytest.mark.e2e

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"


class Raw:
    """An upstream that keeps the bytes of each chunked request, trailers included, and answers `answer`."""

    def __init__(self) -> None:
        self.answer = ANSWER
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.requests: list[bytes] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self.requests.append(_chunked(connection))
                connection.sendall(self.answer)

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def _chunked(connection: socket.socket) -> bytes:
    """One request up to the empty line behind its trailers."""
    data = b""
    while not (b"\r\n0\r\n" in data and data.endswith(b"\r\n\r\n")):
        more = connection.recv(65536)
        if not more:
            break
        data += more
    return data


@pytest.fixture(scope="module")
def upstream() -> Iterator[Raw]:
    upstream = Raw()
    yield upstream
    upstream.stop()


@pytest.fixture(scope="module")
def gate(upstream: Raw) -> Iterator[Gateway]:
    with gateway(policy(AUTHN), backend(upstream.port, INJECT), requestTrailers=["x-checksum"]) as running:
        yield running


def trailers(request: bytes) -> list[bytes]:
    return request.rpartition(b"0\r\n")[2].strip().split(b"\r\n")


HIDDEN = [("authorization", "mine"), ("x-extproc-peer", "admin"), ("cookie", "c"), ("x-late", "1")]


def test_over_http2(gate: Gateway, upstream: Raw) -> None:
    answer = gate.send2("POST", body=b"body", trailers=[*HIDDEN, ("x-checksum", "abc")])
    assert answer.status == 200
    assert trailers(upstream.requests[-1]) == [b"x-checksum: abc"]
    assert f"authorization: Bearer {KEY}".encode() in upstream.requests[-1]


def test_over_http1(gate: Gateway, upstream: Raw) -> None:
    late = "".join(f"{name}: {value}\r\n" for name, value in HIDDEN)
    body = f"4\r\nbody\r\n0\r\nx-checksum: abc\r\n{late}\r\n".encode()
    head = f"POST /x HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\ntransfer-encoding: chunked\r\n\r\n"
    assert http1(gate.port, head.encode() + body).status == 200
    assert trailers(upstream.requests[-1]) == [b"x-checksum: abc"]


ECHOED = f"x-echo: {KEY}\r\ngrpc-message: no such key: {KEY}\r\n"


@pytest.mark.parametrize("announced", ["trailer: x-echo", "content-type: application/grpc"])
def test_an_answer_that_echoes_the_credential_in_them(gate: Gateway, upstream: Raw, announced: str) -> None:
    """Nobody inspects the body of this answer."""
    head = f"HTTP/1.1 200 OK\r\n{announced}\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    upstream.answer = f"{head}2\r\nok\r\n0\r\n{ECHOED}\r\n".encode()
    try:
        sent = [("authorization", f"Bearer {TOKEN}"), ("te", "trailers"), ("connection", "close")]
        answer = raw(gate.port, request_bytes("POST", "/x", [*sent, ("transfer-encoding", "chunked")]) + b"0\r\n\r\n")
    finally:
        upstream.answer = ANSWER
    assert answer.startswith(b"HTTP/1.1 200")
    assert sorted(trailers(answer)) == [b"grpc-message: no such key: ***", b"x-echo: ***"]
