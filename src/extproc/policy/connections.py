"""How the dependencies are reached, as models. Paths are relative to the document's file."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from extproc.policy.names import Label, Many, ObjectName
from extproc.schema import Duration, DurationOrZero, Model

Text = Annotated[str, Field(min_length=1)]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
MountPath = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$")]


class Kept(Model):
    """Something secret that is kept elsewhere: in a variable of the environment, or in a file."""

    env: Variable | None = None
    path: Text | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.env is None) == (self.path is None):
            raise ValueError("it is kept in exactly one of `env` and `path`")
        return self


class RedisConnection(Model):
    """Redis, or one node of a cluster. `timeout` is for one take; `replicas` says how many pods share a limit when each
    counts by itself (`fallback: local`).
    """

    url: Annotated[str, Field(pattern=r"^(redis|rediss|unix)://")]
    timeout: Annotated[Duration, Field(le=5)] = 0.02
    replicas: Annotated[int, Field(ge=1, le=10_000)] = 1
    password: Kept | None = None


class VaultRole(Model):
    """A login with the token of our own ServiceAccount."""

    role: Text
    mount: MountPath | None = None
    token_path: Text | None = None


class VaultAppRole(Model):
    role_id_path: Text = Field(alias="roleIDPath")
    secret_id_path: Text | None = Field(default=None, alias="secretIDPath")
    mount: MountPath | None = None


class VaultAuth(Model):
    """How to log in: exactly one of them."""

    kubernetes: VaultRole | None = None
    jwt: VaultRole | None = None
    approle: VaultAppRole | None = None
    token: Kept | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(kind is not None for kind in (self.kubernetes, self.jwt, self.approle, self.token)) != 1:
            raise ValueError("`auth` is exactly one of `kubernetes`, `jwt`, `approle` and `token`")
        return self


class VaultConnection(Model):
    """Vault or OpenBao. Without TLS only on a loopback address, or where `allowPlaintext` says so."""

    address: Annotated[str, Field(pattern=r"^https?://")]
    auth: VaultAuth
    timeout: Annotated[Duration, Field(le=30)] = 1.0
    ca: Text | None = None
    cert: Text | None = None
    key: Text | None = None
    namespace: Text | None = None
    allow_plaintext: bool = False


class KubernetesConnection(Model):
    """The API server: of the cluster that this runs in, or of a kubeconfig."""

    kubeconfig: Text | None = None
    context: Text | None = None
    timeout: Annotated[Duration, Field(le=30)] = 5.0

    @model_validator(mode="after")
    def _context_of_what(self) -> Self:
        if self.context and not self.kubeconfig:
            raise ValueError("`context` is one of a `kubeconfig`: write that too")
        return self


class Connections(Model):
    """The dependencies. Nothing is opened before the first question, so a start without one is no failure."""

    redis: RedisConnection | None = None
    vault: VaultConnection | None = None
    kubernetes: KubernetesConnection | None = None


class FileSecrets(Model):
    """Files under `root`: `<root>/<path>/<field>`."""

    root: Text


class EnvSecrets(Model):
    """Variables of the environment; only those that are named."""

    names: Annotated[Many[Variable], Field(min_length=1)]


class VaultSecrets(Model):
    """`<mount>/<prefix>/<path>` in Vault's key-value store. A value counts for its lease or `cacheTTL`, and for at most
    `staleFor` more while Vault is down. `version`: 1 or 2; Vault is asked if it is left out.
    """

    mount: MountPath
    prefix: MountPath | None = None
    version: Literal[1, 2] | None = None
    cache_ttl: Annotated[Duration, Field(le=86_400, alias="cacheTTL")] = 60.0
    stale_for: Annotated[DurationOrZero, Field(le=86_400)] = 300.0


class SecretSource(Model):
    """One place that credentials come from, and the Backends and namespaces that it is for."""

    vault: VaultSecrets | None = None
    file: FileSecrets | None = None
    env: EnvSecrets | None = None
    backends: Annotated[Many[ObjectName], Field(min_length=1)]
    namespaces: Annotated[Many[Label], Field(min_length=1)] | None = None
    """Whose policies may name it; None: those of the Gateway's namespace."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(kind is not None for kind in (self.vault, self.file, self.env)) != 1:
            raise ValueError("a secret source is exactly one of `vault`, `file` and `env`")
        return self
