"""Bodies that pass piece by piece, through the real Envoy: when each piece leaves, how it ends, and how it breaks off."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.e2e.gateway import AUTHN, Gateway, backend, gateway, policy
from tests.e2e.pieces import Pieces

pytestmark = pytest.mark.e2e

TYPE = "tests.example/Shouting:v1"
SHOUT = {"name": "shout", "type": TYPE, "phase": "response-body"}
SHOUT_REQUEST = {
    "name": "shout-request",
    "type": TYPE,
    "phase": "request-body",
    "when": "'x-upload' in request.headers",
}
SSE = "content-type: text/event-stream"


@pytest.fixture(scope="module")
def upstream() -> Iterator[Pieces]:
    upstream = Pieces()
    yield upstream
    upstream.stop()


@pytest.fixture(scope="module")
def gate(upstream: Pieces) -> Iterator[Gateway]:
    documents = policy(AUTHN), backend(upstream.port, SHOUT_REQUEST, SHOUT)
    with gateway(*documents, filters={TYPE: "tests.e2e.shouting:Shouting"}) as running:
        yield running


@contextmanager
def asks(gate: Gateway, **headers: str) -> Iterator[httpx.Response]:
    """A request whose answer is read as it comes."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    with gate.client() as client, client.stream("GET", "/pieces", headers=fields) as answer:
        yield answer


@pytest.mark.parametrize(("reading", "shown"), [("stream", str.upper), ("watch", str), ("nothing", str)])
def test_each_piece_leaves_before_the_next_arrives(gate: Gateway, upstream: Pieces, reading: str, shown) -> None:
    upstream.answer(SSE)
    upstream.say(b"one\n")
    with asks(gate, x_reading=reading) as answer:
        pieces = answer.iter_raw()
        for word in ("one\n", "two\n", "three\n"):
            assert next(pieces).decode() == shown(word)
            if word == "three\n":
                upstream.end()
            else:
                upstream.say({"one\n": b"two\n", "two\n": b"three\n"}[word])
        assert list(pieces) == []
        assert answer.status_code == 200


def test_what_is_held_back_leaves_at_the_end(gate: Gateway, upstream: Pieces) -> None:
    upstream.answer(SSE)
    upstream.say(b"one\ntw")
    with asks(gate, x_reading="stream") as answer:
        pieces = answer.iter_raw()
        assert next(pieces) == b"ONE\n"
        upstream.say(b"o")
        upstream.end()
        assert b"".join(pieces) == b"TWO"
        assert answer.headers["x-shouted"] == "yes"


@pytest.mark.parametrize("reading", ["stream", "watch", "whole"])
def test_an_answer_of_many_sizes_is_whole(gate: Gateway, upstream: Pieces, reading: str) -> None:
    upstream.answer("content-type: application/json", "etag: x")
    sent = b"".join(b"%d " % number * 50 + b"line\n" for number in range(400))
    for start in range(0, len(sent), 7001):
        upstream.say(sent[start : start + 7001])
    upstream.end()
    with asks(gate, x_reading=reading) as answer:
        assert answer.read() == (sent if reading == "watch" else sent.upper())
        assert ("etag" in answer.headers) == (reading == "watch")


@pytest.mark.parametrize("reading", ["stream", "watch"])
def test_an_answer_with_trailers(gate: Gateway, upstream: Pieces, reading: str) -> None:
    upstream.answer(SSE, "trailer: x-sum")
    upstream.say(b"one\ntwo")
    upstream.end(["x-sum: 1"])
    with asks(gate, x_reading=reading) as answer:
        assert answer.read().upper() == b"ONE\nTWO"


def test_a_filter_ends_the_stream(gate: Gateway, upstream: Pieces) -> None:
    upstream.answer(SSE)
    upstream.say(b"one\n")
    with asks(gate, x_reading="stream", x_do="end") as answer:
        pieces = answer.iter_raw()
        assert next(pieces) == b"ONE\n"
        upstream.say(b"stop\n")
        assert b"".join(pieces) == b"OVER\n"
    assert upstream.gone.wait(5)
    upstream.cut()


def test_a_failure_in_the_middle_resets_the_client(gate: Gateway, upstream: Pieces) -> None:
    upstream.answer(SSE)
    upstream.say(b"one\n")
    with asks(gate, x_reading="stream", x_do="fail") as answer:
        pieces = answer.iter_raw()
        assert next(pieces) == b"ONE\n"
        upstream.say(b"stop\n")
        with pytest.raises(httpx.RemoteProtocolError):
            list(pieces)
    upstream.cut()


def test_an_upstream_that_breaks_off(gate: Gateway, upstream: Pieces) -> None:
    upstream.answer(SSE)
    upstream.say(b"one\ntw")
    with asks(gate, x_reading="stream") as answer:
        pieces = answer.iter_raw()
        assert next(pieces) == b"ONE\n"
        upstream.cut()
        with pytest.raises(httpx.RemoteProtocolError):
            list(pieces)


def test_a_client_that_leaves_ends_the_upstream(gate: Gateway, upstream: Pieces) -> None:
    upstream.answer(SSE)
    upstream.say(b"one\n")
    with asks(gate, x_reading="stream") as answer:
        assert next(answer.iter_raw()) == b"ONE\n"
    assert upstream.gone.wait(5)


@pytest.mark.parametrize("reading", ["stream", "watch", "whole"])
def test_a_request_passes_piece_by_piece(gate: Gateway, upstream: Pieces, reading: str) -> None:
    upstream.answer("content-type: text/plain")
    upstream.end()
    sent = b"line\n" * 40_000
    headers = {"x-upload": "1", "x-reading": reading, "content-type": "text/plain"}
    with gate.client() as client:
        answer = client.post("/pieces", content=iter([sent[:70_001], sent[70_001:]]), headers=headers)
    assert answer.status_code == 200
    body = upstream.requests.get(timeout=5).partition(b"\r\n\r\n")[2]
    assert (b"line" in body, b"LINE" in body) == ((True, False) if reading == "watch" else (False, True))


def test_a_large_answer_that_is_streamed_is_not_bound_by_buffers(gate: Gateway, upstream: Pieces) -> None:
    """Twice the largest body that any extension reads, and more: 3 MB where the buffers hold 576 KiB."""
    upstream.answer("content-type: application/json")
    for _ in range(48):
        upstream.say(b"x" * 65_535 + b"\n")
    upstream.end()
    with asks(gate, x_reading="stream") as answer:
        assert len(answer.read()) == 48 * 65_536
