"""The texts that event streams of LLM APIs bring in pieces: OpenAI (chat, completions, responses), Anthropic, Gemini, and
whoever else calls them a delta (Gemini's interactions, Cohere, Mistral's conversations, OpenAI's transcriptions).

Recognised by the shape of each event, not by the host: gateways and local servers speak the same dialects.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from typing import Any, Final

from extproc_filters.pii.paths import Path
from extproc_filters.pii.pieces import (
    ALL,
    LONGEST_NAME,
    MOST_DELTAS,
    OTHER,
    Crowded,
    Delta,
    Said,
    Stream,
    index_of,
    is_short,
    name_of,
    objects,
    strings,
)

INNER: Final = ("text", "thinking", "summary", "transcript")
DEEPEST: Final = 2
"""Texts within the delta of a choice, and how deep: parts of a content (Mistral) or of a thought (OpenRouter), spoken words."""

OTHERS: Final = (*INNER, "content", "message", "value", "arguments", "tool_plan", "tool_calls", "function")
OTHERS_DEEPEST: Final = 4
"""The same of an event that none of the three sends: what has another name in it is scanned as it stands."""

ENDED: Final = re.compile(r"(?i)(?:.*[._-])?(?:end|stop|done|completed?|finished|failed|cancelled|incomplete|error)")
"""The kind of an event that ends a text, or all of them."""


def read(event: object) -> Said:
    """What `event`, a parsed one, brings. Of an unknown shape, or a crowd: nothing. Which dialect its reader speaks nobody
    knows, so one of several shapes brings what it does in each.
    """
    try:
        return _read(event) if isinstance(event, dict) else Said()
    except Crowded:
        return Said()


def _read(event: Mapping[str, Any]) -> Said:
    """Raises: Crowded."""
    said: list[Said] = []
    if isinstance(choices := event.get("choices"), list):
        said.append(_choices(choices))
    for holder, place in ((event, ()), (event.get("response"), ("response",))):  # some proxies wrap Gemini's answers
        if isinstance(holder, dict) and isinstance(candidates := holder.get("candidates"), list):
            said.append(_candidates(candidates, (*place, "candidates")))
    said.append(_of_kind(event, _kind(event)))
    if len(said) == 1:
        return said[0]
    return Said(tuple(chain(*(each.deltas for each in said))), tuple(chain(*(each.ended for each in said))))


def _kind(event: Mapping[str, Any]) -> str:
    kinds = (event.get(name) for name in ("type", "event_type", "object"))
    return next((kind for kind in kinds if isinstance(kind, str) and is_short(kind)), "")


def _of_kind(event: Mapping[str, Any], kind: str) -> Said:
    if kind.startswith("response."):
        return _responses(event, kind)
    return _anthropic(event, kind) if kind.startswith(("content_block_", "message_")) else _other(event, kind)


def _choices(choices: list[Any]) -> Said:
    """OpenAI chat completions and completions: deltas of choices, until a `finish_reason`."""
    found = [(at, choice, ("choice", index_of(choice, at))) for at, choice in objects(choices)]
    deltas = chain.from_iterable(_choice(choice, ("choices", at), stream) for at, choice, stream in found)
    ended = (stream for _, choice, stream in found if choice.get("finish_reason") is not None)
    return Said(tuple(islice(deltas, MOST_DELTAS)), tuple(ended))


def _choice(choice: Mapping[str, Any], place: Path, stream: Stream) -> Iterator[Delta]:
    yield from strings(choice, place, stream, ("text",))
    if isinstance(delta := choice.get("delta"), dict):
        names = tuple(name for name in delta if name != "role")
        yield from strings(delta, (*place, "delta"), stream, names)
        yield from _inner(delta, (*place, "delta"), stream, names)
        yield from _calls(delta, (*place, "delta"), stream)


def _inner(
    found: Mapping[str, Any],
    place: Path,
    stream: Stream,
    names: tuple[str, ...],
    within: tuple[str, ...] = INNER,
    depth: int = DEEPEST,
) -> Iterator[Delta]:
    """Pieces in objects and in lists of objects: parts of a content or of a thought, the words of what is spoken. Parts
    without a number are pieces of one text. They have the names `within`.
    """
    for name in names:
        value = found.get(name)
        if not isinstance(value, dict | list) or len(name) > LONGEST_NAME:
            continue
        here: list[tuple[Path, Mapping[str, Any]]] = [((*place, name), value)] if isinstance(value, dict) else []
        here += [((*place, name, at), part) for at, part in objects(value)]
        for inner, part in here:
            which = (*stream, name, index_of(part, -1))
            yield from strings(part, inner, which, within)
            if depth > 1:
                yield from _inner(part, inner, which, within, within, depth - 1)


def _calls(delta: Mapping[str, Any], place: Path, stream: Stream) -> Iterator[Delta]:
    if isinstance(function := delta.get("function_call"), dict):
        yield from strings(function, (*place, "function_call"), (*stream, "call"), ("arguments",))
    for at, call in objects(delta.get("tool_calls")):
        for name, field in (("function", "arguments"), ("custom", "input")):
            if isinstance(inner := call.get(name), dict):
                which = (*stream, "call", index_of(call, at))
                yield from strings(inner, (*place, "tool_calls", at, name), which, (field,))


def _candidates(candidates: list[Any], at_candidates: Path) -> Said:
    """Gemini: parts of candidates, until a `finishReason`. Its function calls come whole, unless Vertex AI is asked for
    their arguments in pieces.
    """
    deltas: list[Delta] = []
    ended: list[Stream] = []
    for at, candidate in objects(candidates):
        stream = ("candidate", index_of(candidate, at))
        content = candidate.get("content")
        parts = content.get("parts") if isinstance(content, dict) else None
        place = (*at_candidates, at, "content", "parts")
        for number, part in objects(parts):
            deltas += strings(part, (*place, number), (*stream, int(part.get("thought") is True)), ("text",))
        arguments = _arguments(parts, place, stream)
        deltas += arguments
        ended += (delta.stream for delta, goes_on in arguments.items() if not goes_on)
        if candidate.get("finishReason") is not None:
            ended.append(stream)
    return Said(tuple(deltas), tuple(ended))


def _arguments(parts: object, at_parts: Path, stream: Stream) -> dict[Delta, bool]:
    """The values in the arguments of function calls, by their paths, and whether each goes on in another event. Two of one path
    are of two calls, and come whole.
    """
    found: dict[Stream, dict[Delta, bool]] = {}
    for at, part in objects(parts):
        call = part.get("functionCall")
        pieces = call.get("partialArgs") if isinstance(call, dict) else None
        for number, piece in objects(pieces):
            which = (*stream, "call", name_of(piece, "jsonPath"))
            place = (*at_parts, at, "functionCall", "partialArgs", number)
            for each in strings(piece, place, which, ("stringValue",)):
                found.setdefault(each.stream, {})[each] = piece.get("willContinue") is True
    return {each: goes_on for same in found.values() if len(same) == 1 for each, goes_on in same.items()}


def _responses(event: Mapping[str, Any], kind: str) -> Said:
    """OpenAI responses: `response.output_text.delta` and its like bring pieces, `.done` the whole. Its clients tell texts apart
    by their numbers; there are servers that give each event another `item_id`, so that counts only where a number is missing.
    """
    what, _, verb = kind.rpartition(".")
    numbers = tuple(name_of(event, name) for name in ("output_index", "content_index", "summary_index"))
    item = "" if isinstance(numbers[0], int) else name_of(event, "item_id")
    stream = ("output", *numbers[:1], what, *numbers[1:], item)
    if verb == "delta":
        document = what.endswith("call_arguments")
        found = [*strings(event, (), stream, ("delta",), document=document, add=False)]
        return Said((*found, *islice(_inner(event, (), stream, ("delta",)), MOST_DELTAS)))
    if kind == "response.output_item.done":
        return Said((), (("output", *numbers[:1]),), repeats=True)
    if verb == "done":
        return Said((), (stream,), repeats=True)
    return Said((), ALL if verb in ("completed", "incomplete", "failed", "cancelled") else (), repeats=True)


def _anthropic(event: Mapping[str, Any], kind: str) -> Said:
    """Anthropic messages: deltas of content blocks, until `content_block_stop`."""
    stream = ("block", index_of(event, 0))
    delta = event.get("delta")
    names = ("text", "thinking", "content", "partial_json")
    found = strings(delta, ("delta",), stream, names) if isinstance(delta, dict) else ()
    ended = {"content_block_stop": (stream,), "message_delta": ALL, "message_stop": ALL}.get(kind, ())
    return Said(tuple(found), ended)


def _other(event: Mapping[str, Any], kind: str) -> Said:
    """Any other event that brings a `delta`, or says that it is one. What ends without a number are all texts."""
    is_delta, ends = kind.endswith("delta"), ENDED.fullmatch(kind) is not None
    if not (is_delta or ends or "delta" in event):
        return Said()
    numbers = tuple(name_of(event, name) for name in ("output_index", "content_index", "index"))
    stream = (OTHER, *numbers)
    names = ("delta", "text", "content", "arguments") if is_delta else ("delta",)
    found = chain(strings(event, (), stream, names), _inner(event, (), stream, names, OTHERS, OTHERS_DEEPEST))
    ended = (stream,) if any(isinstance(number, int) for number in numbers) else ALL
    return Said(tuple(islice(found, MOST_DELTAS)), ended if ends else ())
