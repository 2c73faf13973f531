"""The outside of one process, with nothing but what is built in: memory, files and the environment."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from extproc.adapters.cel import Cel
from extproc.adapters.memory import Counters
from extproc.adapters.secrets import EnvSecrets, FileSecrets
from extproc.adapters.static_tokens import StaticTokens
from extproc.errors import ConfigError, Place
from extproc.ports import CounterStore, Expression, SecretStore, TokenReviewer


class FileSource(Protocol):
    @property
    def root(self) -> str: ...


class EnvSource(Protocol):
    @property
    def names(self) -> tuple[str, ...]: ...


class Source(Protocol):
    """One entry of `secretSources`: exactly one of the three kinds."""

    @property
    def vault(self) -> Mapping[str, Any] | None: ...
    @property
    def file(self) -> FileSource | None: ...
    @property
    def env(self) -> EnvSource | None: ...
    @property
    def backends(self) -> tuple[str, ...]: ...


class Dependencies(Protocol):
    @property
    def redis(self) -> Mapping[str, Any] | None: ...


class Settings(Protocol):
    """What is needed of an ExtProcConfiguration."""

    @property
    def workers(self) -> int: ...
    @property
    def connections(self) -> Dependencies: ...
    @property
    def secret_sources(self) -> Mapping[str, Source]: ...


class Embedded:
    """An `Outside`. Its paths are relative to `directory`, that of the document with the settings.

    `memory` are the counters. Hand those of the last configuration to the next one, or a reload resets every limit.
    """

    def __init__(
        self,
        settings: Settings,
        directory: Path,
        now: Callable[[], float] = time.time,
        memory: Counters | None = None,
    ) -> None:
        """Raises: ConfigError, for a secret source that cannot be had."""
        self._settings = settings
        self._now = now
        self._cel = Cel()
        self.memory = Counters(steady(now)) if memory is None else memory
        self._sources = {name: self._open(name, source, directory) for name, source in settings.secret_sources.items()}

    @property
    def now(self) -> Callable[[], float]:
        return self._now

    def expression(self, source: str) -> Expression:
        return self._cel.compile(source)

    def reviewer(self, config: Mapping[str, Any], directory: Path) -> TokenReviewer:
        static = config.get("static")
        if static is None:
            raise ConfigError(
                f"the token reviewer {next(iter(config), 'kubernetes')!r} is not served by this version; "
                "served is {static: {path: FILE}}",
                Place(field="config.reviewer"),
            )
        return StaticTokens(directory / static["path"])

    def counters(self, store: str | None) -> CounterStore:
        place = Place(field="config.store")
        if store == "redis" or (store is None and self._settings.connections.redis is not None):
            raise ConfigError("the store redis is not served by this version; served is memory", place)
        if self._settings.workers > 1:
            raise ConfigError(
                "the store memory counts in each worker on its own, so every limit would be multiplied by their number: "
                "set `workers: 1`",
                place,
            )
        return self.memory

    def secrets(self, source: str) -> SecretStore:
        if source not in self._sources:
            known = ", ".join(sorted(self._sources)) or "none"
            raise ConfigError(f"{source!r} is not in secretSources; known: {known}", Place(field="config.source"))
        return self._sources[source]

    def _open(self, name: str, source: Source, directory: Path) -> SecretStore:
        if source.file is not None:
            try:
                return FileSecrets(directory / source.file.root, source.backends, self._now)
            except ConfigError as error:
                raise ConfigError(error.message, Place(field=f"secretSources.{name}.{error.place.field}")) from None
        if source.env is not None:
            return EnvSecrets(source.env.names, source.backends)
        raise ConfigError(
            "secrets from vault are not served by this version; served are file and env",
            Place(field=f"secretSources.{name}.vault"),
        )


def steady(now: Callable[[], float], ticks: Callable[[], float] = time.monotonic) -> Callable[[], float]:
    """A clock that begins at `now` and is never set: what a limit counts by must not jump."""
    offset = now() - ticks()
    return lambda: ticks() + offset
