"""Messages of Anthropic: /v1/messages (docs.anthropic.com/en/api/messages-streaming)."""

from collections.abc import Iterator
from typing import Any, Final

import orjson

from extproc.stub.dialects.dialect import Asked, Dialect
from extproc.stub.events import Event
from extproc.stub.said import Call, Json, Question, Said, Tool, mapping, mappings, text_of

TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def read(asked: Asked) -> Question:
    """A tool's result is answered with words."""
    messages = mappings(asked.body.get("messages"))
    last = messages[-1].get("content") if messages else ""
    results = [part for part in mappings(last) if part.get("type") == "tool_result"]
    tools = () if results else tuple(_tools(asked.body))
    everything = text_of(asked.body.get("system")) + text_of(messages)
    return Question(str(asked.body.get("model") or ""), text_of(last), everything, tools)


def _tools(body: Json) -> Iterator[Tool]:
    for tool in mappings(body.get("tools")):
        yield Tool(str(tool.get("name")), mapping(tool.get("input_schema")))


def whole(said: Said, _: Asked) -> Json:
    calls = [{**_tool_use(call), "input": orjson.loads(call.arguments)} for call in said.calls]
    content = [{"type": "text", "text": said.text}, *calls]
    usage = _usage(said, said.usage[1]) if said.usage else {}
    return {**_message(said), "content": content, "stop_reason": _reason(said), **usage}


def events(said: Said, _: Asked) -> Iterator[Event]:
    """Each event carries its name twice; usage comes at the start, and with all that was made at the end."""
    for body in _bodies(said):
        yield Event(body, body["type"])


def _bodies(said: Said) -> Iterator[dict[str, Any]]:
    yield {"type": "message_start", "message": {**_message(said), **_usage(said, 1)}}
    yield from _block(
        0, {"type": "text", "text": ""}, ({"type": "text_delta", "text": p} for p in said.pieces(said.text))
    )
    yield {"type": "ping"}
    for index, call in enumerate(said.calls, 1):
        pieces = ({"type": "input_json_delta", "partial_json": piece} for piece in ("", *said.pieces(call.arguments)))
        yield from _block(index, _tool_use(call), pieces)
    spent = {"usage": {"output_tokens": said.usage[1]}} if said.usage else {}
    yield {"type": "message_delta", "delta": {"stop_reason": _reason(said), "stop_sequence": None}, **spent}
    yield {"type": "message_stop"}


def _block(index: int, block: Json, deltas: Iterator[Json]) -> Iterator[dict[str, Any]]:
    yield {"type": "content_block_start", "index": index, "content_block": block}
    yield from ({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas)
    yield {"type": "content_block_stop", "index": index}


def _message(said: Said) -> dict[str, Any]:
    head = {"id": "msg_stub", "type": "message", "role": "assistant", "model": said.model}
    return {**head, "content": [], "stop_reason": None, "stop_sequence": None}


def _tool_use(call: Call) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{call.id}", "name": call.name, "input": {}}


def _usage(said: Said, made: object) -> dict[str, Any]:
    if said.usage is None:
        return {}
    cached = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    return {"usage": {"input_tokens": said.usage[0], **cached, "output_tokens": made}}


def _reason(said: Said) -> str:
    return "tool_use" if said.calls else "end_turn"


def error(status: int) -> Json:
    kind = TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    return {"type": "error", "error": {"type": kind, "message": "on demand"}, "request_id": "req_stub"}


MESSAGES: Final = Dialect("/v1/messages", read, whole, error, events)
