"""Gemini: generateContent and streamGenerateContent (ai.google.dev/api/generate-content)."""

from collections.abc import Iterator
from typing import Any, Final

import orjson

from extproc.stub.dialects.dialect import Asked, Dialect
from extproc.stub.events import Event
from extproc.stub.said import Json, Question, Said, Tool, mapping, mappings, text_of

MODEL_PATH: Final = "/v1beta/models/{model:[^:/]+}"
STATES: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
}


def read(asked: Asked) -> Question:
    """A function's response is answered with words."""
    contents = mappings(asked.body.get("contents"))
    parts = mappings(contents[-1].get("parts")) if contents else []
    results = [part["functionResponse"] for part in parts if "functionResponse" in part]
    tools = () if results else tuple(_tools(asked.body))
    last = text_of(parts) or "".join(text_of(list(mapping(mapping(one).get("response")).values())) for one in results)
    everything = text_of(asked.body.get("systemInstruction")) + text_of(contents)
    return Question(asked.path["model"], last, everything, tools)


def _tools(body: Json) -> Iterator[Tool]:
    for tool in mappings(body.get("tools")):
        for function in mappings(tool.get("functionDeclarations")):
            yield Tool(str(function.get("name")), mapping(function.get("parameters")))


def whole(said: Said, _: Asked) -> Json:
    parts = [_part(call) for call in said.calls] or [{"text": said.text}]
    return _answer(said, parts, "STOP")


def events(said: Said, _: Asked) -> Iterator[Event]:
    """A call is never cut; the usage is in every event."""
    for piece in said.pieces("" if said.calls else said.text):
        yield Event(_answer(said, [{"text": piece}], None))
    yield Event(_answer(said, [_part(call) for call in said.calls] or [{"text": ""}], "STOP"))


def _part(call: Any) -> Json:
    return {"functionCall": {"name": call.name, "args": orjson.loads(call.arguments)}}


def _answer(said: Said, parts: list[Json], reason: str | None) -> dict[str, Any]:
    candidate = {
        "content": {"parts": parts, "role": "model"},
        "index": 0,
        **({"finishReason": reason} if reason else {}),
    }
    answer: dict[str, Any] = {"candidates": [candidate], "modelVersion": said.model, "responseId": "stub"}
    if said.usage is not None:
        given, made = said.usage
        counts = {"promptTokenCount": given, "candidatesTokenCount": made, "totalTokenCount": said.total}
        answer["usageMetadata"] = counts
    return answer


def error(status: int) -> Json:
    return {"error": {"code": status, "message": "on demand", "status": STATES.get(status, "INTERNAL")}}


GENERATE: Final = Dialect(f"{MODEL_PATH}:generateContent", read, whole, error, streams=lambda _: False)
STREAM_GENERATE: Final = Dialect(
    f"{MODEL_PATH}:streamGenerateContent", read, whole, error, events, lambda _: True, lambda asked: not asked.events
)
