"""What `openai` and `anthropic` make of denials, of errors, and of streams that break off: their own types, with our code."""

from collections.abc import Iterator
from itertools import count
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from tests.e2e.gateway import AUTHN, STRANGER, Gateway, backend, gateway, policy, quota
from tests.e2e.llm import ADDRESS, ASKED, INJECT_BOTH, RESTORE, SAID, anthropic_at, nothing_leaves, openai_at
from tests.e2e.processes import Stub
from tests.e2e.speaking import Talk, wishes

pytestmark = pytest.mark.e2e

BUCKETS = count()
FEW = quota(2, window="1m", when='"x-bucket" in request.headers', key=['request.headers["x-bucket"]'])


@pytest.fixture(scope="module")
def gate(stub: Stub) -> Iterator[Gateway]:
    """Two requests a minute for each value of x-bucket."""
    with gateway(policy(AUTHN, FEW), backend(stub.port, INJECT_BOTH, RESTORE)) as running:
        yield running


@pytest.fixture
def client(gate: Gateway) -> Iterator[openai.OpenAI]:
    with openai_at(gate) as client:
        yield client


@pytest.fixture
def claude(gate: Gateway) -> Iterator[anthropic.Anthropic]:
    with anthropic_at(gate) as client:
        yield client


@pytest.fixture(autouse=True)
def _nothing_leaves(stub: Stub) -> Iterator[None]:
    with nothing_leaves(stub):
        yield


def code(error: openai.APIStatusError | anthropic.APIStatusError) -> str:
    """Our code. `openai` takes the member `error` out of the body, `anthropic` does not."""
    body: Any = error.body
    return str(body.get("error", body)["code"])


DENIALS = [(STRANGER, "PermissionDeniedError", "forbidden"), ("wrong", "AuthenticationError", "unauthenticated")]


@pytest.mark.parametrize(("token", "name", "reason"), DENIALS)
def test_denials(client: openai.OpenAI, claude: anthropic.Anthropic, token: str, name: str, reason: str) -> None:
    with pytest.raises(getattr(openai, name)) as theirs:
        client.with_options(api_key=token).chat.completions.create(model="echo", messages=ASKED, stream=True)
    assert code(theirs.value) == theirs.value.code == reason
    with pytest.raises(getattr(anthropic, name)) as caught:
        claude.with_options(auth_token=token).messages.create(model="echo", max_tokens=9, messages=ASKED)
    assert code(caught.value) == reason


def test_personal_data_in_the_query(client: openai.OpenAI, claude: anthropic.Anthropic) -> None:
    query = {"for": ADDRESS}
    with pytest.raises(openai.PermissionDeniedError) as theirs:
        client.chat.completions.create(model="echo", messages=ASKED, extra_query=query)
    with pytest.raises(anthropic.PermissionDeniedError) as caught:
        claude.messages.create(model="echo", max_tokens=9, messages=ASKED, extra_query=query)
    assert [code(theirs.value), code(caught.value)] == ["pii_blocked"] * 2


def test_a_prompt_that_is_too_large(client: openai.OpenAI, claude: anthropic.Anthropic) -> None:
    asked: Any = [{"role": "user", "content": "x" * (1 << 20)}]
    with pytest.raises(openai.APIStatusError) as theirs:
        client.chat.completions.create(model="echo", messages=asked)
    with pytest.raises(anthropic.APIStatusError) as caught:
        claude.messages.create(model="echo", max_tokens=9, messages=asked)
    for error in (theirs.value, caught.value):
        assert (error.status_code, code(error)) == (413, "body_too_large")


@pytest.mark.parametrize("stream", [False, True])
def test_errors_of_the_upstream_are_its_own(client: openai.OpenAI, claude: anthropic.Anthropic, stream: bool) -> None:
    with pytest.raises(openai.InternalServerError) as theirs:
        client.chat.completions.create(model="echo", messages=ASKED, stream=stream, extra_headers=wishes(status="503"))
    assert theirs.value.type == "server_error"
    with pytest.raises(anthropic.APIStatusError) as caught:
        claude.messages.create(
            model="echo", max_tokens=9, messages=ASKED, stream=stream, extra_headers=wishes(status="529")
        )
    assert caught.value.body["error"]["type"] == "overloaded_error"


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the clients meant to wait before they tried again, instead of waiting."""
    seconds: list[float] = []
    monkeypatch.setattr("time.sleep", seconds.append)
    return seconds


def test_openai_waits_as_long_as_it_is_told(client: openai.OpenAI, waited: list[float]) -> None:
    bucket = {"x-bucket": f"openai-{next(BUCKETS)}"}
    ask = client.with_options(max_retries=1).chat.completions.create
    for _ in range(2):
        ask(model="echo", messages=ASKED, extra_headers=bucket)
    with pytest.raises(openai.RateLimitError) as caught:
        ask(model="echo", messages=ASKED, extra_headers=bucket)
    assert caught.value.code == "rate_limited"
    assert_waited(waited, caught.value.response.headers)


def test_anthropic_waits_as_long_as_it_is_told(claude: anthropic.Anthropic, waited: list[float]) -> None:
    bucket = {"x-bucket": f"anthropic-{next(BUCKETS)}"}
    ask = claude.with_options(max_retries=1).messages.create
    for _ in range(2):
        ask(model="echo", max_tokens=9, messages=ASKED, extra_headers=bucket)
    with pytest.raises(anthropic.RateLimitError) as caught:
        ask(model="echo", max_tokens=9, messages=ASKED, extra_headers=bucket)
    assert code(caught.value) == "rate_limited"
    assert_waited(waited, caught.value.response.headers)


def assert_waited(waited: list[float], headers: Any) -> None:
    """Once, about as long as the answer to the last attempt says: a second may have begun since the first."""
    (seconds,) = waited
    told = float(headers["retry-after"])
    assert told <= seconds <= told + 1
    assert 0 < seconds <= 60


def test_the_first_attempt_fails(client: openai.OpenAI, claude: anthropic.Anthropic, waited: list[float]) -> None:
    """The upstream is overloaded once; the second attempt of the same client is redacted and answered as any."""
    first = wishes(fail_first="openai", retry_after="7")
    answer = client.with_options(max_retries=1).chat.completions.create(
        model="echo", messages=ASKED, extra_headers=first
    )
    assert answer.choices[0].message.content == SAID
    message = claude.with_options(max_retries=1).messages.create(
        model="echo", max_tokens=9, messages=ASKED, extra_headers=wishes(fail_first="anthropic", retry_after="8")
    )
    assert [block.text for block in message.content if block.type == "text"] == [SAID]
    assert waited == [7, 8]


def test_streams_that_break_off(client: openai.OpenAI, claude: anthropic.Anthropic, gate: Gateway, stub: Stub) -> None:
    """That is no end: the clients have what had come, and say that the connection was lost."""
    asked: Any = {"model": "echo", "messages": ASKED, "stream": True}
    talk = Talk(gate, stub)
    for number, ask in enumerate((client.chat.completions.create, claude.messages.create)):
        headers = wishes(gate=f"broken-{number}", break_after="3")
        talk.release(f"broken-{number}", 3)
        stream = iter(ask(**asked, max_tokens=9, extra_headers=headers))
        heard = [next(stream) for _ in range(3)]
        talk.release(f"broken-{number}", 1)
        with pytest.raises((openai.APIConnectionError, httpx2.RemoteProtocolError)):
            next(stream)
        assert len(heard) == 3
    talk.close()
