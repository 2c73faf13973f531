"""How configuration is written: models that refuse what they do not know, camelCase names, durations with a unit."""

import re
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, GetJsonSchemaHandler, WithJsonSchema
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

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The schema, in which the default of a duration is as it would be written."""
        schema = handler(core)
        for field in handler.resolve_ref_schema(schema).get("properties", {}).values():
            if field.get("type") == "string" and isinstance(field.get("default"), float):
                field["default"] = written(field["default"])
        return schema


def seconds(value: object) -> float:
    """`250ms`, `1.5s`, `1m`, `2h` (as Kubernetes and Gateway API write them) in seconds.

    Raises:
        ValueError: it is no such text, or not more than nothing.
    """
    match = DURATION.fullmatch(value) if isinstance(value, str) else None
    if not match or float(match[1]) <= 0:
        raise ValueError(f"{value!r} is no duration: write a number above 0 and a unit, such as 250ms, 10s, 1m or 2h")
    return float(match[1]) * UNITS[match[2]]


def written(value: float) -> str:
    """Seconds as they are written in YAML, with the largest unit in which they are a whole number."""
    if not value:
        return "0s"
    unit = next((name for name, size in reversed(UNITS.items()) if (value / size).is_integer()), "s")
    return f"{value / UNITS[unit]:g}{unit}"


AS_TEXT: Final = WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?(ms|s|m|h)$"})
Duration = Annotated[float, BeforeValidator(seconds), AS_TEXT]
"""Seconds, written with a unit."""


def seconds_or_none(value: object) -> float:
    """As `seconds`, and `0s` for no time at all."""
    return 0.0 if value == "0s" else seconds(value)


DurationOrZero = Annotated[float, BeforeValidator(seconds_or_none), AS_TEXT]
"""Seconds, written with a unit; `0s` switches off what it is for."""
