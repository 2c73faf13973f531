"""Clients as they are: the openai package unchanged, HTTP/1.1 and HTTP/2, streams, and callers that go away."""

import socket
from collections.abc import Iterator

import httpx
import openai
import pytest

from tests.e2e.clients import request_bytes
from tests.e2e.gateway import AUTHN, INJECT, KEY, PII, STRANGER, TOKEN, Gateway, backend, gateway, policy, received
from tests.e2e.processes import Stub

pytestmark = pytest.mark.e2e

ASKED = [{"role": "user", "content": "Write to jane@example.com"}]


@pytest.fixture(scope="module")
def gate(stub: Stub) -> Iterator[Gateway]:
    with gateway(policy(AUTHN), backend(stub.port, INJECT, PII)) as running:
        yield running


@pytest.fixture
def client(gate: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"http://localhost:{gate.port}/v1", api_key=TOKEN, max_retries=0) as client:
        yield client


def test_openai_completion(client: openai.OpenAI, stub: Stub) -> None:
    answer = client.chat.completions.create(model="gpt-x", messages=ASKED)
    assert answer.choices[0].message.content == "Hello from the stub."
    assert b"Write to [EMAIL_ADDRESS]" in stub.recorder.last.body
    assert stub.recorder.last.values("authorization") == [f"Bearer {KEY}"]


def test_openai_stream(client: openai.OpenAI) -> None:
    options = {"include_usage": True}
    chunks = list(client.chat.completions.create(model="gpt-x", messages=ASKED, stream=True, stream_options=options))
    assert "".join(choice.delta.content or "" for one in chunks for choice in one.choices) == "Hello from the stub."
    assert chunks[-1].usage is not None


def test_openai_embeddings_and_models(client: openai.OpenAI) -> None:
    assert len(client.embeddings.create(model="e", input=["a", "b"], encoding_format="float").data) == 2
    assert [model.id for model in client.models.list()] == ["stub-1"]


@pytest.mark.parametrize(
    ("token", "error"), [("wrong", openai.AuthenticationError), (STRANGER, openai.PermissionDeniedError)]
)
def test_openai_reads_denials(client: openai.OpenAI, token: str, error: type[openai.APIStatusError]) -> None:
    with pytest.raises(error) as caught:
        client.with_options(api_key=token).models.list()
    assert caught.value.body["type"] == "egress_denied"


@pytest.mark.parametrize("versions", [{"http1": True}, {"http1": False, "http2": True}], ids=["HTTP/1.1", "HTTP/2"])
def test_versions_of_http(gate: Gateway, versions: dict[str, bool]) -> None:
    with gate.client(**versions) as client:
        first = client.post("/clients", json={"a": "jane@example.com"})
        second = client.get("/clients")
        denied = client.get("/clients", headers={"authorization": "Bearer wrong"})
    assert (first.status_code, second.status_code, denied.status_code) == (200, 200, 401)
    assert "[EMAIL_ADDRESS]" in first.json()["x_received"]["body"]
    assert first.http_version == ("HTTP/2" if versions.get("http2") else "HTTP/1.1")


def test_many_on_one_connection(gate: Gateway) -> None:
    with gate.client() as client:
        answers = [client.post("/clients/many", json={"n": index}).json() for index in range(30)]
    assert [answer["x_received"]["body"] for answer in answers] == [f'{{"n":{index}}}' for index in range(30)]


def test_expect_continue(gate: Gateway, stub: Stub) -> None:
    headers = [("expect", "100-continue"), ("content-type", "application/json")]
    answer = gate.send("POST", "/clients/expect", headers=headers, body=b'{"a": 1}')
    assert answer.status == 200
    assert "expect" not in received(stub, "/clients/expect")


def sent(gate: Gateway, data: bytes) -> None:
    """Send this and go away."""
    with socket.create_connection(("127.0.0.1", gate.port), 10) as connection:
        connection.sendall(data)


@pytest.mark.parametrize("cut", ["in the headers", "in the body", "in the answer"])
def test_a_client_that_gives_up_harms_nobody(gate: Gateway, stub: Stub, cut: str) -> None:
    bearer = [("authorization", f"Bearer {TOKEN}"), ("content-type", "application/json")]
    path = f"/clients/cut/{cut.replace(' ', '-')}"
    whole = request_bytes("POST", path, bearer, b'{"a": "jane@example.com"}')
    slow = request_bytes("GET", "/slow/300ms", bearer)
    data = {"in the headers": whole[:40], "in the body": whole[:-10], "in the answer": slow}[cut]
    for _ in range(10):
        sent(gate, data)
    assert gate.get("/clients/after-cut").status == 200
    assert not stub.received(path)


def test_a_backend_that_goes_away_is_503(gate: Gateway) -> None:
    answer = gate.get("/reset")
    assert (answer.status, answer.code) == (503, "backend_unavailable")


def test_errors_of_the_backend_are_its_own(gate: Gateway) -> None:
    answer = gate.get("/status/429")
    assert (answer.status, answer.json["error"]["type"]) == (429, "stub")


def test_a_large_answer_passes(gate: Gateway) -> None:
    with gate.client() as client:
        answer = client.get("/big/8MiB")
    assert len(answer.content) == 8 * 1024 * 1024


def test_a_gateway_that_is_called_by_its_port(gate: Gateway) -> None:
    assert httpx.get(f"http://localhost:{gate.port}/x", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
