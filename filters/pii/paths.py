"""Places in a JSON document, as JSONPath writes the simple ones, and the places in requests to LLM APIs that are no text."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

Step = str | int | None
"""A member's name, an item's index, or None for any."""

Path = tuple[Step, ...]

STEP: Final = re.compile(
    r"\.(?P<name>[A-Za-z_][\w-]*)|\.(?P<any>\*)|\[(?P<index>\d{1,9})\]|\[(?P<each>\*)\]"
    r"|\[\"(?P<double>[^\"\\]*)\"\]|\['(?P<single>[^'\\]*)'\]",
    re.ASCII,
)


def read_path(written: str) -> Path:
    """`$.messages[*].content` as steps.

    Raises:
        ValueError: it is not made of `$`, `.name`, `['name']`, `[0]`, `[*]` and `.*`.
    """
    if not written.startswith("$"):
        raise ValueError(f"{written!r} does not begin with $, as in $.messages[*].content")
    steps: list[Step] = []
    at = 1
    while at < len(written):
        match = STEP.match(written, at)
        if match is None:
            raise ValueError(
                f"{written!r} cannot be read from {written[at:]!r} on: write .name, ['name'], [0], [*] or .*"
            )
        steps.append(_step(match))
        at = match.end()
    return tuple(steps)


def _step(match: re.Match[str]) -> Step:
    kind = match.lastgroup
    if kind in ("any", "each"):
        return None
    return int(match["index"]) if kind == "index" else match[kind or 0]


def covers(path: Path, place: Path) -> bool:
    """Whether `place` is what `path` names, or lies in it."""
    return len(place) >= len(path) and all(step is None or step == at for step, at in zip(path, place, strict=False))


def any_covers(paths: Iterable[Path], place: Path) -> bool:
    return any(covers(path, place) for path in paths)


def _table(*written: str) -> frozenset[Path]:
    return frozenset(read_path(path) for path in written)


NAMES: Final = _table(
    "$.messages[*].role", "$.input[*].role", "$.contents[*].role", "$.systemInstruction.role", "$.system_instruction.role",
    "$.messages[*].content[*].type", "$.messages[*].content[*].content[*].type", "$.messages[*].content[*].source.type",
    "$.messages[*].tool_calls[*].type", "$.input[*].type", "$.input[*].content[*].type", "$.system[*].type",
    "$.tools[*].type", "$.tool_choice.type", "$.response_format.type", "$.thinking.type", "$.text.format.type",
)  # fmt: skip
"""Where LLM APIs have a role or a type."""

IDENTIFIERS: Final = _table(
    "$.model", "$.previous_response_id", "$.conversation.id", "$.messages[*].id", "$.messages[*].tool_call_id",
    "$.messages[*].tool_calls[*].id", "$.messages[*].content[*].id", "$.messages[*].content[*].tool_use_id",
    "$.messages[*].content[*].file_id", "$.messages[*].content[*].file.file_id", "$.messages[*].audio.id",
    "$.messages[*].content[*].source.file_id",
    "$.input[*].id", "$.input[*].call_id", "$.input[*].content[*].file_id",
    "$.contents[*].parts[*].functionCall.id", "$.contents[*].parts[*].functionResponse.id",
)  # fmt: skip
"""Where they have a model or an id. `user` and `metadata.user_id` are none: people write addresses there."""

NAME: Final = re.compile(r"[a-z_]{1,40}")
IDENTIFIER: Final = re.compile(r"[\w.:/-]{1,256}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Exempt:
    """Places of roles and types, and of models, ids and times; `[*]` in them is any index."""

    names: frozenset[Path]
    identifiers: frozenset[Path]

    def __call__(self, place: Path, value: str) -> bool:
        """Whether `value`, found at `place`, is a role, a type, a model or an id. It must look like one, too: a sentence does
        not pass because somebody wrote it there.
        """
        path = tuple([None if isinstance(step, int) else step for step in place])
        if path in self.names:
            return NAME.fullmatch(value) is not None
        return path in self.identifiers and IDENTIFIER.fullmatch(value) is not None


REQUEST: Final = Exempt(NAMES, IDENTIFIERS)
ANSWER: Final = Exempt(
    _table(
        "$.object", "$.type", "$.role", "$.status", "$.stop_reason", "$.choices[*].finish_reason", "$.content[*].type",
        "$.choices[*].message.role", "$.choices[*].delta.role", "$.choices[*].message.tool_calls[*].type",
        "$.choices[*].delta.tool_calls[*].type", "$.output[*].type", "$.output[*].role", "$.output[*].status",
        "$.output[*].content[*].type", "$.delta.type", "$.delta.stop_reason", "$.message.type", "$.message.role",
        "$.content_block.type", "$.response.object", "$.response.status", "$.item.type", "$.item.role", "$.item.status",
        "$.part.type",
    ),
    _table(
        "$.id", "$.model", "$.created", "$.created_at", "$.system_fingerprint", "$.responseId", "$.modelVersion", "$.item_id",
        "$.choices[*].message.tool_calls[*].id", "$.choices[*].delta.tool_calls[*].id", "$.content[*].id", "$.type",
        "$.output[*].id", "$.output[*].call_id", "$.message.id", "$.message.model", "$.content_block.id", "$.response.id",
        "$.response.model", "$.response.created_at", "$.response.output[*].id", "$.response.output[*].call_id",
        "$.item.id", "$.item.call_id", "$.previous_response_id", "$.obfuscation",
    ),
)  # fmt: skip


LISTED: Final = Exempt(
    frozenset((None, *path) for path in ANSWER.names), frozenset((None, *path) for path in ANSWER.identifiers)
)
"""The same in a list of events."""


def exempt_in_request(document: object) -> Exempt | None:
    """What is no text in a request, if an LLM API reads it."""
    return REQUEST if _is_llm_request(document) else None


def exempt_in_answer(document: object) -> Exempt | None:
    """What is no text in an answer of one, in an event of it, or in a list of events."""
    if isinstance(document, list):
        return LISTED if document and all(map(_is_llm_answer, document)) else None
    return ANSWER if _is_llm_answer(document) else None


def _is_llm_answer(document: object) -> bool:
    """The same APIs: an answer, or an event of one."""
    if not isinstance(document, dict):
        return False
    if any(isinstance(document.get(name), list) for name in ("choices", "candidates", "output")):
        return True
    kind = document.get("type")
    return isinstance(kind, str) and kind.startswith(("message", "content_block_", "response."))


def _is_llm_request(document: object) -> bool:
    """OpenAI chat, completions, responses and embeddings; Anthropic messages; Gemini."""
    if not isinstance(document, dict):
        return False
    if any(isinstance(document.get(name), list) for name in ("messages", "contents")):
        return True
    return isinstance(document.get("model"), str) and ("input" in document or "prompt" in document)
