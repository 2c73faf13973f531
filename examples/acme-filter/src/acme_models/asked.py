"""What a request to an LLM API asks for, as far as it is of interest here."""

import json
from dataclasses import dataclass
from typing import Any

from extproc import Malformed

LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
"""How OpenAI and Anthropic call the most tokens of an answer."""


@dataclass(frozen=True)
class Asked:
    """`tokens` is None if the request does not limit its answer."""

    model: str
    tokens: int | None = None


def read(body: bytes) -> Asked:
    """Raises: Malformed, if it is no JSON object, or two readers could see two requests in it."""
    try:
        found = json.loads(body, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise Malformed("the body is no JSON, or has a member twice") from error
    if not isinstance(found, dict):
        raise Malformed("the body is no JSON object")
    model = found.get("model")
    said = [found[name] for name in LIMITS if found.get(name) is not None]
    if not all(isinstance(number, int) and not isinstance(number, bool) for number in said):
        raise Malformed("a limit of tokens is no whole number")
    return Asked(model if isinstance(model, str) else "", max(said, default=None))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, whose names differ by more than their letter case: servers in Go take `Model` for `model`."""
    if len({name.casefold() for name, _ in pairs}) < len(pairs):
        raise ValueError
    return dict(pairs)
