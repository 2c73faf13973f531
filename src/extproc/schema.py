"""How configuration is written: models that refuse what they do not know, camelCase names, durations with a unit."""

import re
from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema
from pydantic.alias_generators import to_camel

DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class Model(BaseModel):
    """The base of every document and of every filter's `Config`: strict, immutable, camelCase in YAML."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        alias_generator=to_camel,
        validate_by_name=False,
        validate_by_alias=True,
    )


def seconds(value: object) -> float:
    """`250ms`, `1.5s`, `1m`, `2h` (as Kubernetes and Gateway API write them) in seconds.

    Raises:
        ValueError: it is no such text, or not more than nothing.
    """
    match = DURATION.fullmatch(value) if isinstance(value, str) else None
    if not match or float(match[1]) <= 0:
        raise ValueError(f"{value!r} is no duration: write a number above 0 and a unit, such as 250ms, 10s, 1m or 2h")
    return float(match[1]) * UNITS[match[2]]


Duration = Annotated[
    float, BeforeValidator(seconds), WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?(ms|s|m|h)$"})
]
"""Seconds, written with a unit."""


def seconds_or_none(value: object) -> float:
    """As `seconds`, and `0s` for no time at all."""
    return 0.0 if value == "0s" else seconds(value)


DurationOrZero = Annotated[
    float, BeforeValidator(seconds_or_none), WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?(ms|s|m|h)$"})
]
"""Seconds, written with a unit; `0s` switches off what it is for."""
