"""Answers of each API, as they come, with the usage that they tell."""

import json
from typing import Any, Final

from extproc_filters.usage.counts import Usage


def sse(*events: Any, names: bool = False, end: str = "\n", done: bool = False) -> bytes:
    """An event stream; with `names` each event is named after its `type`."""
    lines = []
    for each in events:
        name = [f"event: {each['type']}"] if names else []
        lines += [*name, f"data: {json.dumps(each, separators=(',', ':'))}", ""]
    return end.join([*lines, *(["data: [DONE]", ""] if done else []), ""]).encode()


def chunk(content: str | None = None, usage: Any = None, **more: Any) -> dict[str, Any]:
    """One event of OpenAI's chat completions."""
    delta = {} if content is None else {"content": content}
    choices = [{"index": 0, "delta": delta, "finish_reason": None}]
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "model": "m",
        "choices": choices,
        "usage": usage,
        **more,
    }


CHAT: Final = {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21, "details": {"cached_tokens": 0}}
EXTRA: Final = chunk(usage=CHAT, choices=[])
INNER: Final = '{"usage":{"total_tokens":1,"prompt_tokens":0,"completion_tokens":0}}'
"""What must not count: it is somebody's text."""

JSON: Final[dict[str, tuple[Any, Usage]]] = {
    "chat": (
        {
            "id": "c",
            "choices": [{"message": {"role": "assistant", "content": INNER, "usage": {"total_tokens": 7}}}],
            "usage": CHAT,
        },
        Usage(9, 12, 21),
    ),
    "completions": (
        {"choices": [{"text": INNER}], "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}},
        Usage(5, 7, 12),
    ),
    "embeddings": (
        {"data": [{"embedding": [0.25, -1e-7] * 40, "index": 0}], "usage": {"prompt_tokens": 8, "total_tokens": 8}},
        Usage(8, 0, 8),
    ),
    "responses": (
        {
            "object": "response",
            "output": [{"content": [{"type": "output_text", "text": INNER}]}],
            "usage": {
                "input_tokens": 36,
                "input_tokens_details": {"cached_tokens": 30},
                "output_tokens": 87,
                "total_tokens": 123,
            },
        },
        Usage(36, 87, 123),
    ),
    "messages": (
        {
            "type": "message",
            "usage": {
                "input_tokens": 25,
                "cache_creation_input_tokens": 10,
                "cache_read_input_tokens": 5,
                "output_tokens": 15,
            },
            "content": [{"type": "text", "text": INNER}],
        },
        Usage(40, 15, 55),
    ),
    "gemini": (
        {
            "candidates": [{"content": {"parts": [{"text": INNER}]}}],
            "usageMetadata": {
                "promptTokenCount": 4,
                "candidatesTokenCount": 9,
                "thoughtsTokenCount": 2,
                "totalTokenCount": 15,
            },
        },
        Usage(4, 11, 15),
    ),
    "interaction": (
        {
            "steps": [{"type": "model_output", "content": [{"type": "text", "text": INNER}]}],
            "usage": {
                "total_input_tokens": 9,
                "total_cached_tokens": 4,
                "total_output_tokens": 77,
                "total_thought_tokens": 90,
                "total_tool_use_tokens": 3,
                "total_tokens": 179,
                "input_tokens_by_modality": [{"modality": "text", "tokens": 9}],
            },
        },
        Usage(12, 167, 179),
    ),
    "bedrock": (
        {
            "output": {"message": {"role": "assistant", "content": [{"text": INNER}]}},
            "stopReason": "end_turn",
            "usage": {"inputTokens": 30, "outputTokens": 62, "totalTokens": 92, "cacheReadInputTokens": 1000},
        },
        Usage(1030, 62, 1092),
    ),
    "gemini list": (
        [
            {"candidates": [], "usageMetadata": {"promptTokenCount": 4, "totalTokenCount": 4}},
            {
                "candidates": [INNER],
                "usageMetadata": {"promptTokenCount": 4, "candidatesTokenCount": 6, "totalTokenCount": 10},
            },
        ],
        Usage(4, 6, 10),
    ),
}

STREAMS: Final[dict[str, tuple[bytes, Usage]]] = {
    "chat": (sse(chunk("Hi"), chunk(INNER), chunk(), EXTRA, done=True), Usage(9, 12, 21)),
    "chat, each with its usage": (
        sse(
            *(chunk("x", {"prompt_tokens": 4, "completion_tokens": n, "total_tokens": 4 + n}) for n in (1, 2, 3)),
            done=True,
        ),
        Usage(4, 3, 7),
    ),
    "completions": (
        sse({"choices": [{"text": INNER}]}, {"choices": [], "usage": CHAT}, done=True, end="\r\n"),
        Usage(9, 12, 21),
    ),
    "responses": (
        sse(
            {"type": "response.created", "response": {"id": "r", "usage": None}},
            {"type": "response.output_text.delta", "delta": INNER},
            {
                "type": "response.completed",
                "response": {
                    "output": [{"text": INNER}],
                    "usage": {
                        "input_tokens": 5,
                        "output_tokens": 8,
                        "total_tokens": 13,
                        "output_tokens_details": {"reasoning_tokens": 3},
                    },
                },
            },
            names=True,
        ),
        Usage(5, 8, 13),
    ),
    "messages": (
        sse(
            {
                "type": "message_start",
                "message": {
                    "id": "m",
                    "usage": {"input_tokens": 25, "cache_read_input_tokens": 100, "output_tokens": 1},
                },
            },
            {"type": "ping"},
            {"type": "content_block_delta", "delta": {"type": "text_delta", "text": INNER}},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 15}},
            {"type": "message_stop"},
            names=True,
        ),
        Usage(125, 15, 140),
    ),
    "interaction": (
        sse(
            {"event_type": "interaction.created", "interaction": {"id": "i", "status": "in_progress"}},
            {"event_type": "step.delta", "index": 0, "delta": {"type": "text", "text": INNER}},
            {
                "event_type": "interaction.completed",
                "interaction": {
                    "usage": {"total_input_tokens": 7, "total_output_tokens": 5, "total_tokens": 12},
                },
            },
            done=True,
        ),
        Usage(7, 5, 12),
    ),
    "gemini": (
        sse(
            {"candidates": [{"content": INNER}], "usageMetadata": {"promptTokenCount": 4, "totalTokenCount": 4}},
            {
                "candidates": [],
                "usageMetadata": {"promptTokenCount": 4, "candidatesTokenCount": 6, "totalTokenCount": 10},
            },
            end="\r",
        ),
        Usage(4, 6, 10),
    ),
    "odd": (
        (
            b"\xef\xbb\xbf: hello\r\n\r\n\r\nid: 7\r\nretry: 5\r\n"
            b'data: {"choices":[],\r\ndata:"usage"\r\ndata: :{"total_tokens":5}}\r\n\r\n:\n\n'
        ),
        Usage(5, 0, 5),
    ),
}
