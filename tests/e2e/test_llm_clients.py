"""The packages `openai` and `anthropic`, unchanged, through Envoy and a whole policy: what leaves, and what they read."""

import asyncio
from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any

import anthropic
import httpx2
import openai
import orjson
import pytest

from tests.e2e.gateway import AUTHN, INJECT, KEY, PII, STRANGER, TOKEN, Gateway, backend, gateway, policy, quota
from tests.e2e.processes import Stub

pytestmark = pytest.mark.e2e

ADDRESS, CARD = "jane.roe@example.com", "4111 1111 1111 1111"
SAID = f'Write to {ADDRESS} about {CARD}, "soon"; and again to {ADDRESS}.'
ASKED: Any = [{"role": "user", "content": SAID}]
DELTAS = ["1", "3", "1000"]
MAIL = {"type": "object", "properties": {"body": {"type": "string"}}}
NOTE = {"type": "object", "properties": {"note": {"type": "string"}}}
TOOLS: Any = [
    {"type": "function", "function": {"name": "mail", "parameters": MAIL}},
    {"type": "function", "function": {"name": "keep", "parameters": NOTE}},
]
BUCKETS = count()

HEADERS = {"authorization": "Bearer {value}", "x-api-key": "{value}"}
INJECT_BOTH = {**INJECT, "config": {**INJECT["config"], "headers": HEADERS}}
FEW = quota(2, window="1m", when='"x-bucket" in request.headers', key=['request.headers["x-bucket"]'])


def returned(text: str) -> str:
    """What the caller reads where the model says `text`."""
    return text.replace(ADDRESS, "[EMAIL_ADDRESS]").replace(CARD, "[CREDIT_CARD]")


@pytest.fixture(scope="module")
def gate(stub: Stub) -> Iterator[Gateway]:
    with gateway(policy(AUTHN, FEW), backend(stub.port, INJECT_BOTH, PII)) as running:
        yield running


@pytest.fixture
def client(gate: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"http://localhost:{gate.port}/v1", api_key=TOKEN, max_retries=0) as client:
        yield client


@pytest.fixture
def claude(gate: Gateway) -> Iterator[anthropic.Anthropic]:
    """The workload's token is what its users call ANTHROPIC_AUTH_TOKEN."""
    url = f"http://localhost:{gate.port}"
    with anthropic.Anthropic(base_url=url, auth_token=TOKEN, max_retries=0) as client:
        yield client


@pytest.fixture(autouse=True)
def _nothing_leaves(stub: Stub) -> Iterator[None]:
    """Whatever a test asks: no address, no card and no token of ours reaches the upstream, and the key does."""
    before = len(stub.recorder.requests)
    yield
    for request in list(stub.recorder.requests)[before:]:
        sent = b"\n".join([request.body, *(f"{name}: {value}".encode() for name, value in request.headers)])
        assert not [hidden for hidden in (ADDRESS, CARD, TOKEN) if hidden.encode() in sent]
        assert (request.values("authorization"), request.values("x-api-key")) == ([f"Bearer {KEY}"], [KEY])


def wishes(**wished: str) -> dict[str, str]:
    return {f"x-stub-{name.replace('_', '-')}": value for name, value in wished.items()}


def contents(chunks: Iterable[Any], choice: int = 0) -> str:
    """The text of one choice of a streamed chat."""
    deltas = (one.delta.content for chunk in chunks for one in chunk.choices if one.index == choice)
    return "".join(delta or "" for delta in deltas)


# OpenAI, chat completions


def test_a_chat(client: openai.OpenAI, stub: Stub) -> None:
    answer = client.chat.completions.create(model="echo", messages=ASKED)
    assert answer.choices[0].message.content == returned(SAID)
    assert answer.usage is not None
    assert b"[EMAIL_ADDRESS" in stub.recorder.last.body
    assert b"[CREDIT_CARD" in stub.recorder.last.body


@pytest.mark.parametrize("delta", DELTAS)
def test_a_streamed_chat(client: openai.OpenAI, delta: str) -> None:
    stream = client.chat.completions.create(
        model="echo",
        messages=ASKED,
        n=2,
        stream=True,
        stream_options={"include_usage": True},
        extra_headers=wishes(delta=delta),
    )
    chunks = list(stream)
    assert [contents(chunks, choice) for choice in (0, 1)] == [returned(SAID)] * 2
    assert chunks[-1].usage is not None
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices].count("stop") == 2


FORMS = [{"lines": "crlf"}, {"lines": "cr"}, {"noise": "yes", "multiline": "yes"}, {"coding": "gzip"}, {"coding": "br"}]


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_odd_forms_of_a_stream(client: openai.OpenAI, claude: anthropic.Anthropic, form: dict[str, str]) -> None:
    """Line ends, comments, data of several lines, and content codings are nothing to the callers."""
    headers = wishes(delta="3", **form)
    chunks = client.chat.completions.create(model="echo", messages=ASKED, stream=True, extra_headers=headers)
    assert contents(chunks) == returned(SAID)
    with claude.messages.stream(model="echo", max_tokens=100, messages=ASKED, extra_headers=headers) as stream:
        assert stream.get_final_text() == returned(SAID)


def test_a_chat_with_its_history(client: openai.OpenAI) -> None:
    """Each turn sends the turns before it again, as the caller read them."""
    messages = list(ASKED)
    for _ in range(3):
        with client.chat.completions.stream(model="echo", messages=messages, extra_headers=wishes(delta="4")) as stream:
            said = stream.get_final_completion().choices[0].message.content
        assert said == returned(SAID)
        messages += [{"role": "assistant", "content": said}, ASKED[0]]


@pytest.mark.parametrize("stream", [False, True])
def test_calls_of_tools(client: openai.OpenAI, stream: bool) -> None:
    """The arguments are JSON inside a JSON string; streamed, they come in fragments."""
    asked: Any = {"model": "echo", "messages": ASKED, "tools": TOOLS}
    if stream:
        with client.chat.completions.stream(**asked, extra_headers=wishes(delta="3")) as events:
            message = events.get_final_completion().choices[0].message
    else:
        message = client.chat.completions.create(**asked).choices[0].message
    calls = [(call.function.name, orjson.loads(call.function.arguments)) for call in message.tool_calls or []]
    assert calls == [("mail", {"body": returned(SAID)}), ("keep", {"note": returned(SAID)})]
    results = [{"role": "tool", "tool_call_id": call.id, "content": SAID} for call in message.tool_calls or []]
    again: Any = [*ASKED, message.model_dump(exclude_none=True, exclude={"parsed"}), *results]
    answer = client.chat.completions.create(model="echo", messages=again, tools=TOOLS)
    assert answer.choices[0].message.content == returned(SAID)


async def test_many_chats_at_once_keep_their_own(gate: Gateway) -> None:
    """Each has an address of its own, which nobody else may read."""
    async with openai.AsyncOpenAI(base_url=f"http://localhost:{gate.port}/v1", api_key=TOKEN) as client:

        async def chat(number: int) -> None:
            said = f"This is person{number}@example.com, and {CARD}"
            stream = await client.chat.completions.create(
                model="echo",
                messages=[{"role": "user", "content": said}],
                stream=True,
                extra_headers=wishes(delta="2", delay="1ms"),
            )
            heard = contents([chunk async for chunk in stream])
            assert heard == returned(said.replace(f"person{number}@example.com", ADDRESS))

        await asyncio.gather(*(chat(number) for number in range(12)))


# OpenAI, everything else


@pytest.mark.parametrize("delta", DELTAS)
def test_completions(client: openai.OpenAI, delta: str) -> None:
    assert client.completions.create(model="echo", prompt=SAID).choices[0].text == returned(SAID)
    stream = client.completions.create(model="echo", prompt=SAID, stream=True, extra_headers=wishes(delta=delta))
    assert "".join(choice.text for chunk in stream for choice in chunk.choices) == returned(SAID)


def test_responses(client: openai.OpenAI) -> None:
    assert client.responses.create(model="echo", input=SAID).output_text == returned(SAID)


@pytest.mark.parametrize("delta", DELTAS)
def test_streamed_responses(client: openai.OpenAI, delta: str) -> None:
    """The deltas, the text that is said to be done, and the whole answer at the end are the same."""
    with client.responses.stream(model="echo", input=SAID, extra_headers=wishes(delta=delta)) as stream:
        events = list(stream)
        whole = stream.get_final_response()
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == returned(SAID)
    assert [event.text for event in events if event.type == "response.output_text.done"] == [returned(SAID)]
    assert whole.output_text == returned(SAID)
    assert whole.usage is not None


@pytest.mark.parametrize("delta", DELTAS)
def test_functions_of_responses(client: openai.OpenAI, delta: str) -> None:
    tools: Any = [{"type": "function", "name": "mail", "parameters": MAIL, "strict": False}]
    stream = client.responses.create(
        model="echo", input=SAID, tools=tools, stream=True, extra_headers=wishes(delta=delta)
    )
    events: list[Any] = list(stream)
    fragments = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    (done,) = [event.arguments for event in events if event.type == "response.function_call_arguments.done"]
    whole = events[-1].response.output[0].arguments
    assert [orjson.loads(text) for text in ("".join(fragments), done, whole)] == [{"body": returned(SAID)}] * 3


def test_embeddings(client: openai.OpenAI, stub: Stub) -> None:
    """As the client asks for them by default: in base64."""
    answer = client.embeddings.create(model="e", input=[SAID, ADDRESS])
    assert [list(one.embedding) for one in answer.data] == [[0.25, -0.5, 1.0]] * 2
    assert answer.usage.total_tokens > 0
    assert orjson.loads(stub.recorder.last.body)["encoding_format"] == "base64"


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["stub-1"]


# Anthropic, messages


def test_a_message(claude: anthropic.Anthropic) -> None:
    answer = claude.messages.create(model="echo", max_tokens=100, messages=ASKED, system=f"You know {ADDRESS}.")
    assert [block.text for block in answer.content if block.type == "text"] == [returned(SAID)]
    assert answer.usage.input_tokens > 0


@pytest.mark.parametrize("delta", DELTAS)
def test_a_streamed_message(claude: anthropic.Anthropic, delta: str) -> None:
    headers = wishes(delta=delta)
    with claude.messages.stream(model="echo", max_tokens=100, messages=ASKED, extra_headers=headers) as stream:
        assert "".join(stream.text_stream) == returned(SAID)
        whole = stream.get_final_message()
    assert [block.text for block in whole.content if block.type == "text"] == [returned(SAID)]
    assert whole.stop_reason == "end_turn"
    assert whole.usage.output_tokens > 1


@pytest.mark.parametrize("stream", [False, True])
def test_uses_of_tools(claude: anthropic.Anthropic, stream: bool) -> None:
    """Text and two tools in one answer; streamed, the inputs come as fragments of JSON."""
    tools = [{"name": "mail", "input_schema": MAIL}, {"name": "keep", "input_schema": NOTE}]
    asked: Any = {"model": "echo", "max_tokens": 100, "messages": ASKED, "tools": tools}
    if stream:
        with claude.messages.stream(**asked, extra_headers=wishes(delta="3")) as events:
            answer: Any = events.get_final_message()
    else:
        answer = claude.messages.create(**asked)
    text, *uses = answer.content
    assert text.text == returned(SAID)
    assert [(use.name, use.input) for use in uses] == [
        ("mail", {"body": returned(SAID)}),
        ("keep", {"note": returned(SAID)}),
    ]
    results = [{"type": "tool_result", "tool_use_id": use.id, "content": SAID} for use in uses[:1]]
    again: Any = [*ASKED, {"role": "assistant", "content": answer.content}, {"role": "user", "content": results}]
    last = claude.messages.create(**{**asked, "messages": again})
    assert [block.text for block in last.content if block.type == "text"] == [returned(SAID)]


# Errors: the clients' own types, with our code


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
    assert answer.choices[0].message.content == returned(SAID)
    message = claude.with_options(max_retries=1).messages.create(
        model="echo", max_tokens=9, messages=ASKED, extra_headers=wishes(fail_first="anthropic", retry_after="8")
    )
    assert [block.text for block in message.content if block.type == "text"] == [returned(SAID)]
    assert waited == [7, 8]


def release(stub: Stub, gate: str, count: int) -> None:
    """Let so many more events of a stream leave the stub."""
    httpx2.post(f"http://127.0.0.1:{stub.port}/__release/{gate}?count={count}").raise_for_status()


def test_streams_that_break_off(client: openai.OpenAI, claude: anthropic.Anthropic, stub: Stub) -> None:
    """That is no end: the clients have what had come, and say that the connection was lost."""
    asked: Any = {"model": "echo", "messages": ASKED, "stream": True}
    for number, ask in enumerate((client.chat.completions.create, claude.messages.create)):
        headers = wishes(gate=f"broken-{number}", break_after="3")
        release(stub, f"broken-{number}", 3)
        stream = iter(ask(**asked, max_tokens=9, extra_headers=headers))
        heard = [next(stream) for _ in range(3)]
        release(stub, f"broken-{number}", 1)
        with pytest.raises((openai.APIConnectionError, httpx2.RemoteProtocolError)):
            next(stream)
        assert len(heard) == 3
