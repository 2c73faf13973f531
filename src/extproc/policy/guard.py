"""The outside as one extension may reach it: no peer in CEL before authentication, no secret source of another namespace."""

from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from extproc.errors import ConfigError, Place
from extproc.policy.documents import ExtProcConfiguration
from extproc.ports import CounterStore, Dependency, Expression, Outside, SecretStore, TokenReviewer

T = TypeVar("T")


class Guarded:
    """An `Outside`. `names` are the variables that the extension's expressions mention, `needs` the dependencies without
    which it cannot decide.
    """

    def __init__(self, inner: Outside, settings: ExtProcConfiguration, namespace: str, *, pre_auth: bool) -> None:
        self._inner, self._settings, self._namespace, self._pre_auth = inner, settings, namespace, pre_auth
        self.names: frozenset[str] = frozenset()
        self.needs: frozenset[str] = frozenset()

    @property
    def now(self) -> Callable[[], float]:
        return self._inner.now

    @property
    def dependencies(self) -> Mapping[str, Dependency]:
        return self._inner.dependencies

    def kept(self, key: Hashable, make: Callable[[], T]) -> T:
        return self._inner.kept(key, make)

    async def close(self) -> None:
        """The connections are everybody's: nothing of one extension is to be given back."""

    def expression(self, source: str) -> Expression:
        """Raises: ConfigError, if it is none, or names `peer` where there will be none."""
        expression = self._inner.expression(source)
        self.names |= expression.names
        if self._pre_auth:
            refuse_peer(expression)
        return expression

    def reviewer(self, config: Mapping[str, Any], directory: Path) -> TokenReviewer:
        return self._needed(self._inner.reviewer(config, directory))

    def counters(self, store: str | None, fallback: str | None = None) -> CounterStore:
        return self._needed(self._inner.counters(store, fallback))

    def secrets(self, source: str) -> SecretStore:
        """Raises: ConfigError, if there is no such source, or policies of this namespace may not name it."""
        place = Place(field="config.source")
        found = self._settings.secret_sources.get(source)
        if found is None:
            known = ", ".join(sorted(self._settings.secret_sources)) or "none"
            raise ConfigError(f"there is no secret source {source!r}: secretSources has {known}", place)
        if self._namespace not in (found.namespaces or (self._settings.gateway_namespace,)):
            raise ConfigError(
                f"the secret source {source!r} is not for policies of the namespace {self._namespace!r}:"
                f" its `namespaces` say which it is for (default: {self._settings.gateway_namespace})",
                place,
            )
        return self._needed(self._inner.secrets(source))

    def _needed(self, found: T) -> T:
        """`found`, remembered if it is a dependency."""
        if callable(getattr(found, "probe", None)):
            self.needs |= {getattr(found, "name", "")}
        return found


def refuse_peer(expression: Expression) -> None:
    """Raises: ConfigError, if `expression` mentions the peer."""
    if "peer" in expression.names:
        raise ConfigError("a preAuth extension never sees the peer: its expressions cannot name `peer`")
