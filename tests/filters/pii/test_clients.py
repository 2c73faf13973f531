"""What the clients of these APIs make of an answer whose values were put back: the libraries themselves are asked."""

import json
from collections.abc import Iterable
from typing import Any

import httpx
import pytest

from extproc_filters.pii.answers import Assigned, Return
from extproc_filters.pii.placeholders import Placeholders
from extproc_filters.pii.streamed import Streamed
from tests.filters.pii.echo import sse

openai = pytest.importorskip("openai")
anthropic = pytest.importorskip("anthropic")

VALUE = 'Jane "J" Roe\n<jane@example.org>'
SAID = "Hello [EMAIL_ADDRESS_1], how are you? [EMAIL"
MEANT = SAID.replace("[EMAIL_ADDRESS_1]", VALUE)
ARGUMENTS = json.dumps({"to": "[EMAIL_ADDRESS_1]", "n": 1})


def through(events: Iterable[bytes], library: Any = httpx) -> Any:
    """A client of a server that sends `events`, which pass piece by piece. `library`: the one that the API's client uses."""
    made = Placeholders()
    made.write("EMAIL_ADDRESS", VALUE, 0)
    transformer = Streamed(Return(Assigned(made, {})), None, 1_000_000)
    out = b"".join([*(transformer.feed(event) for event in events), *transformer.finish()])
    headers = {"content-type": "text/event-stream"}
    answer = library.MockTransport(lambda _: library.Response(200, headers=headers, content=out))
    return library.Client(transport=answer)


def pieces(text: str) -> list[str]:
    return [text[at : at + 3] for at in range(0, len(text), 3)]


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
    return sse({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})


def test_openai_chat() -> None:
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "mail", "arguments": ""}}
    events = [
        chunk({"role": "assistant", "content": ""}),
        *(chunk({"content": piece}) for piece in pieces(SAID)),
        chunk({"tool_calls": [call]}),
        *(chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}) for piece in pieces(ARGUMENTS)),
        chunk({}, "tool_calls"),
        b"data: [DONE]\n\n",
    ]
    client = openai.OpenAI(api_key="x", http_client=through(events), base_url="http://stub.invalid/v1")
    with client.chat.completions.stream(model="m", messages=[{"role": "user", "content": "x"}]) as stream:
        message = stream.get_final_completion().choices[0].message
    assert (message.role, message.content) == ("assistant", MEANT)
    (called,) = message.tool_calls
    assert (called.id, called.type, called.function.name) == ("call_1", "function", "mail")
    assert json.loads(called.function.arguments) == {"to": VALUE, "n": 1}


def test_openai_responses() -> None:
    item = {"id": "msg", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    part = {"type": "output_text", "text": "", "annotations": []}
    answer = {
        "id": "r", "object": "response", "created_at": 1, "model": "m", "output": [], "parallel_tool_calls": True,
        "tool_choice": "auto", "tools": [], "status": "in_progress",
    }  # fmt: skip
    at = {"item_id": "msg", "output_index": 0, "content_index": 0}
    whole = {**part, "text": SAID}
    said: list[dict[str, Any]] = [
        {"type": "response.created", "response": answer},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.content_part.added", **at, "part": part},
        *({"type": "response.output_text.delta", **at, "delta": piece, "logprobs": []} for piece in pieces(SAID)),
        {"type": "response.output_text.done", **at, "text": SAID, "logprobs": []},
        {"type": "response.content_part.done", **at, "part": whole},
        {
            "type": "response.output_item.done",
            "output_index": 0,
            "item": {**item, "content": [whole], "status": "completed"},
        },
        {
            "type": "response.completed",
            "response": {**answer, "output": [{**item, "content": [whole]}], "status": "completed"},
        },
    ]
    events = [sse({**event, "sequence_number": number}, event["type"]) for number, event in enumerate(said)]
    client = openai.OpenAI(api_key="x", http_client=through(events), base_url="http://stub.invalid/v1")
    with client.responses.stream(model="m", input="x") as stream:
        told = list(stream)
    assert "".join(event.delta for event in told if event.type == "response.output_text.delta") == MEANT
    assert stream.get_final_response().output_text == MEANT


def test_anthropic_messages() -> None:
    message = {
        "id": "m", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }  # fmt: skip
    tool = {"type": "tool_use", "id": "t", "name": "mail", "input": {}}
    said: list[dict[str, Any]] = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        *(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}
            for piece in pieces(SAID)
        ),
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": tool},
        *(
            {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": piece}}
            for piece in pieces(ARGUMENTS)
        ),
        {"type": "content_block_stop", "index": 1},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    ]
    events = [sse(event, event["type"]) for event in said]
    client = anthropic.Anthropic(
        api_key="x", http_client=through(events, pytest.importorskip("httpx2")), base_url="http://stub.invalid"
    )
    with client.messages.stream(model="m", max_tokens=5, messages=[{"role": "user", "content": "x"}]) as stream:
        final = stream.get_final_message()
    text, called = final.content
    assert text.text == MEANT
    assert (called.id, called.name, called.input) == ("t", "mail", {"to": VALUE, "n": 1})
