"""The stub's answers in the shapes of OpenAI's API. They say the same for every request, so that tests can compare."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

MODEL: Final = "stub-1"
WORDS: Final = ("Hello", " from", " the", " stub", ".")
CREATED: Final = 1_700_000_000
"""Unix seconds; fixed, as everything here."""


def usage(asked: Mapping[str, Any]) -> dict[str, int]:
    """A token for each four characters of the messages, one for each word of the answer."""
    prompt = max(1, len(str(asked.get("messages") or asked.get("input") or "")) // 4)
    return {"prompt_tokens": prompt, "completion_tokens": len(WORDS), "total_tokens": prompt + len(WORDS)}


def completion(asked: Mapping[str, Any], received: Mapping[str, Any]) -> dict[str, Any]:
    """A whole chat completion."""
    choice = {"index": 0, "message": {"role": "assistant", "content": "".join(WORDS)}, "finish_reason": "stop"}
    head = _head(asked, "chat.completion")
    return {**head, "choices": [choice], "usage": usage(asked), "x_received": received}


def chunks(asked: Mapping[str, Any], received: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A streamed chat completion; the first chunk shows what was received, the last has the usage if that was asked for."""
    head = _head(asked, "chat.completion.chunk")
    first = {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
    yield {**head, "choices": [first], "x_received": received}
    for word in WORDS:
        yield {**head, "choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]}
    yield {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    options = asked.get("stream_options")
    if isinstance(options, Mapping) and options.get("include_usage") is True:
        yield {**head, "choices": [], "usage": usage(asked)}


def embeddings(asked: Mapping[str, Any], received: Mapping[str, Any]) -> dict[str, Any]:
    """One vector for each input."""
    given = asked.get("input")
    count = len(given) if isinstance(given, list) else 1
    data = [{"object": "embedding", "index": index, "embedding": [0.25, -0.5, 1.0]} for index in range(count)]
    tokens = usage(asked)["prompt_tokens"]
    spent = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": _model(asked), "usage": spent, "x_received": received}


def models(received: Mapping[str, Any]) -> dict[str, Any]:
    """The list of models: one."""
    model = {"id": MODEL, "object": "model", "created": CREATED, "owned_by": "extproc"}
    return {"object": "list", "data": [model], "x_received": received}


def _head(asked: Mapping[str, Any], kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-stub", "object": kind, "created": CREATED, "model": _model(asked)}


def _model(asked: Mapping[str, Any]) -> str:
    return str(asked.get("model") or MODEL)
