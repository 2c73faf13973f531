"""Reading JSON of somebody else's: what is not there, or is something else, is empty."""

from collections.abc import Iterator
from math import isfinite
from typing import Any

Json = dict[str, Any]


def node(value: object, *steps: str) -> Json:
    """The object at `steps`, or an empty one."""
    for step in steps:
        value = value.get(step) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def nodes(value: object, *steps: str) -> list[Json]:
    """The objects of the list at `steps`."""
    found = node(value, *steps[:-1]).get(steps[-1])
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def word(value: object, *steps: str) -> str:
    """The text at `steps`, or an empty one."""
    found = node(value, *steps[:-1]).get(steps[-1])
    return found if isinstance(found, str) else ""


def words(value: object, *steps: str) -> list[str]:
    """The texts of the list at `steps`."""
    found = node(value, *steps[:-1]).get(steps[-1])
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []


def texts(value: object) -> Iterator[str]:
    """Every text in `value`, however deep."""
    left = [value]
    while left:
        each = left.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, dict | list):
            left += each.values() if isinstance(each, dict) else each


def number(value: object, *steps: str, default: float = 0) -> float:
    """The number at `steps`; protobuf's JSON writes a large one as text, and a duration with an `s`."""
    found = node(value, *steps[:-1]).get(steps[-1])
    try:
        told = float(found.removesuffix("s") if isinstance(found, str) else found)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return default
    return told if isfinite(told) else default


def kind(value: object) -> str:
    """The short name of a typed configuration: `Router` of `type.googleapis.com/...v3.Router`."""
    return word(value, "@type").rpartition(".")[2]
