"""Bodies: what leaves is redacted and whole, and what cannot be read does not leave."""

import gzip
from collections.abc import Iterator

import orjson
import pytest

from tests.e2e.clients import Answer
from tests.e2e.gateway import AUTHN, INJECT, PII, Gateway, backend, gateway, policy
from tests.e2e.processes import Stub

pytestmark = pytest.mark.e2e

JSON = [("content-type", "application/json")]
MEBIBYTE = 1024 * 1024


@pytest.fixture(scope="module")
def gate(stub: Stub) -> Iterator[Gateway]:
    with gateway(policy(AUTHN), backend(stub.port, INJECT, PII)) as running:
        yield running


def post(gate: Gateway, body: bytes, headers: list[tuple[str, str | bytes]] | None = None) -> Answer:
    return gate.send("POST", "/bodies", headers=JSON if headers is None else headers, body=body)


def upstream(stub: Stub) -> tuple[bytes, list[str]]:
    """The body that arrived last, and its content-length."""
    last = stub.recorder.last
    return last.body, last.values("content-length")


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        ({"a": "mail jane@example.com now"}, {"a": "mail [EMAIL_ADDRESS] now"}),
        ({"a": {"b": ["jane@example.com"]}}, {"a": {"b": ["[EMAIL_ADDRESS]"]}}),
        ({"jane@example.com": 1}, {"[EMAIL_ADDRESS]": 1}),
        ({"a": "nothing here"}, {"a": "nothing here"}),
    ],
)
def test_personal_data_is_gone_and_the_length_is_right(gate: Gateway, stub: Stub, sent: dict, seen: dict) -> None:
    assert post(gate, orjson.dumps(sent)).status == 200
    body, length = upstream(stub)
    assert orjson.loads(body) == seen
    assert length == [str(len(body))]


def test_escapes_hide_nothing(gate: Gateway, stub: Stub) -> None:
    assert post(gate, b'{"a": "jane\\u0040example.com"}').status == 200
    assert b"[EMAIL_ADDRESS]" in upstream(stub)[0]


def test_a_chunked_body(gate: Gateway, stub: Stub) -> None:
    with gate.client() as client:
        answer = client.post("/bodies", content=iter([b'{"a": "jane@', b'example.com"}']), headers=JSON)
    assert answer.status_code == 200
    assert orjson.loads(upstream(stub)[0]) == {"a": "[EMAIL_ADDRESS]"}


def test_a_compressed_body_goes_on_uncompressed(gate: Gateway, stub: Stub) -> None:
    body = gzip.compress(b'{"a": "jane@example.com"}')
    assert post(gate, body, [*JSON, ("content-encoding", "gzip")]).status == 200
    assert orjson.loads(upstream(stub)[0]) == {"a": "[EMAIL_ADDRESS]"}
    assert not stub.recorder.last.values("content-encoding")


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS"])
def test_requests_without_a_body(gate: Gateway, stub: Stub, method: str) -> None:
    answer = gate.send(method, f"/bodies/{method}")
    assert answer.status == 200
    assert len(stub.received(f"/bodies/{method}")) == 1
    assert bool(answer.body) is (method != "HEAD")


def test_an_empty_post(gate: Gateway, stub: Stub) -> None:
    assert gate.send("POST", "/bodies/empty", headers=[*JSON, ("content-length", "0")]).status == 200
    assert stub.received("/bodies/empty")[0].body == b""


def test_one_mebibyte_passes_and_is_redacted(gate: Gateway, stub: Stub) -> None:
    frame = len(orjson.dumps({"a": "", "b": "jane@example.com"}))
    sent = orjson.dumps({"a": "x" * (MEBIBYTE - frame), "b": "jane@example.com"})
    assert len(sent) == MEBIBYTE
    assert post(gate, sent).status == 200
    body, length = upstream(stub)
    assert orjson.loads(body)["b"] == "[EMAIL_ADDRESS]"
    assert length == [str(len(body))]


@pytest.mark.parametrize("size", [MEBIBYTE + 1, 2 * MEBIBYTE, 3 * MEBIBYTE])
def test_more_is_413(gate: Gateway, stub: Stub, size: int) -> None:
    before = len(stub.recorder.requests)
    answer = post(gate, b'"' + b"x" * (size - 2) + b'"')
    assert (answer.status, answer.code) == (413, "body_too_large")
    assert len(stub.recorder.requests) == before


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"a": 1,}',
        b"nonsense",
        b'{"a": "jane@example.com"} trailing',
        b'{"a": "x", "a": "jane@example.com"}',
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        b"\xef\xbb\xbf{",
    ],
)
def test_what_is_no_json_is_400(gate: Gateway, stub: Stub, body: bytes) -> None:
    before = len(stub.recorder.requests)
    answer = post(gate, body)
    assert (answer.status, answer.code) == (400, "body_malformed")
    assert len(stub.recorder.requests) == before


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ([("content-type", "application/json; charset=utf-16")], '{"a": "jane@example.com"}'.encode("utf-16")),
        ([*JSON, ("content-encoding", "gzip")], b"this is no gzip"),
        ([*JSON, ("content-encoding", "gzip, gzip")], gzip.compress(gzip.compress(b"{}"))),
        ([*JSON, ("content-encoding", "zstd")], b"(\xb5/\xfd"),
        ([*JSON, ("content-type", "text/plain")], b'{"a": "jane@example.com"}'),
    ],
)
def test_what_two_readers_could_read_differently_does_not_leave(
    gate: Gateway, stub: Stub, headers: list[tuple[str, str | bytes]], body: bytes
) -> None:
    before = len(stub.recorder.requests)
    assert post(gate, body, headers).status in (400, 415)
    assert len(stub.recorder.requests) == before


@pytest.mark.parametrize("headers", [[], [("content-type", "image/png")], [("content-type", "multipart/form-data")]])
def test_a_media_type_that_is_not_read_is_415(gate: Gateway, headers: list[tuple[str, str | bytes]]) -> None:
    answer = post(gate, b"jane@example.com", headers)
    assert (answer.status, answer.code) == (415, "body_unsupported")


def test_a_bomb_is_413(gate: Gateway) -> None:
    body = gzip.compress(b'"' + b"x" * (20 * MEBIBYTE) + b'"')
    answer = post(gate, body, [*JSON, ("content-encoding", "gzip")])
    assert (answer.status, answer.code) == (413, "body_too_large")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[" * 64 + b"]" * 64, 200),
        (b"[" * 65 + b"]" * 65, 413),
        (b"[" * 100_000 + b"]" * 100_000, 413),
        (b"[" + b",".join([b"1"] * 49_000) + b"]", 200),
        (b"[" + b",".join([b"1"] * 50_001) + b"]", 413),
    ],
    ids=["deep", "deeper", "deepest", "crowded", "too crowded"],
)
def test_deep_and_crowded_json(gate: Gateway, body: bytes, status: int) -> None:
    assert post(gate, body).status == status


@pytest.mark.parametrize("where", ["/bodies?q=jane@example.com", "/bodies?q=jane%40example.com"])
def test_a_finding_in_the_query_blocks(gate: Gateway, where: str) -> None:
    answer = gate.get(where)
    assert (answer.status, answer.code) == (403, "pii_blocked")


def test_what_nobody_reads_is_of_any_size_though_others_are_read_whole(stub: Stub) -> None:
    """Envoy holds what comes before the headers are answered, and here it comes at once."""
    documents = policy(AUTHN), backend(stub.port, INJECT, PII), backend(stub.port, name="other", hostname="127.0.0.1")
    large = bytes(12 * MEBIBYTE)
    with gateway(*documents) as gate, gate.client() as client:
        for _ in range(8):
            sent = client.post(f"http://127.0.0.1:{gate.port}/upload", content=large)
            assert (sent.status_code, len(stub.recorder.last.body)) == (200, len(large))
            got = client.get(f"http://127.0.0.1:{gate.port}/big/12MiB")
            assert (got.status_code, len(got.content)) == (200, len(large))
