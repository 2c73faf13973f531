"""Whole answers, through a policy that puts originals back: in every coding, of every size, and broken."""

from collections.abc import Iterator
from itertools import count
from typing import Any

import httpx
import orjson
import pytest

from tests.e2e.gateway import AUTHN, INJECT, Gateway, backend, gateway, policy
from tests.e2e.llm import ADDRESS, CARD, RESTORE
from tests.e2e.processes import Stub
from tests.e2e.speaking import Talk, wishes

pytestmark = pytest.mark.e2e

SAID = f'To "{ADDRESS}" \\ {CARD}\n{ADDRESS}'
CHAT = "/v1/chat/completions"
GEMINI = "/v1beta/models/echo:streamGenerateContent"
MEBIBYTE = 1 << 20
NAMES = count()


@pytest.fixture(scope="module")
def gate(stub: Stub) -> Iterator[Gateway]:
    with gateway(policy(AUTHN), backend(stub.port, INJECT, RESTORE)) as running:
        yield running


@pytest.fixture
def talk(gate: Gateway, stub: Stub) -> Iterator[Talk]:
    talk = Talk(gate, stub)
    yield talk
    talk.close()


@pytest.fixture
def name() -> str:
    return f"answers-{next(NAMES)}"


def ask(gate: Gateway, said: str = SAID, **wished: str) -> httpx.Response:
    asked = {"model": "echo", "messages": [{"role": "user", "content": said}]}
    with gate.client() as client:
        return client.post(CHAT, json=asked, headers=wishes(**wished))


def content(answer: httpx.Response) -> Any:
    return answer.json()["choices"][0]["message"]["content"]


def code(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["code"])


FORMS: list[dict[str, str]] = [{}, {"coding": "gzip"}, {"coding": "deflate"}, {"coding": "br"}, {"trailers": "yes"}]


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_originals_come_back(gate: Gateway, stub: Stub, form: dict[str, str]) -> None:
    """With quotes, a backslash and a line end around them; decoded, and with the length that is right then."""
    answer = ask(gate, **form)
    assert content(answer) == SAID
    assert "content-encoding" not in answer.headers
    assert int(answer.headers.get("content-length", len(answer.content))) == len(answer.content)
    assert ADDRESS.encode() not in stub.recorder.last.body


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br"])
def test_an_answer_that_is_not_to_be_changed_keeps_its_coding(gate: Gateway, coding: str) -> None:
    answer = ask(gate, "nothing here", coding=coding)
    assert content(answer) == "nothing here"
    assert answer.headers["content-encoding"] == coding


@pytest.mark.parametrize("delta", ["100", "3"])
def test_an_array_that_is_streamed(gate: Gateway, delta: str) -> None:
    """Gemini's stream that is no event stream: JSON, and so read as a whole; its texts go on in one event after the other."""
    asked = {"contents": [{"role": "user", "parts": [{"text": SAID}]}]}
    with gate.client() as client:
        answers = client.post(GEMINI, json=asked, headers=wishes(delta=delta)).json()
    parts = [part for answer in answers for part in answer["candidates"][0]["content"]["parts"]]
    assert "".join(part["text"] for part in parts) == SAID


@pytest.mark.parametrize("coding", [None, "gzip"])
def test_an_answer_that_is_too_large_to_be_read(gate: Gateway, talk: Talk, name: str, coding: str | None) -> None:
    """It is refused where originals may have to come back, and passes where there are none."""
    talk.keep(name, b'{"a": "' + b"x" * 2 * MEBIBYTE + b'"}', "application/json")
    wished = {"transcript": name, **({"coding": coding} if coding else {})}
    refused = ask(gate, SAID, **wished)
    assert (refused.status_code, code(refused)) == (502, "response_unprocessable")
    passed = ask(gate, "nothing here", **wished)
    assert (passed.status_code, len(passed.content)) == (200, 2 * MEBIBYTE + 9)


@pytest.mark.parametrize("body", [b"{", b'{"a": "\xff"}', b"[EMAIL_ADDRESS_1]", b""])
def test_what_is_no_json_comes_as_it_is(gate: Gateway, talk: Talk, name: str, body: bytes) -> None:
    """The answer holds nothing that had to be kept back: a placeholder in it is no harm."""
    talk.keep(name, body, "application/json")
    answer = ask(gate, SAID, transcript=name)
    assert (answer.status_code, answer.content) == (200, body)


@pytest.mark.parametrize("media", ["image/png", "application/octet-stream", "multipart/mixed; boundary=x"])
def test_what_nobody_reads_comes_as_it_is(gate: Gateway, talk: Talk, name: str, media: str) -> None:
    body = b"\x89PNG [EMAIL_ADDRESS_1]" + bytes(range(256)) * 8192
    talk.keep(name, body, media)
    answer = ask(gate, SAID, transcript=name, delta="100000")
    assert (answer.headers["content-type"], answer.content) == (media, body)


def test_a_text_gets_its_originals_too(gate: Gateway, talk: Talk, name: str) -> None:
    talk.keep(name, b'Dear [EMAIL_ADDRESS_1], "[CREDIT_CARD_1]"; [EMAIL_ADDRESS_2]', "text/plain; charset=utf-8")
    assert ask(gate, SAID, transcript=name).text == f'Dear {ADDRESS}, "{CARD}"; [EMAIL_ADDRESS_2]'


@pytest.mark.parametrize("said", [SAID, "nothing here"])
def test_an_answer_that_breaks_off_is_an_error(gate: Gateway, said: str) -> None:
    """Never a whole answer that is shorter: either the gateway's own error, or a connection that breaks off too."""
    try:
        answer = ask(gate, said, break_after="0")
    except httpx.RemoteProtocolError:
        return
    assert answer.status_code in (502, 503)
    assert code(answer) == "backend_unavailable"


def test_the_upstreams_errors_get_their_originals(gate: Gateway, talk: Talk, name: str) -> None:
    """Providers quote the prompt in errors; their shape stays."""
    error = {"error": {"message": "[EMAIL_ADDRESS_1] is not welcome", "type": "invalid_request_error"}}
    talk.keep(name, orjson.dumps(error), "application/json")
    answer = ask(gate, SAID, transcript=name, status="400")
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, f"{ADDRESS} is not welcome")
