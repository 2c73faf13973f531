"""The documents of a configuration (DESIGN section 3), as models. What needs a second document is judged in `resolve`."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, Strict, field_validator, model_validator

from extproc.core.phase import Phase
from extproc.errors import Cause
from extproc.policy.connections import Connections, SecretSource
from extproc.policy.names import (
    Address,
    AddressText,
    HeaderName,
    Label,
    Many,
    Name,
    ObjectName,
    Port,
    TypeName,
    parse_address,
)
from extproc.schema import Duration, Model

GROUP: Final = "egress.extproc.dev"
VERSION: Final = f"{GROUP}/v1alpha1"
COVERED: Final = (Cause.UNAVAILABLE, Cause.TIMEOUT, Cause.UNSUPPORTED)
"""What failOpen covers unless `failOpenOn` says otherwise."""

KEY: Final = r"^[A-Za-z_][A-Za-z0-9_.-]{0,127}$"
"""A key of dynamic metadata."""

Lax = Strict(strict=False)
Priority = Annotated[int, Field(ge=-(2**31), le=2**31 - 1)]
Short = Annotated[Duration, Field(le=60)]
Text = Annotated[str, Field(min_length=1)]


class Metadata(Model):
    """Kubernetes' object metadata, as far as it says anything here; the rest of it may be there and means nothing."""

    name: Name
    namespace: Label = "default"
    creation_timestamp: Annotated[datetime, Lax] | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    uid: str = ""
    resource_version: str = ""
    generation: int = 0

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class ExtensionSpec(Model):
    """One extension, as configured; or as the current proposal has it, with `name`, `type` and `rawConfig` alone."""

    name: Label
    type: TypeName
    phase: Annotated[Phase, Lax]
    priority: Priority = 0
    fail_open: bool = False
    fail_open_on: Annotated[Many[Annotated[Cause, Lax]], Field(min_length=1)] = COVERED
    pre_auth: bool = False
    timeout: Short = 0.25
    when: Text | None = None
    overridable: bool | None = None
    config: dict[str, Any] = Field(default_factory=dict)
    raw_config: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _as_proposed(cls, value: Any) -> Any:
        """Which phase such an extension has is known when its type is (`extproc.policy.convert`)."""
        if not isinstance(value, dict) or "rawConfig" not in value:
            return value
        if beside := sorted(set(map(str, value)) - {"name", "type", "rawConfig"}):
            raise ValueError(f"beside `rawConfig` there are only `name` and `type`: with {beside[0]!r} write `config`")
        if value["rawConfig"] is None:
            raise ValueError("`rawConfig` is empty: write `rawConfig: {}` if there is nothing to say")
        return {**value, "phase": Phase.REQUEST_HEADERS}

    @field_validator("fail_open_on")
    @classmethod
    def _never_interrupted(cls, causes: tuple[Cause, ...]) -> tuple[Cause, ...]:
        if Cause.INTERRUPTED in causes:
            raise ValueError(
                "'interrupted' cannot be covered: nothing is open after the first transformed byte was sent"
            )
        return causes

    @model_validator(mode="after")
    def _open_at_all(self) -> Self:
        if "fail_open_on" in self.model_fields_set and not self.fail_open:
            raise ValueError("`failOpenOn` says what `failOpen: true` covers: add that, or remove it")
        return self

    @property
    def covers(self) -> frozenset[Cause]:
        return frozenset(self.fail_open_on) if self.fail_open else frozenset()


class ListenTLS(Model):
    """Mutual TLS for a TCP listener. Paths are relative to the document's file."""

    cert: Text
    key: Text
    client_ca: Text = Field(alias="clientCA")
    allowed_clients: Annotated[Many[Text], Field(min_length=1)]
    """Subject alternative names of the only clients that may connect."""


class Listen(Model):
    """One listener of the ext_proc server."""

    address: AddressText
    tls: ListenTLS | None = None
    insecure: bool = False

    @property
    def parsed(self) -> Address:
        return parse_address(self.address)

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        address = self.parsed
        if address.path:
            if self.tls or self.insecure:
                raise ValueError("a Unix socket is guarded by its directory and mode: remove `tls` and `insecure`")
        elif address.port == 0:
            raise ValueError("port 0 is no port that Envoy could be told of: write one from 1 to 65535")
        elif self.insecure and self.tls:
            raise ValueError("`tls` and `insecure: true` contradict each other: keep one")
        elif self.insecure and not address.loopback:
            raise ValueError(
                "`insecure: true` is for a loopback address only: add `tls` with cert, key, clientCA, allowedClients"
            )
        elif not self.insecure and not self.tls:
            raise ValueError(
                "a TCP listener needs `tls` with cert, key, clientCA, allowedClients (on loopback: or `insecure: true`)"
            )
        return self


class EnvoyTLS(Model):
    """TLS that the generated listener ends. Paths are the gateway's own, relative to the document's file."""

    cert: Text
    key: Text


class EnvoySettings(Model):
    """For the generated Envoy configuration. `resolvers` are the DNS servers that Backends outside of the cluster are asked
    of: needed where the cluster's own DNS leads their names to this gateway. `max_heap_bytes` is what Envoy may take before it
    takes no more requests.
    """

    listen: AddressText = "127.0.0.1:10000"
    admin: AddressText = "unix:///run/extproc/envoy-admin.sock"
    tls: EnvoyTLS | None = None
    resolvers: Many[AddressText] = ()
    max_heap_bytes: Annotated[int, Field(ge=64 * 1024 * 1024)] | None = None


class UsageMetadata(Model):
    """Where other filters of Envoy read how many tokens an exchange has cost, and by `limit` under which limit it is: keys of a
    namespace of dynamic metadata. The defaults are those of Envoy AI Gateway.
    """

    namespace: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    input: Annotated[str, Field(pattern=KEY)] = "llm_input_token"
    output: Annotated[str, Field(pattern=KEY)] = "llm_output_token"
    total: Annotated[str, Field(pattern=KEY)] = "llm_total_token"
    limit: Annotated[str, Field(pattern=KEY)] | None = None

    @field_validator("namespace")
    @classmethod
    def _not_steering(cls, name: str) -> str:
        if name.split(".")[0] in ("envoy", "extproc"):
            raise ValueError(
                f"{name!r} belongs to Envoy's own filters or to this server: write another one, such as io.envoy.ai_gateway"
            )
        return name

    @model_validator(mode="after")
    def _told_apart(self) -> Self:
        names = [*self.keys.values(), *([self.limit] if self.limit else [])]
        if len(set(names)) < len(names):
            raise ValueError("`input`, `output`, `total` and `limit` are keys of one namespace: give each its own name")
        return self

    @property
    def keys(self) -> dict[str, str]:
        """By the names that extensions report under."""
        return {"input_tokens": self.input, "output_tokens": self.output, "total_tokens": self.total}


class ExtProcConfiguration(Model):
    """The process: exactly one document, always from a local file."""

    api_version: Literal["egress.extproc.dev/v1alpha1"]
    kind: Literal["ExtProcConfiguration"]
    gateway: ObjectName
    listen: Annotated[Many[Listen], Field(min_length=1)] = (Listen(address="unix:///run/extproc/extproc.sock"),)
    admin: AddressText = "127.0.0.1:9090"
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    envoy: EnvoySettings = EnvoySettings()
    traffic_policy: Literal["Deny", "Allow"] = "Deny"
    authentication: Literal["required", "none"] = "required"
    budget: Short = 0.8
    drain_seconds: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] = 5.0
    identity_headers: Many[HeaderName] = ()
    request_trailers: Many[HeaderName] = ()
    upstream_pass: bool = False
    usage_metadata: UsageMetadata | None = None
    connections: Connections = Connections()
    secret_sources: dict[Label, SecretSource] = Field(default_factory=dict)
    filters: dict[TypeName, Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]] = Field(
        default_factory=dict
    )

    @property
    def gateway_namespace(self) -> str:
        return self.gateway.partition("/")[0]


ServerName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?$")]


class BackendTLS(Model):
    """How Envoy connects. `ca` (default: the system's), `cert` and `key` are paths relative to the document's file."""

    mode: Literal["NONE", "SIMPLE", "MUTUAL"] = "SIMPLE"
    server_name: ServerName | None = None
    """For SNI and for the certificate; None: the hostname."""
    ca: Text | None = None
    cert: Text | None = None
    key: Text | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.mode == "MUTUAL") != (self.cert is not None and self.key is not None) or (
            self.mode != "MUTUAL" and (self.cert or self.key)
        ):
            raise ValueError("`cert` and `key` go together, with `mode: MUTUAL` and with no other")
        if self.mode == "NONE" and (self.ca or self.server_name):
            raise ValueError("`mode: NONE` connects without TLS: remove `ca` and `serverName`")
        return self


class FQDN(Model):
    """The destination's host. What an internal one is, `hosts` knows."""

    hostname: Annotated[str, Field(min_length=1, max_length=254)]
    port: Port
    tls: BackendTLS = BackendTLS()


class BackendSpec(Model):
    type: Literal["FQDN"]
    fqdn: FQDN
    clusters: Annotated[Many[Annotated[str, Field(pattern=r"^[!-~]{1,512}$")]], Field(min_length=1)] | None = None
    """Names that Envoy may use for it; None: namespace/name."""
    allow_internal: bool = False
    extensions: Many[ExtensionSpec] = ()


class BackendDocument(Model):
    """An external destination, and the extensions of everything that goes there."""

    api_version: Literal["egress.extproc.dev/v1alpha1"]
    kind: Literal["Backend"]
    metadata: Metadata
    spec: BackendSpec


class TargetRef(Model):
    """An object of the policy's own namespace."""

    group: str | None = None
    kind: Literal["Gateway", "Backend", "HTTPRoute"]
    name: Name


class EgressPolicySpec(Model):
    target_refs: Annotated[Many[TargetRef], Field(min_length=1)]
    extensions: Many[ExtensionSpec]


class EgressPolicy(Model):
    """Extensions for a Gateway, for Backends or for HTTPRoutes."""

    api_version: Literal["egress.extproc.dev/v1alpha1"]
    kind: Literal["EgressPolicy"]
    metadata: Metadata
    spec: EgressPolicySpec
