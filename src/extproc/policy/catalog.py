"""Which class a type names: the built-in table, then `filters` of the configuration, then installed packages."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from inspect import iscoroutinefunction
from typing import Any, Final

from pydantic import BaseModel

from extproc.core.phase import Phase
from extproc.errors import ConfigError
from extproc.policy.documents import ExtProcConfiguration
from extproc.policy.names import KIND
from extproc.policy.places import Errors
from extproc.policy.read import Document

ENTRY_POINTS: Final = "extproc.filters"
MOST_SAID: Final = 300
"""Characters of what an import raised."""


class Catalog:
    """The kinds that a configuration can name. Other people's packages are imported only when a type names them."""

    def __init__(
        self, built_in: Mapping[str, type[Any]], settings: Document[ExtProcConfiguration], errors: Errors
    ) -> None:
        self._kinds: dict[str, type[Any]] = dict(built_in)
        self._built_in = tuple(built_in)
        for name, reference in settings.model.filters.items():
            try:
                self._kinds[name] = _named(name, reference)
            except ConfigError as error:
                errors.add(error.message, settings.origin.place("filters", name))

    def find(self, name: str) -> type[Any] | None:
        """The class of a type, or None for an unknown type of somebody's domain.

        Raises:
            ConfigError: the catalog has no such kind, or what is installed under the name is no filter.
        """
        if name in self._kinds:
            return self._kinds[name]
        if "/" not in name:
            near = get_close_matches(name, self._built_in, 1, 0.6)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(self._built_in))}"
            raise ConfigError(f"there is no type {name!r} in the catalog: {hint}", reason="UnknownType")
        if name not in self._points:
            return None
        self._kinds[name] = _installed(name, self._points[name])
        return self._kinds[name]

    @cached_property
    def _points(self) -> Mapping[str, Sequence[EntryPoint]]:
        """Looked for when the first type needs it, and once: each look costs milliseconds."""
        return _points()


def _named(name: str, reference: str) -> type[Any]:
    if "/" not in name:
        raise ConfigError(f"{name!r} has no domain: the built-in kinds cannot be replaced; write domain/Kind:version")
    module, _, attribute = reference.partition(":")
    return checked(_imported(reference, lambda: getattr(import_module(module), attribute)), reference)


def _imported(reference: str, load: Callable[[], object]) -> object:
    """What `load` gives. A module may do anything when it is imported, ending the process included.

    Raises:
        ConfigError: it cannot be had.
    """
    try:
        return load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        said = " ".join(str(error).split())[:MOST_SAID]
        raise ConfigError(f"{reference!r} cannot be imported: {type(error).__name__}: {said}") from error


def installed() -> Iterator[tuple[str, type[Any] | ConfigError]]:
    """Every type that other people's packages have here, in the order of their names: its class, or what is wrong with it."""
    for name, found in sorted(_points().items()):
        try:
            yield name, _installed(name, found)
        except ConfigError as error:
            yield name, error


def _points() -> Mapping[str, Sequence[EntryPoint]]:
    """What is installed here, by type."""
    points: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=ENTRY_POINTS):
        points.setdefault(point.name, []).append(point)
    return points


def _installed(name: str, found: Sequence[EntryPoint]) -> type[Any]:
    if not (match := KIND.fullmatch(name)) or not match["domain"]:
        raise ConfigError(f"{name!r} is no type of other people's: an entry point is called domain/Kind:version")
    references = sorted({point.value for point in found})
    if len(references) > 1:
        raise ConfigError(
            f"several packages are installed for {name!r} ({', '.join(references)}): name one in `filters`"
        )
    return checked(_imported(references[0], found[0].load), references[0])


def checked(kind: object, reference: str) -> type[Any]:
    """`kind`, if it is a filter's class.

    Raises:
        ConfigError: it lacks something that a filter has.
    """
    config, phases = getattr(kind, "Config", None), getattr(kind, "phases", None)
    if not isinstance(kind, type) or not iscoroutinefunction(getattr(kind, "decide", None)):
        raise ConfigError(
            f"{reference!r} is no filter: a filter is a class with `async def decide(self, phase, exchange)`"
        )
    if not (isinstance(config, type) and issubclass(config, BaseModel)):
        raise ConfigError(f"{reference!r} is no filter: it has no `Config`, a pydantic model")
    if config.model_config.get("extra") not in ("forbid", "allow"):
        raise ConfigError(
            f"{reference!r}: its `Config` would ignore a misspelt field: derive it from extproc.schema.Model, or say"
            " extra='forbid'"
        )
    if not _are_phases(phases):
        raise ConfigError(f"{reference!r} is no filter: its `phases` are no set of Phase")
    try:
        config.model_json_schema(by_alias=True)
    except Exception as error:
        raise ConfigError(
            f"{reference!r}: its `Config` has no JSON Schema ({type(error).__name__}): give the field's type a WithJsonSchema"
        ) from error
    return kind


def check_built(built: object, reference: str) -> None:
    """What a filter says of itself once it is built.

    Raises:
        ConfigError: the engine could not use it.
    """
    room, follow_ups = (
        getattr(built, "max_body_bytes", 1),
        getattr(built, "follow_ups", frozenset({Phase.REQUEST_BODY})),
    )
    if not isinstance(room, int) or isinstance(room, bool) or room < 1:
        raise ConfigError(f"{reference}: its `max_body_bytes` is no number of bytes")
    if follow_ups != frozenset() and not _are_phases(follow_ups):
        raise ConfigError(f"{reference}: its `follow_ups` are no set of Phase")
    for attribute in ("reads", "reroutes"):
        names: object = getattr(built, attribute, frozenset())
        if not isinstance(names, frozenset | set) or not all(isinstance(n, str) and n == n.lower() for n in names):
            raise ConfigError(f"{reference}: its `{attribute}` are no set of header names in lower case")


def _are_phases(found: object) -> bool:
    return isinstance(found, frozenset | set) and bool(found) and all(isinstance(phase, Phase) for phase in found)
