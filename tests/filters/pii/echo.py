"""Models that say what they are told: answers as event streams in each dialect, and what a client makes of them."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from extproc_filters.sse import Events

TEXT, TOOL = "text", "tool"


def sse(document: object, name: str = "", ending: str = "\n", *, ascii_only: bool = False) -> bytes:
    lines = ([f"event: {name}"] if name else []) + [f"data: {json.dumps(document, ensure_ascii=ascii_only)}", "", ""]
    return ending.join(lines).encode()


def chat_delta(index: int, kind: str, piece: str) -> bytes:
    delta: dict[str, Any] = {"content": piece}
    if kind == TOOL:
        delta = {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}
    return sse(
        {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    )


def chat_end() -> list[bytes]:
    last = {
        "id": "c",
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
    }
    return [sse(last), b"data: [DONE]\n\n"]


def completions_delta(index: int, kind: str, piece: str) -> bytes:
    return sse({"object": "text_completion", "choices": [{"index": 0 if kind == TEXT else 1 + index, "text": piece}]})


def responses_delta(index: int, kind: str, piece: str) -> bytes:
    what = "output_text" if kind == TEXT else "function_call_arguments"
    found = {"type": f"response.{what}.delta", "item_id": f"{kind}{index}", "output_index": index, "delta": piece}
    return sse({**found, "sequence_number": 1, "content_index": 0, "logprobs": []}, found["type"])


def responses_end(kind: str = TEXT) -> list[bytes]:
    return [sse({"type": "response.completed", "response": {"output": []}}, "response.completed")]


def anthropic_delta(index: int, kind: str, piece: str) -> bytes:
    delta = (
        {"type": "text_delta", "text": piece} if kind == TEXT else {"type": "input_json_delta", "partial_json": piece}
    )
    block = index if kind == TEXT else 10 + index
    return sse({"type": "content_block_delta", "index": block, "delta": delta}, "content_block_delta")


def anthropic_end() -> list[bytes]:
    return [
        sse({"type": "content_block_stop", "index": 0}, "content_block_stop"),
        sse({"type": "content_block_stop", "index": 10}, "content_block_stop"),
        sse({"type": "message_stop"}, "message_stop"),
    ]


def gemini_delta(index: int, kind: str, piece: str) -> bytes:
    part = {"text": piece} if kind == TEXT else {"text": piece, "thought": True}
    return sse({"candidates": [{"index": 0, "content": {"parts": [part], "role": "model"}}], "modelVersion": "g"})


def gemini_end() -> list[bytes]:
    return [sse({"candidates": [{"index": 0, "content": {"parts": [{"text": ""}]}, "finishReason": "STOP"}]})]


def interactions_delta(index: int, kind: str, piece: str) -> bytes:
    delta = {"type": "text", "text": piece} if kind == TEXT else {"type": "arguments_delta", "arguments": piece}
    step = index if kind == TEXT else 10 + index
    return sse({"event_type": "step.delta", "index": step, "delta": delta}, "step.delta")


def interactions_end() -> list[bytes]:
    return [
        sse({"event_type": "step.stop", "index": 0}, "step.stop"),
        sse({"event_type": "step.stop", "index": 10}, "step.stop"),
        sse({"event_type": "interaction.completed", "interaction": {}}, "interaction.completed"),
    ]


@dataclass(frozen=True)
class Dialect:
    delta: Callable[[int, str, str], bytes]
    end: Callable[[], list[bytes]]

    def say(self, pieces: Iterable[tuple[int, str, str]]) -> list[bytes]:
        return [*(self.delta(*piece) for piece in pieces), *self.end()]


DIALECTS = {
    "chat": Dialect(chat_delta, chat_end),
    "completions": Dialect(completions_delta, lambda: [b"data: [DONE]\n\n"]),
    "responses": Dialect(responses_delta, responses_end),
    "anthropic": Dialect(anthropic_delta, anthropic_end),
    "gemini": Dialect(gemini_delta, gemini_end),
    "interactions": Dialect(interactions_delta, interactions_end),
    "cut off": Dialect(chat_delta, list),
}


def heard(stream: bytes) -> dict[str, str]:
    """The texts that a client has put together: as the clients of these APIs do."""
    texts: dict[str, str] = {}
    events = Events(10_000_000)
    for event in [*events.feed(stream), *events.close()]:
        if event.data is None or event.data == b"[DONE]":
            continue
        for name, piece in pieces(json.loads(event.data)):
            texts[name] = texts.get(name, "") + piece
    return {name: text for name, text in texts.items() if text}


def pieces(event: dict[str, Any]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for choice in event.get("choices", []):
        if "text" in choice:
            found.append((TEXT if choice["index"] == 0 else f"{TOOL}{choice['index'] - 1}", choice["text"]))
        delta = choice.get("delta", {})
        found += [(TEXT, delta["content"])] if "content" in delta else []
        for call in delta.get("tool_calls", []):
            found.append((f"{TOOL}{call['index']}", call["function"]["arguments"]))
    for candidate in event.get("candidates", []):
        for part in candidate.get("content", {}).get("parts", []):
            found.append((f"{TOOL}0" if part.get("thought") else TEXT, part["text"]))
    kind = event.get("type", "")
    if kind.endswith(".delta"):
        found.append((TEXT if "output_text" in kind else f"{TOOL}{event['output_index']}", event["delta"]))
    if kind == "content_block_delta":
        delta, block = event["delta"], event["index"]
        found.append((TEXT, delta["text"]) if "text" in delta else (f"{TOOL}{block - 10}", delta["partial_json"]))
    if event.get("event_type") == "step.delta":
        delta, step = event["delta"], event["index"]
        found.append((TEXT, delta["text"]) if "text" in delta else (f"{TOOL}{step - 10}", delta["arguments"]))
    return found
