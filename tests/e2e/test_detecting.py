"""A detector that only looks on (`mode: detect`), behind the real Envoy: whatever comes passes as it is, and is counted."""

import gzip
import json
from collections.abc import Iterator
from itertools import count

import httpx
import pytest

from tests.e2e.gateway import AUTHN, Gateway, backend, gateway, policy
from tests.e2e.llm import ADDRESS, CARD, PII
from tests.e2e.processes import Stub
from tests.e2e.speaking import Talk, wishes

pytestmark = pytest.mark.e2e

STRICT = {"mode": "detect", "redactionStyle": "block", "unknownBody": "deny"}
ASKING = {**PII, "config": STRICT}
ANSWERING = {**PII, "name": "pii-answers", "phase": "response-body", "config": STRICT}
SENT = json.dumps({"to": ADDRESS, "card": CARD}).encode()
MEBIBYTE = 1 << 20
LARGE = b'"' + b"x" * 2 * MEBIBYTE + b'"'
"""More than is read, and no more than Envoy holds of a request until its headers are answered."""
NAMES = count()

BODIES = {
    "JSON": ({"content-type": "application/json"}, SENT),
    "gzip": ({"content-type": "application/json", "content-encoding": "gzip"}, gzip.compress(SENT)),
    "another charset": ({"content-type": "application/json; charset=latin1"}, SENT),
    "no JSON": ({"content-type": "application/json"}, SENT[:-1]),
    "too large": ({"content-type": "application/json"}, LARGE),
    "multipart": ({"content-type": "multipart/form-data; boundary=x"}, SENT),
    "no type": ({}, SENT),
    "an event stream": ({"content-type": "text/event-stream"}, b"data: " + SENT + b"\r\r: x\n\n"),
}


@pytest.fixture(scope="module")
def gate(stub: Stub) -> Iterator[Gateway]:
    with gateway(policy(AUTHN), backend(stub.port, ASKING, ANSWERING)) as running:
        yield running


@pytest.mark.parametrize("name", BODIES)
def test_a_request(gate: Gateway, stub: Stub, name: str) -> None:
    fields, sent = BODIES[name]
    path = f"/detecting/{next(NAMES)}"
    with gate.client() as client:
        assert client.post(path, content=sent, headers=fields).status_code == 200
    (request,) = stub.received(path)
    assert request.body == (SENT if name == "gzip" else sent)  # the stub has undone it
    assert request.values("content-encoding") == (["gzip"] if name == "gzip" else [])


@pytest.mark.parametrize("name", [name for name in BODIES if name not in ("gzip", "no type")])
def test_an_answer(gate: Gateway, stub: Stub, name: str) -> None:
    fields, sent = BODIES[name]
    talk, transcript = Talk(gate, stub), f"detecting-{next(NAMES)}"
    try:
        talk.keep(transcript, sent, fields["content-type"])
    finally:
        talk.close()
    with gate.client() as client:
        answer = client.get("/x", headers=wishes(transcript=transcript, delta="50000"))
    assert (answer.status_code, answer.content) == (200, sent)


def test_an_answer_of_many_buffers(gate: Gateway, stub: Stub) -> None:
    """What Envoy sends at once of a body that streams is as large as what it holds."""
    talk = Talk(gate, stub)
    try:
        talk.keep("detecting-many", LARGE * 6, "application/json")
    finally:
        talk.close()
    with gate.client() as client:
        for _ in range(4):
            assert client.get("/x", headers=wishes(transcript="detecting-many")).content == LARGE * 6


def test_it_is_counted(gate: Gateway) -> None:
    with gate.client() as client:
        client.post("/detecting/counted", content=SENT, headers={"content-type": "application/json"})
    metrics = httpx.get(f"http://{gate.admin_port}/metrics").text
    found = [line for line in metrics.splitlines() if line.startswith("extproc_entities") and "EMAIL_ADDRESS" in line]
    assert found
