"""Chat completions of OpenAI: /v1/chat/completions."""

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any, Final

from extproc.stub.dialects import openai
from extproc.stub.dialects.dialect import Asked, Dialect
from extproc.stub.events import Event
from extproc.stub.said import Call, Json, Question, Said, mappings, text_of

END: Final = Event("[DONE]")


def read(asked: Asked) -> Question:
    """A tool's result is answered with words, anything else with a call of the tools."""
    messages = mappings(asked.body.get("messages"))
    last = messages[-1] if messages else {}
    tools = () if last.get("role") == "tool" else openai.tools(asked.body)
    everything = text_of(messages)
    return Question(_model(asked), text_of(last), everything, tools, openai.choices(asked.body))


def whole(said: Said, _: Asked) -> Json:
    message: dict[str, Any] = {"role": "assistant", "content": None if said.calls else said.text}
    if said.calls:
        message["tool_calls"] = [_call(call, call.arguments) for call in said.calls]
    choices = [{"index": index, "message": message, "finish_reason": _reason(said)} for index in range(said.choices)]
    spent = openai.usage(said)
    return {**openai.head(said, "chat.completion"), "choices": choices, **({"usage": spent} if spent else {})}


def events(said: Said, asked: Asked) -> Iterator[Event]:
    """The choices in turns, as they come when several are made at once; `usage` is null until the last."""
    wanted = openai.wants_usage(asked.body)
    base = {**openai.head(said, "chat.completion.chunk"), **({"usage": None} if wanted else {})}
    for turn in zip_longest(*(list(_deltas(said)) for _ in range(said.choices))):
        for index, delta in enumerate(turn):
            yield Event({**base, "choices": [_choice(index, delta, None)]})
    for index in range(said.choices):
        yield Event({**base, "choices": [_choice(index, {}, _reason(said))]})
    spent = openai.usage(said)
    if wanted and spent:
        yield Event({**base, "choices": [], "usage": spent})
    yield END


def _deltas(said: Said) -> Iterator[Json]:
    yield {"role": "assistant", "content": None if said.calls else ""}
    if not said.calls:
        yield from ({"content": piece} for piece in said.pieces(said.text))
    for index, call in enumerate(said.calls):
        yield {"tool_calls": [{"index": index, **_call(call, "")}]}
        for piece in said.pieces(call.arguments):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def _call(call: Call, arguments: str) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _choice(index: int, delta: Json, reason: str | None) -> Json:
    return {"index": index, "delta": delta, "finish_reason": reason}


def _reason(said: Said) -> str:
    return "tool_calls" if said.calls else "stop"


def _model(asked: Asked) -> str:
    return str(asked.body.get("model") or "")


CHAT: Final = Dialect("/v1/chat/completions", read, whole, openai.error, events)
