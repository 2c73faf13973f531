"""What a usage object says, in the words of each API."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from extproc.errors import Malformed

MOST: Final = 1_000_000_000
"""Tokens of one exchange; a larger number is absurd."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one exchange. `total` is never less than `input` and `output` together, and at least 1."""

    input: int
    output: int
    total: int


class Dialect(NamedTuple):
    """The names of the numbers. `apart` are inputs that `input` does not include, unless there is a total."""

    input: tuple[str, ...]
    apart: tuple[str, ...]
    output: tuple[str, ...]
    total: str


DIALECTS: Final = (
    Dialect(("prompt_tokens",), (), ("completion_tokens",), "total_tokens"),
    Dialect(
        ("input_tokens",),
        ("cache_creation_input_tokens", "cache_read_input_tokens"),
        ("output_tokens",),
        "total_tokens",
    ),
    Dialect(
        ("promptTokenCount", "toolUsePromptTokenCount"),
        (),
        ("candidatesTokenCount", "thoughtsTokenCount"),
        "totalTokenCount",
    ),
    Dialect(
        ("total_input_tokens", "total_tool_use_tokens"),
        (),
        ("total_output_tokens", "total_thought_tokens"),
        "total_tokens",
    ),
    Dialect(
        ("inputTokens", "cacheReadInputTokens", "cacheWriteInputTokens"),
        (),
        ("outputTokens",),
        "totalTokens",
    ),
)
"""OpenAI's chat completions, completions and embeddings; OpenAI's responses (with a total) and Anthropic's messages (without);
Gemini's; those of its interactions; Amazon Bedrock's (Converse). The first of which a number is there counts: some servers say
the same twice, in two dialects.
"""

KNOWN: Final = frozenset(name for each in DIALECTS for name in (*each.input, *each.apart, *each.output, each.total))

Counts = Mapping[str, int]


def read_counts(text: bytes) -> Counts:
    """The numbers of a usage object that are known. Others, nested ones included, are not looked at.

    Raises:
        Malformed: it is no object, has a member twice, or a known number that is none, negative, or absurd.
    """
    try:
        found = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise Malformed("the usage cannot be read") from None
    if not isinstance(found, dict):
        raise Malformed("the usage is no object")
    return {name: _number(value) for name, value in found.items() if name in KNOWN and value is not None}


def usage_of(counts: Counts) -> Usage:
    """What these numbers come to.

    Raises:
        Malformed: one is missing, or they are nothing, or absurd in all.
    """
    for dialect in DIALECTS:
        if counts.keys() & {*dialect.input, *dialect.output}:
            return _usage(counts, dialect)
    return _checked(Usage(counts.get("total_tokens", 0), 0, counts.get("total_tokens", 0)))


def _usage(counts: Counts, dialect: Dialect) -> Usage:
    total = counts.get(dialect.total)
    inputs = dialect.input if total is not None else (*dialect.input, *dialect.apart)
    if total is None and not (dialect.input[0] in counts and dialect.output[0] in counts):
        raise Malformed("the usage is not whole")
    taken = sum(counts.get(name, 0) for name in inputs)
    given = sum(counts.get(name, 0) for name in dialect.output)
    return _checked(Usage(taken, given, max(total or 0, taken + given)))


def _checked(usage: Usage) -> Usage:
    if not 1 <= usage.total <= MOST:
        raise Malformed("the usage is nothing, or absurd")
    return usage


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST:
        raise Malformed("a number of the usage is none")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a member is there twice")
    return found
