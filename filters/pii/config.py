"""The configuration of `PIIDetector:v1` (DESIGN section 7), and what is made of it once."""

from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Annotated, Final, Literal

from pydantic import Field

from extproc import Phase
from extproc.errors import ConfigError, Place
from extproc.schema import Model
from extproc_filters.pii.models import NamedModel, load
from extproc_filters.pii.paths import Path, read_path
from extproc_filters.pii.scanner import ENTITIES, Pattern, Scanner, UnsupportedExpression

Style = Literal["mask", "delete", "hash", "placeholder", "block"]
Name = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,63}$")]
Score = Annotated[float, Field(ge=0, le=1)]
Part = Literal["body", "query", "path", "headers"]

SCANNED: Final[Mapping[Phase, tuple[Part, ...]]] = MappingProxyType(
    {
        Phase.REQUEST_HEADERS: ("query", "headers"),
        Phase.REQUEST_BODY: ("body", "query"),
        Phase.RESPONSE_BODY: ("body",),
    }
)
"""What is scanned in each phase, if `scan` does not say."""


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
    """What is looked for, where, and what is put in its place. `maxBodyBytes` are decoded bytes. `scan` is what SCANNED says
    unless it is written.
    """

    entities: list[str] | None = None
    redaction_style: Style = "mask"
    confidence_threshold: Score = 0.6
    max_body_bytes: Annotated[int, Field(gt=0, le=64 * 1024 * 1024)] = 1024 * 1024
    patterns: list[OwnPattern] = Field(default=[])
    allow_list: list[str] = Field(default=[])
    fields: list[str] = Field(default=[])
    mode: Literal["enforce", "detect"] = "enforce"
    scan: list[Part] | None = None
    unknown_body: Literal["pass", "deny"] | None = None
    hash_key: HashKey | None = None
    restore: bool = False
    model_ref: str | None = None


def refuse(field: str, message: str) -> ConfigError:
    return ConfigError(message, Place(field=f"config.{field}"))


def scanned(config: PIIDetectorConfig, phase: Phase) -> frozenset[Part]:
    """What is scanned in `phase`. Raises: ConfigError, for what cannot be there."""
    parts = frozenset(SCANNED[phase] if config.scan is None else config.scan)
    if phase is Phase.REQUEST_HEADERS and "body" in parts:
        raise refuse(
            "scan", "there is no body in the phase request-headers: write phase request-body, or path, query, headers"
        )
    if phase is not Phase.REQUEST_HEADERS and "body" not in parts:
        raise refuse("scan", f"body is missing: in the phase {phase} the body is always scanned")
    if phase is Phase.RESPONSE_BODY and parts != {"body"}:
        raise refuse("scan", "in the phase response-body there is nothing to scan but the body")
    if not parts:
        raise refuse("scan", "it names nothing: write path, query or headers")
    return parts


def check_style(config: PIIDetectorConfig, phase: Phase) -> None:
    """Raises: ConfigError, for a style that the phase does not have."""
    style = config.redaction_style
    if config.restore and style != "placeholder":
        raise refuse("restore", f"it needs redactionStyle placeholder: what {style} has replaced cannot be put back")
    if config.restore and phase is not Phase.REQUEST_BODY:
        raise refuse("restore", f"it belongs to the phase request-body, whose answers it restores; not to {phase}")
    if style == "placeholder" and phase is Phase.RESPONSE_BODY:
        raise refuse("redactionStyle", "placeholder is for requests: for an answer write mask, delete, hash or block")
    if style == "hash" and config.hash_key is None:
        raise refuse("hashKey", "redactionStyle hash needs a key: {source: ..., path: ..., field: ...}")


def scanner_of(config: PIIDetectorConfig) -> Scanner:
    """Raises: ConfigError, with the field and the reason."""
    if config.entities == [] and not (config.patterns or config.model_ref):
        raise refuse("entities", "it names nothing, so nothing would be looked for: leave it out to look for all")
    return Scanner(
        entities=ENTITIES if config.entities is None else [_entity(name) for name in config.entities],
        patterns=[_pattern(index, own) for index, own in enumerate(config.patterns)],
        threshold=config.confidence_threshold,
        allowed=config.allow_list,
        models=_models(config),
    )


def paths_of(config: PIIDetectorConfig) -> tuple[Path, ...]:
    """Raises: ConfigError."""
    try:
        return tuple(read_path(written) for written in config.fields)
    except ValueError as error:
        raise refuse("fields", str(error)) from None


def _models(config: PIIDetectorConfig) -> list[NamedModel]:
    if config.model_ref is None:
        return []
    try:
        return [load(config.model_ref)]
    except ConfigError as error:
        raise refuse("modelRef", error.message) from None


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
