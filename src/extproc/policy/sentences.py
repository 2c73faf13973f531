"""What pydantic finds, in our words: the place, what is wrong, what would be right. No value that it was given is shown,
but for words that are names.
"""

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from extproc.errors import ConfigError
from extproc.policy.places import Origin, Steps

NOT_IMPLEMENTED: Final = "the field {!r} is not implemented: remove it"

Sentence = Callable[[Mapping[str, Any]], str]

SENTENCES: Final[Mapping[str, Sentence]] = {
    "missing": lambda _: "this field is required",
    "string_type": lambda _: "this must be text; a number or a truth value needs quotes to be text",
    "int_type": lambda _: "this must be a whole number, without quotes",
    "int_from_float": lambda _: "this must be a whole number",
    "float_type": lambda _: "this must be a number, without quotes",
    "bool_type": lambda _: "this must be true or false, without quotes",
    "tuple_type": lambda _: "this must be a list",
    "list_type": lambda _: "this must be a list",
    "frozen_set_type": lambda _: "this must be a list",
    "dict_type": lambda _: "this must be a mapping of names to values",
    "model_type": lambda _: "this must be a mapping of fields to values",
    "model_attributes_type": lambda _: "this must be a mapping of fields to values",
    "literal_error": lambda ctx: f"this must be {ctx['expected']}",
    "enum": lambda ctx: f"this must be {ctx['expected']}",
    "greater_than": lambda ctx: f"this must be more than {ctx['gt']}",
    "greater_than_equal": lambda ctx: f"this must be at least {ctx['ge']}",
    "less_than": lambda ctx: f"this must be less than {ctx['lt']}",
    "less_than_equal": lambda ctx: f"this must be at most {ctx['le']}",
    "too_short": lambda ctx: f"this list needs at least {ctx['min_length']} of its entries",
    "too_long": lambda ctx: f"this list may have at most {ctx['max_length']} entries",
    "string_too_short": lambda ctx: f"this text must have at least {ctx['min_length']} characters",
    "string_too_long": lambda ctx: f"this text may have at most {ctx['max_length']} characters",
    "string_pattern_mismatch": lambda ctx: f"this text must match {ctx['pattern']}",
    "value_error": lambda ctx: str(ctx["error"]),
    "assertion_error": lambda ctx: str(ctx["error"]),
}


def config_errors(
    error: ValidationError, model: type[BaseModel], origin: Origin, steps: Steps = ()
) -> list[ConfigError]:
    """`error` as errors of the configuration. `steps` lead to what was validated as `model`."""
    details = error.errors(include_url=False, include_input=False)
    above = {detail["loc"][:length] for detail in details for length in range(len(detail["loc"]))}
    return [
        _translate(detail, model, origin, steps)
        for detail in details
        if detail["type"] != "too_short" or detail["loc"] not in above  # one is also found where items are wrong
    ]


def _translate(detail: ErrorDetails, model: type[BaseModel], origin: Origin, steps: Steps) -> ConfigError:
    location = tuple(part for part in detail["loc"] if part != "[key]")
    kind = detail["type"]
    full = (*steps, *location)
    if kind == "extra_forbidden":
        name, known = str(location[-1]), known_fields(model, location[:-1])
        message = NOT_IMPLEMENTED.format(name) if name in getattr(model, "unimplemented", ()) else _unknown(name, known)
        return ConfigError(message, origin.place(*full))
    if kind != "missing":
        full = origin.known(full)
    sentence = SENTENCES.get(kind)
    return ConfigError(sentence(detail.get("ctx", {})) if sentence else detail["msg"], origin.place(*full))


def _unknown(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, 1, 0.6) or [other for other in known if other.lower() == name.lower()]
    if near:
        return f"there is no field {name!r}: did you mean {near[0]!r}?"
    return f"there is no field {name!r}" + (f": the fields here are {', '.join(known)}" if known else "")


def known_fields(model: type[BaseModel], location: Iterable[str | int]) -> list[str]:
    """The names of the fields at `location` below `model`, as they are written. Where a union leaves the choice: all."""
    models = [model]
    for part in location:
        fields = [field for one in models for field in one.model_fields.values() if field.alias == part]
        models = [found for field in fields for found in _models(field.annotation)] or models
    return [field.alias or name for one in models for name, field in one.model_fields.items()]


def _models(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for inner in get_args(annotation) for found in _models(inner)]
