"""The packages `openai` and `anthropic`, unchanged, through Envoy and a whole policy: what leaves, and what they read."""

import asyncio
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import orjson
import pytest

from tests.e2e.gateway import AUTHN, TOKEN, Gateway, backend, gateway, policy, quota
from tests.e2e.llm import (
    ADDRESS,
    ASKED,
    CARD,
    INJECT_BOTH,
    RESTORE,
    SAID,
    anthropic_at,
    contents,
    nothing_leaves,
    openai_at,
)
from tests.e2e.processes import Stub
from tests.e2e.speaking import MAIL, wishes

pytestmark = pytest.mark.e2e

DELTAS = ["1", "3", "1000"]
NOTE = {"type": "object", "properties": {"note": {"type": "string"}}}
TOOLS: Any = [
    {"type": "function", "function": {"name": "mail", "parameters": MAIL}},
    {"type": "function", "function": {"name": "keep", "parameters": NOTE}},
]


@pytest.fixture(scope="module")
def gate(stub: Stub) -> Iterator[Gateway]:
    with gateway(policy(AUTHN, quota(100_000)), backend(stub.port, INJECT_BOTH, RESTORE)) as running:
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


# OpenAI, chat completions


def test_a_chat(client: openai.OpenAI, stub: Stub) -> None:
    answer = client.chat.completions.create(model="echo", messages=ASKED)
    assert answer.choices[0].message.content == SAID
    assert answer.usage is not None
    sent = orjson.loads(stub.recorder.last.body)["messages"][0]["content"]
    assert sent == SAID.replace(ADDRESS, "[EMAIL_ADDRESS_1]").replace(CARD, "[CREDIT_CARD_1]")


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
    assert [contents(chunks, choice) for choice in (0, 1)] == [SAID] * 2
    assert chunks[-1].usage is not None
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices].count("stop") == 2


FORMS = [{"lines": "crlf"}, {"lines": "cr"}, {"noise": "yes", "multiline": "yes"}, {"coding": "gzip"}, {"coding": "br"}]


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_odd_forms_of_a_stream(client: openai.OpenAI, claude: anthropic.Anthropic, form: dict[str, str]) -> None:
    """Line ends, comments, data of several lines, and content codings are nothing to the callers."""
    headers = wishes(delta="3", **form)
    chunks = client.chat.completions.create(model="echo", messages=ASKED, stream=True, extra_headers=headers)
    assert contents(chunks) == SAID
    with claude.messages.stream(model="echo", max_tokens=100, messages=ASKED, extra_headers=headers) as stream:
        assert stream.get_final_text() == SAID


def test_a_chat_with_its_history(client: openai.OpenAI) -> None:
    """Each turn sends the turns before it again, as the caller read them."""
    messages = list(ASKED)
    for _ in range(3):
        with client.chat.completions.stream(model="echo", messages=messages, extra_headers=wishes(delta="4")) as stream:
            said = stream.get_final_completion().choices[0].message.content
        assert said == SAID
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
    assert calls == [("mail", {"body": SAID}), ("keep", {"note": SAID})]
    results = [{"role": "tool", "tool_call_id": call.id, "content": SAID} for call in message.tool_calls or []]
    again: Any = [*ASKED, message.model_dump(exclude_none=True, exclude={"parsed"}), *results]
    answer = client.chat.completions.create(model="echo", messages=again, tools=TOOLS)
    assert answer.choices[0].message.content == SAID


def own(number: int) -> str:
    """A prompt with an address of its own, which nobody else may read; its placeholder is the same for all."""
    return f"This is person{number}@example.com, and {CARD}"


async def test_many_at_once_keep_their_own(gate: Gateway) -> None:
    url, headers = f"http://localhost:{gate.port}", wishes(delta="2", delay="1ms")
    async with (
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=TOKEN) as client,
        anthropic.AsyncAnthropic(base_url=url, auth_token=TOKEN) as claude,
    ):

        async def chat(number: int) -> str:
            asked: Any = {"model": "echo", "messages": [{"role": "user", "content": own(number)}]}
            if number % 2:
                stream = await client.chat.completions.create(**asked, stream=True, extra_headers=headers)
                return contents([chunk async for chunk in stream])
            async with claude.messages.stream(**asked, max_tokens=99, extra_headers=headers) as events:
                return await events.get_final_text()

        assert await asyncio.gather(*map(chat, range(12))) == [own(number) for number in range(12)]


# OpenAI, everything else


@pytest.mark.parametrize("delta", DELTAS)
def test_completions(client: openai.OpenAI, delta: str) -> None:
    assert client.completions.create(model="echo", prompt=SAID).choices[0].text == SAID
    stream = client.completions.create(model="echo", prompt=SAID, stream=True, extra_headers=wishes(delta=delta))
    assert "".join(choice.text for chunk in stream for choice in chunk.choices) == SAID


def test_responses(client: openai.OpenAI) -> None:
    assert client.responses.create(model="echo", input=SAID).output_text == SAID


@pytest.mark.parametrize("delta", DELTAS)
def test_streamed_responses(client: openai.OpenAI, delta: str) -> None:
    """The deltas, the text that is said to be done, and the whole answer at the end are the same."""
    with client.responses.stream(model="echo", input=SAID, extra_headers=wishes(delta=delta)) as stream:
        events = list(stream)
        whole = stream.get_final_response()
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == SAID
    assert [event.text for event in events if event.type == "response.output_text.done"] == [SAID]
    assert whole.output_text == SAID
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
    assert [orjson.loads(text) for text in ("".join(fragments), done, whole)] == [{"body": SAID}] * 3


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
    assert [block.text for block in answer.content if block.type == "text"] == [SAID]
    assert answer.usage.input_tokens > 0


@pytest.mark.parametrize("delta", DELTAS)
def test_a_streamed_message(claude: anthropic.Anthropic, delta: str) -> None:
    headers = wishes(delta=delta)
    with claude.messages.stream(model="echo", max_tokens=100, messages=ASKED, extra_headers=headers) as stream:
        assert "".join(stream.text_stream) == SAID
        whole = stream.get_final_message()
    assert [block.text for block in whole.content if block.type == "text"] == [SAID]
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
    assert text.text == SAID
    assert [(use.name, use.input) for use in uses] == [
        ("mail", {"body": SAID}),
        ("keep", {"note": SAID}),
    ]
    results = [{"type": "tool_result", "tool_use_id": use.id, "content": SAID} for use in uses[:1]]
    again: Any = [*ASKED, {"role": "assistant", "content": answer.content}, {"role": "user", "content": results}]
    last = claude.messages.create(**{**asked, "messages": again})
    assert [block.text for block in last.content if block.type == "text"] == [SAID]
