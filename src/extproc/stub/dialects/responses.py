"""Responses of OpenAI: /v1/responses."""

from collections.abc import Iterator
from itertools import count
from typing import Any, Final

from extproc.stub.dialects import openai
from extproc.stub.dialects.dialect import Asked, Dialect
from extproc.stub.events import Event
from extproc.stub.said import CREATED, Call, Json, Question, Said, mappings, text_of


def read(asked: Asked) -> Question:
    """A function's output is answered with words."""
    given = asked.body.get("input")
    items = mappings(given)
    last = items[-1] if items else given
    tools = () if items and items[-1].get("type") == "function_call_output" else openai.tools(asked.body)
    everything = text_of(asked.body.get("instructions")) + text_of(given)
    return Question(str(asked.body.get("model") or ""), text_of(last), everything, tools)


def whole(said: Said, _: Asked) -> Json:
    return _response(said, "completed", _output(said), _usage(said))


def events(said: Said, _: Asked) -> Iterator[Event]:
    """Each event carries its name twice, and a number."""
    numbers = count()
    for body in _bodies(said):
        yield Event({**body, "sequence_number": next(numbers)}, body["type"])


def _bodies(said: Said) -> Iterator[dict[str, Any]]:
    begun = _response(said, "in_progress", [], None)
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    if not said.calls:
        yield from _text(said)
    for index, call in enumerate(said.calls):
        yield from _function(said, call, index)
    yield {"type": "response.completed", "response": _response(said, "completed", _output(said), _usage(said))}


def _text(said: Said) -> Iterator[dict[str, Any]]:
    where = {"item_id": "msg_stub", "output_index": 0, "content_index": 0}
    begun = {**_message(said.text), "status": "in_progress", "content": []}
    yield {"type": "response.output_item.added", "output_index": 0, "item": begun}
    yield {"type": "response.content_part.added", **where, "part": _part("")}
    for piece in said.pieces(said.text):
        yield {"type": "response.output_text.delta", **where, "delta": piece, "logprobs": []}
    yield {"type": "response.output_text.done", **where, "text": said.text, "logprobs": []}
    yield {"type": "response.content_part.done", **where, "part": _part(said.text)}
    yield {"type": "response.output_item.done", "output_index": 0, "item": _message(said.text)}


def _function(said: Said, call: Call, index: int) -> Iterator[dict[str, Any]]:
    where = {"item_id": f"fc_{call.id}", "output_index": index}
    begun = {**_call(call), "status": "in_progress", "arguments": ""}
    yield {"type": "response.output_item.added", "output_index": index, "item": begun}
    for piece in said.pieces(call.arguments):
        yield {"type": "response.function_call_arguments.delta", **where, "delta": piece}
    done = {"name": call.name, "arguments": call.arguments}
    yield {"type": "response.function_call_arguments.done", **where, **done}
    yield {"type": "response.output_item.done", "output_index": index, "item": _call(call)}


def _response(said: Said, status: str, output: list[Json], usage: Json | None) -> Json:
    fixed = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "error": None}
    head = {"id": "resp_stub", "object": "response", "created_at": CREATED, "model": said.model, "status": status}
    return {**head, **fixed, "output": output, "usage": usage}


def _output(said: Said) -> list[Json]:
    return [_call(call) for call in said.calls] or [_message(said.text)]


def _message(text: str) -> Json:
    head = {"id": "msg_stub", "type": "message", "role": "assistant", "status": "completed"}
    return {**head, "content": [_part(text)]}


def _part(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": []}


def _call(call: Call) -> Json:
    head = {"id": f"fc_{call.id}", "type": "function_call", "call_id": call.id, "status": "completed"}
    return {**head, "name": call.name, "arguments": call.arguments}


def _usage(said: Said) -> Json | None:
    if said.usage is None:
        return None
    details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    return {"input_tokens": said.usage[0], "output_tokens": said.usage[1], **details, "total_tokens": said.total}


RESPONSES: Final = Dialect("/v1/responses", read, whole, openai.error, events)
