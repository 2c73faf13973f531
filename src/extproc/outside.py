"""The outside of one process: from the connections of a configuration to what its filters reach."""

import os
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from extproc.adapters.cel import Cel
from extproc.adapters.redis import RedisCounters
from extproc.adapters.redis_share import LocalShare
from extproc.adapters.secrets import EnvSecrets, FileSecrets
from extproc.adapters.static_tokens import StaticTokens
from extproc.adapters.vault import VaultSecrets
from extproc.adapters.vault_client import VaultClient
from extproc.adapters.vault_http import VaultServer
from extproc.adapters.vault_login import SERVICE_ACCOUNT_TOKEN, AppRoleAuth, Auth, JwtAuth, KubernetesAuth, TokenAuth
from extproc.core.measure import CacheUse
from extproc.core.secret import Secret, seal
from extproc.errors import ConfigError, Place, Unavailable
from extproc.kept import Kept, Lease
from extproc.policy import read
from extproc.policy.connections import RedisConnection, SecretSource, VaultConnection, VaultRole
from extproc.policy.documents import ExtProcConfiguration
from extproc.ports import CounterStore, Dependency, Expression, Review, SecretStore, TokenReviewer
from extproc.reload.snapshot import Look, look, looked

if TYPE_CHECKING:
    from extproc.adapters.kubernetes import KubernetesReviewer

D = TypeVar("D", bound=Dependency)
T = TypeVar("T")


class Connected:
    """An `Outside`. Paths are relative to `directory`, that of the document with the settings. Connections are made when
    they are first used, and each dependency has one client in the process.

    `lease` is where they are borrowed from: configurations that share its `Kept` share counters, clients and caches. `looks`
    gets the files that it is made from, each as it was just before.
    """

    def __init__(
        self,
        settings: ExtProcConfiguration,
        directory: Path,
        now: Callable[[], float] = time.time,
        lease: Lease | None = None,
        looks: dict[Path, Look] | None = None,
    ) -> None:
        """Raises: ConfigError, for a secret source that cannot be had."""
        self._settings, self._directory, self._now = settings, directory, now
        self._cel = Cel()
        self._lease = lease or Kept(now).lease()
        self.memory = self._lease.kept.memory
        self.dependencies: dict[str, Dependency] = {}
        self._looks: dict[Path, Look] = {} if looks is None else looks
        self._tokens: dict[Path, bytes | ConfigError] = {}
        vault = settings.connections.vault
        self._vault_server = _server(vault, directory) if vault else None
        self._sources = {name: self._source(name, source) for name, source in settings.secret_sources.items()}

    @property
    def now(self) -> Callable[[], float]:
        return self._now

    def expression(self, source: str) -> Expression:
        return self._cel.compile(source)

    def reviewer(self, config: Mapping[str, Any], directory: Path) -> TokenReviewer:
        static = config.get("static")
        if static is None:
            return self._kubernetes
        return self._static(directory / static["path"])

    def _static(self, path: Path) -> StaticTokens:
        """Read once: what is in force and what was looked at are the same, whoever replaces the file meanwhile.

        Raises: ConfigError.
        """
        if path not in self._tokens:
            content = self._tokens[path] = read.content(path, path)
            self._looks[path] = looked(content)
        found = self._tokens[path]
        if isinstance(found, bytes):
            return StaticTokens(path, raw=found)
        StaticTokens(path)  # which says what is wrong with it
        raise ConfigError("the token file was not there a moment ago", Place(str(path)))

    def counters(self, store: str | None, fallback: str | None = None) -> CounterStore:
        connection = self._settings.connections.redis
        if store == "redis" and connection is None:
            raise ConfigError("there is no connection to it: set `connections.redis`", Place(field="config.store"))
        if connection is not None and store != "memory":
            return self._shared(connection) if fallback else self._redis
        if fallback:
            raise ConfigError("goes with the store redis: memory is local already", Place(field="config.fallback"))
        return self._memory()

    def secrets(self, source: str) -> SecretStore:
        if source not in self._sources:
            known = ", ".join(sorted(self._sources)) or "none"
            raise ConfigError(f"{source!r} is not in secretSources; known: {known}", Place(field="config.source"))
        return self._sources[source]

    @property
    def caches(self) -> dict[str, CacheUse]:
        """Those of the secret sources that remember what they read."""
        found = {name: getattr(source, "cache", None) for name, source in self._sources.items()}
        return {f"secrets:{name}": use for name, use in found.items() if isinstance(use, CacheUse)}

    def kept(self, key: Hashable, make: Callable[[], T]) -> T:
        return self._lease.get(("kept", key), make)

    async def close(self) -> None:
        """Give back all connections; the Vault client last, since its sources use it."""
        await self._lease.end()

    @cached_property
    def _kubernetes(self) -> "KubernetesReviewer":
        """Its libraries are a fifth of the time of a start, and 5 MB, that only those pay who ask the Kubernetes API."""
        from extproc.adapters.kubernetes import KubernetesReviewer

        connection = self._settings.connections.kubernetes
        if connection is None:
            return self._known("kubernetes", KubernetesReviewer)
        kubeconfig = self._directory / connection.kubeconfig if connection.kubeconfig else None
        make = partial(KubernetesReviewer, kubeconfig, connection.context, timeout=connection.timeout)
        return self._known(("kubernetes", kubeconfig, connection.context, connection.timeout), make)

    @cached_property
    def _redis(self) -> RedisCounters:
        connection = self._settings.connections.redis
        if connection is None:
            raise ConfigError("there is no connection to Redis")
        password = _password(connection, self._directory)
        make = partial(RedisCounters, connection.url, connection.timeout, password=password)
        kept = connection.password.model_dump_json() if connection.password else None
        return self._known(("redis", connection.url, connection.timeout, kept, self._directory), make)

    def _shared(self, connection: RedisConnection) -> CounterStore:
        return LocalShare(self._redis, self.memory, connection.replicas * self._settings.workers)

    def _memory(self) -> CounterStore:
        if self._settings.workers > 1:
            raise ConfigError(
                "the store memory counts in each worker on its own, so every limit would be multiplied by their number: "
                "set `workers: 1`, or `connections.redis`",
                Place(field="config.store"),
            )
        return self.memory

    @cached_property
    def _vault(self) -> VaultClient:
        connection = self._settings.connections.vault
        if connection is None or self._vault_server is None:
            raise ConfigError("there is no connection to it: set `connections.vault`")
        make = partial(VaultClient, self._vault_server, _auth(connection, self._directory))
        return self._known(("vault", connection.model_dump_json(), self._directory), make)

    def _source(self, name: str, source: SecretSource) -> SecretStore:
        try:
            return self._open(source)
        except ConfigError as error:
            if error.place.field.startswith("connections."):
                raise
            kind = error.place.field or "vault"
            raise ConfigError(error.message, Place(field=f"secretSources.{name}.{kind}")) from None

    def _open(self, source: SecretSource) -> SecretStore:
        if source.file is not None:
            root = self._directory / source.file.root
            self._looks[root] = look(root, counts=False)
            make = partial(FileSecrets, root, source.backends, self._now)
            return self._lease.get(("files", root, frozenset(source.backends)), make)
        if source.env is not None:
            return EnvSecrets(source.env.names, source.backends)
        if source.vault is None:
            raise ConfigError("a secret source is exactly one of `vault`, `file` and `env`")
        vault = source.vault
        client = self._vault
        store = partial(
            VaultSecrets,
            client,
            vault.mount,
            vault.prefix or "",
            source.backends,
            cache_ttl=vault.cache_ttl,
            stale_for=vault.stale_for,
            version=vault.version,
        )
        return self._known(("secrets", client, vault.model_dump_json(), frozenset(source.backends)), store)

    def _known(self, key: Hashable, make: Callable[[], D]) -> D:
        """Two sources at one place in Vault are one dependency to whoever looks after it."""
        dependency = self._lease.get(key, make, lambda found: found.close())
        self.dependencies[dependency.name] = dependency
        return dependency


class Offline(Connected):
    """What `explain` reaches without `--live`: limits count in memory, and no dependency is asked."""

    def reviewer(self, config: Mapping[str, Any], directory: Path) -> TokenReviewer:
        return _Unasked() if config.get("static") is None else super().reviewer(config, directory)

    def counters(self, store: str | None, fallback: str | None = None) -> CounterStore:
        super().counters(store, fallback)
        return self.memory

    def _open(self, source: SecretSource) -> SecretStore:
        return super()._open(source) if source.vault is None else _Pretended(frozenset(source.backends))


class _Unasked:
    async def review(self, token: str, audiences: Sequence[str]) -> Review:  # noqa: ARG002 - the port's signature
        raise Unavailable("the API server is not asked: say who calls with --as, or ask it with --live")


class _Pretended:
    """A secret at every path: nobody sees its value anyway."""

    def __init__(self, backends: frozenset[str]) -> None:
        self.backends = backends

    async def read(self, path: Sequence[str], field: str) -> Secret | None:  # noqa: ARG002 - the port's signature
        return seal(b"pretended", self.backends)


def _password(connection: RedisConnection, directory: Path) -> Callable[[], str] | None:
    """Read anew for each connection, so that a rotated one is picked up."""
    kept = connection.password
    if kept is None:
        return None
    return partial(_variable, kept.env) if kept.env else partial(_first_line, directory / (kept.path or ""))


def _variable(name: str) -> str:
    """Raises: OSError, as for a file that is not there."""
    if name not in os.environ:
        raise OSError(f"the variable {name} is not set")
    return os.environ[name]


def _first_line(path: Path) -> str:
    return path.read_text("utf-8").partition("\n")[0].strip()


def _server(connection: VaultConnection, directory: Path) -> VaultServer:
    ca, cert, key = (directory / path if path else None for path in (connection.ca, connection.cert, connection.key))
    return VaultServer(
        connection.address, connection.timeout, ca, cert, key, connection.namespace, connection.allow_plaintext
    )


def _auth(connection: VaultConnection, directory: Path) -> Auth:
    auth = connection.auth
    if auth.kubernetes is not None:
        role = auth.kubernetes
        return KubernetesAuth(role.role, role.mount or "kubernetes", _token_path(role, directory))
    if auth.jwt is not None:
        return JwtAuth(auth.jwt.role, auth.jwt.mount or "jwt", _token_path(auth.jwt, directory))
    if auth.approle is not None:
        secret = auth.approle.secret_id_path
        mount = auth.approle.mount or "approle"
        return AppRoleAuth(directory / auth.approle.role_id_path, directory / secret if secret else None, mount)
    token = auth.token
    return TokenAuth(directory / token.path if token and token.path else None, token.env if token else None)


def _token_path(role: VaultRole, directory: Path) -> Path:
    return directory / role.token_path if role.token_path else SERVICE_ACCOUNT_TOKEN
