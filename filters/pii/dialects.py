"""The texts that event streams of LLM APIs bring in pieces: OpenAI (chat, completions, responses), Anthropic, Gemini.

Recognised by the shape of each event, not by the host: gateways and local servers speak the same dialects.
"""

from collections.abc import Iterator, Mapping
from itertools import chain, islice
from typing import Any, Final, NamedTuple

from extproc_filters.pii.paths import Path

Stream = tuple[str | int, ...]
"""Which text of the answer: the dialect's own numbers and names. One that begins another holds it."""

MOST_DELTAS: Final = 256
"""Pieces of texts that one event may bring."""

LONGEST_NAME: Final = 256
"""Characters of a name or an id by which texts are told apart."""

SCALARS: Final = (str, int, float, bool, type(None))
INNER: Final = ("text", "thinking", "summary", "transcript")
DEEPEST: Final = 2
"""Texts within the delta of a choice, and how deep: parts of a content (Mistral) or of a thought (OpenRouter), spoken words."""

KEPT: Final = frozenset({"index", "type", "thought", "finish_reason", "logprobs"})
"""What goes with a piece below the top of an event, besides what is on the way to it. An id or a name would be added to the one
that came before.
"""

NOT_REPEATED: Final = frozenset({"usage", "usageMetadata", "obfuscation"})


class Delta(NamedTuple):
    """A piece of a text: where it stands in the event, and of which text it is one. `document`: that text is JSON."""

    place: Path
    stream: Stream
    document: bool


class Said(NamedTuple):
    """What an event brings, and which texts have ended with it (or before it, where it brings nothing of them). `whole`: its
    texts are there as a whole, none goes on in another event.
    """

    deltas: tuple[Delta, ...] = ()
    ended: tuple[Stream, ...] = ()
    whole: bool = False


ALL: Final = ((),)
"""Every text."""


def read(event: object) -> Said:
    """What `event`, a parsed one, brings. Of an unknown shape: nothing. Which dialect its reader speaks nobody knows, so one
    of several shapes brings what it does in each.
    """
    if not isinstance(event, dict):
        return Said()
    said: list[Said] = []
    if isinstance(choices := event.get("choices"), list):
        said.append(_choices(choices))
    if isinstance(candidates := event.get("candidates"), list):
        said.append(_candidates(candidates))
    if isinstance(kind := event.get("type"), str):
        said.append(_responses(event, kind) if kind.startswith("response.") else _anthropic(event, kind))
    if len(said) == 1:
        return said[0]
    return Said(tuple(chain(*(each.deltas for each in said))), tuple(chain(*(each.ended for each in said))))


def text_at(event: Any, place: Path) -> str:
    """The string at `place`, which `read` found."""
    for step in place:
        event = event[step]
    return str(event)


def alone(event: Mapping[str, Any], place: Path, text: str) -> dict[str, Any]:
    """An event in the shape of `event` that brings nothing but `text`, at `place`."""
    top = {name: value for name, value in event.items() if _is_short(value) and name not in NOT_REPEATED}
    if isinstance(event.get("logprobs"), list):
        top["logprobs"] = []
    return {**top, **_pruned(event, place, text)}


def place_alone(place: Path) -> Path:
    """Where the text stands in what `alone` makes: the lists on the way to it have one item left."""
    return tuple(0 if isinstance(step, int) else step for step in place)


def _pruned(event: Any, place: Path, text: str) -> Any:
    step, rest = place[0], place[1:]
    inner = _pruned(event[step], rest, text) if rest else text
    if isinstance(event, list):
        return [inner]
    kept = {name: event[name] for name in KEPT if name in event and _is_short(event[name])}
    if "finish_reason" in kept:
        kept["finish_reason"] = None
    if step in ("function", "custom"):
        kept.pop("type", None)
    if step == "parts" and _is_short(event.get("role", [])):
        kept["role"] = event["role"]
    return {**kept, str(step): inner}


def _is_short(value: object) -> bool:
    return isinstance(value, SCALARS) and not (isinstance(value, str) and len(value) > LONGEST_NAME)


def _choices(choices: list[Any]) -> Said:
    """OpenAI chat completions and completions: deltas of choices, until a `finish_reason`."""
    found = [(at, choice, ("choice", _index(choice, at))) for at, choice in _objects(choices)]
    deltas = chain.from_iterable(_choice(choice, ("choices", at), stream) for at, choice, stream in found)
    ended = (stream for _, choice, stream in found if choice.get("finish_reason") is not None)
    return Said(tuple(islice(deltas, MOST_DELTAS)), tuple(ended))


def _choice(choice: Mapping[str, Any], place: Path, stream: Stream) -> Iterator[Delta]:
    yield from _strings(choice, place, stream, ("text",))
    if isinstance(delta := choice.get("delta"), dict):
        names = tuple(name for name in delta if name != "role")
        yield from _strings(delta, (*place, "delta"), stream, names)
        yield from _inner(delta, (*place, "delta"), stream, names)
        yield from _calls(delta, (*place, "delta"), stream)


def _inner(
    found: Mapping[str, Any], place: Path, stream: Stream, names: tuple[str, ...], depth: int = DEEPEST
) -> Iterator[Delta]:
    """Pieces in objects and in lists of objects: parts of a content or of a thought, the words of what is spoken. Parts
    without a number are pieces of one text.
    """
    for name in names:
        value = found.get(name)
        if not isinstance(value, dict | list) or len(name) > LONGEST_NAME:
            continue
        here: list[tuple[Path, Mapping[str, Any]]] = [((*place, name), value)] if isinstance(value, dict) else []
        if isinstance(value, list):
            here = [((*place, name, at), part) for at, part in _objects(value)]
        for inner, part in here:
            which = (*stream, name, _index(part, -1))
            yield from _strings(part, inner, which, INNER)
            if depth > 1:
                yield from _inner(part, inner, which, INNER, depth - 1)


def _calls(delta: Mapping[str, Any], place: Path, stream: Stream) -> Iterator[Delta]:
    if isinstance(function := delta.get("function_call"), dict):
        yield from _strings(function, (*place, "function_call"), (*stream, "call"), ("arguments",), document=True)
    calls = delta.get("tool_calls")
    for at, call in _objects(calls if isinstance(calls, list) else []):
        for name, field, document in (("function", "arguments", True), ("custom", "input", False)):
            if isinstance(inner := call.get(name), dict):
                which = (*stream, "call", _index(call, at))
                yield from _strings(inner, (*place, "tool_calls", at, name), which, (field,), document=document)


def _candidates(candidates: list[Any]) -> Said:
    """Gemini: parts of candidates, until a `finishReason`. Its function calls come whole."""
    deltas: list[Delta] = []
    ended: list[Stream] = []
    for at, candidate in _objects(candidates):
        stream = ("candidate", _index(candidate, at))
        content = candidate.get("content")
        parts = content.get("parts") if isinstance(content, dict) else None
        for number, part in _objects(parts if isinstance(parts, list) else []):
            place = ("candidates", at, "content", "parts", number)
            deltas += _strings(part, place, (*stream, int(part.get("thought") is True)), ("text",))
        if candidate.get("finishReason") is not None:
            ended.append(stream)
    return Said(tuple(deltas), tuple(ended))


def _responses(event: Mapping[str, Any], kind: str) -> Said:
    """OpenAI responses: `response.output_text.delta` and its like bring pieces, `.done` the whole. Its clients tell texts apart
    by their numbers; there are servers that give each event another `item_id`, so that counts only where a number is missing.
    """
    what, _, verb = kind.rpartition(".")
    numbers = tuple(_name(event, name) for name in ("output_index", "content_index", "summary_index"))
    item = "" if isinstance(numbers[0], int) else _name(event, "item_id")
    stream = ("output", *numbers[:1], what, *numbers[1:], item)
    if verb == "delta":
        document = what.endswith("call_arguments")
        found = [*_strings(event, (), stream, ("delta",), document=document, add=False)]
        return Said((*found, *islice(_inner(event, (), stream, ("delta",)), MOST_DELTAS)))
    if kind == "response.output_item.done":
        return Said((), (("output", *numbers[:1]),), whole=True)
    if verb == "done":
        return Said((), (stream,), whole=True)
    return Said((), ALL if verb in ("completed", "incomplete", "failed", "cancelled") else (), whole=True)


def _anthropic(event: Mapping[str, Any], kind: str) -> Said:
    """Anthropic messages: deltas of content blocks, until `content_block_stop`."""
    stream = ("block", _index(event, 0))
    delta = event.get("delta")
    if kind == "content_block_delta" and isinstance(delta, dict):
        found = [*_strings(delta, ("delta",), stream, ("text", "thinking"))]
        found += _strings(delta, ("delta",), stream, ("partial_json",), document=True)
        return Said(tuple(found))
    if kind == "content_block_stop":
        return Said((), (stream,))
    return Said((), ALL if kind in ("message_delta", "message_stop", "error") else ())


def _strings(
    found: Mapping[str, Any],
    place: Path,
    stream: Stream,
    names: tuple[str, ...],
    *,
    document: bool = False,
    add: bool = True,
) -> Iterator[Delta]:
    for name in names:
        if isinstance(found.get(name), str) and len(name) <= LONGEST_NAME:
            yield Delta((*place, name), (*stream, name) if add else stream, document)


def _objects(found: list[Any]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    return ((at, each) for at, each in enumerate(found[:MOST_DELTAS]) if isinstance(each, dict))


def _index(found: Mapping[str, Any], otherwise: int) -> int:
    """The number by which its reader tells texts apart. Some take `"0"` and `0.0` for 0."""
    index = found.get("index")
    if isinstance(index, str) and len(index) < LONGEST_NAME and index.isdecimal():
        return int(index)
    return int(index) if isinstance(index, int | float) and index == index // 1 else otherwise


def _name(found: Mapping[str, Any], name: str) -> str | int:
    value = found.get(name)
    return value if isinstance(value, str | int) and _is_short(value) else ""
