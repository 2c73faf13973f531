"""The configuration of `PIIDetector:v1` (DESIGN section 7), and what is made of it once."""

from difflib import get_close_matches
from typing import Annotated, Literal

from pydantic import Field

from extproc.errors import ConfigError, Place
from extproc.schema import Model
from extproc_filters.pii.paths import Path, read_path
from extproc_filters.pii.scanner import ENTITIES, Pattern, Scanner, UnsupportedExpression

Style = Literal["mask", "delete", "hash", "placeholder", "block"]
Name = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,63}$")]
Score = Annotated[float, Field(ge=0, le=1)]


class OwnPattern(Model):
    """A regular expression of the operator's, in Hyperscan's syntax; `context` are words that make it surer."""

    name: Name
    regex: Annotated[str, Field(min_length=1, max_length=4096)]
    score: Score = 0.8
    context: list[Annotated[str, Field(min_length=1)]] = Field(default=[])


class HashKey(Model):
    """Where the key for `redactionStyle: hash` lies: a path and a field in one of `secretSources`."""

    source: str
    path: str
    field: str


class PIIDetectorConfig(Model):
    """What is looked for, where, and what is put in its place. `maxBodyBytes` are decoded bytes."""

    entities: list[str] | None = None
    redaction_style: Style = "mask"
    confidence_threshold: Score = 0.6
    max_body_bytes: Annotated[int, Field(gt=0, le=64 * 1024 * 1024)] = 1024 * 1024
    patterns: list[OwnPattern] = Field(default=[])
    allow_list: list[str] = Field(default=[])
    fields: list[str] = Field(default=[])
    mode: Literal["enforce", "detect"] = "enforce"
    scan: list[Literal["body", "query", "path", "headers"]] = Field(default=["body", "query"])
    unknown_body: Literal["pass", "deny"] | None = None
    hash_key: HashKey | None = None
    restore: bool = False
    model_ref: str | None = None


def refuse(field: str, message: str) -> ConfigError:
    return ConfigError(message, Place(field=f"config.{field}"))


def check_served(config: PIIDetectorConfig) -> None:
    """Raises: ConfigError, for what this version knows but does not do."""
    later = {
        "redactionStyle": config.redaction_style == "placeholder",
        "restore": config.restore,
        "modelRef": config.model_ref is not None,
        "scan": "headers" in config.scan,
    }
    names = {"redactionStyle": "placeholder", "restore": "true", "modelRef": "a model", "scan": "headers"}
    for field, asked in later.items():
        if asked:
            raise refuse(field, f"{names[field]} is not served by this version")
    if "body" not in config.scan:
        raise refuse("scan", "body is missing: in the phase request-body the body is always scanned")


def scanner_of(config: PIIDetectorConfig) -> Scanner:
    """Raises: ConfigError, with the field and the reason."""
    return Scanner(
        entities=ENTITIES if config.entities is None else [_entity(name) for name in config.entities],
        patterns=[_pattern(index, own) for index, own in enumerate(config.patterns)],
        threshold=config.confidence_threshold,
        allowed=config.allow_list,
    )


def paths_of(config: PIIDetectorConfig) -> tuple[Path, ...]:
    """Raises: ConfigError."""
    try:
        return tuple(read_path(written) for written in config.fields)
    except ValueError as error:
        raise refuse("fields", str(error)) from None


def _entity(name: str) -> str:
    if name in ENTITIES:
        return name
    close = get_close_matches(name.upper(), ENTITIES, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(ENTITIES)}"
    raise refuse("entities", f"{name!r} is no entity that is looked for; {hint}")


def _pattern(index: int, own: OwnPattern) -> Pattern:
    if own.name in ENTITIES:
        raise refuse(f"patterns[{index}].name", f"{own.name} is the name of a built-in entity: choose another")
    try:
        return Pattern(own.name, own.regex, own.score, own.context)
    except UnsupportedExpression as error:
        raise refuse(f"patterns[{index}].regex", f"{own.regex!r} cannot be used: {error}") from None
