"""Which class a type names: the built-in table, then `filters` of the configuration, then installed packages."""

from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from inspect import iscoroutinefunction
from typing import Any, Final

from pydantic import BaseModel

from extproc.core.phase import Phase
from extproc.errors import ConfigError
from extproc.policy.documents import ExtProcConfiguration
from extproc.policy.places import Errors
from extproc.policy.read import Document

ENTRY_POINTS: Final = "extproc.filters"


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
        found = tuple(entry_points(group=ENTRY_POINTS, name=name))
        if not found:
            return None
        self._kinds[name] = _installed(name, found)
        return self._kinds[name]


def _named(name: str, reference: str) -> type[Any]:
    if "/" not in name:
        raise ConfigError(f"{name!r} has no domain: the built-in kinds cannot be replaced; write domain/Kind:version")
    module, _, attribute = reference.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except Exception as error:
        raise ConfigError(f"{reference!r} cannot be imported: {type(error).__name__}: {error}") from error
    return checked(found, reference)


def _installed(name: str, found: tuple[EntryPoint, ...]) -> type[Any]:
    references = sorted({point.value for point in found})
    if len(references) > 1:
        raise ConfigError(
            f"several packages are installed for {name!r} ({', '.join(references)}): name one in `filters`"
        )
    try:
        kind = found[0].load()
    except Exception as error:
        raise ConfigError(f"{references[0]!r} cannot be imported: {type(error).__name__}: {error}") from error
    return checked(kind, references[0])


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
    if not phases or not all(isinstance(phase, Phase) for phase in phases):
        raise ConfigError(f"{reference!r} is no filter: its `phases` are no set of Phase")
    return kind
