"""CredentialInjector:v1: the caller's own credentials go, the one that the platform keeps for it comes."""

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from extproc import Continue, Exchange, Phase, Verdict
from extproc.core.headers import check_value
from extproc.core.message import Request
from extproc.core.peer import Backend, Peer
from extproc.core.secret import Secret, wrap
from extproc.core.verdict import deny
from extproc.errors import ConfigError, Defect, Place
from extproc.ports import FilterContext, SecretStore
from extproc.schema import Model
from extproc_filters.header_name import HeaderName

OWN_HEADERS: Final = frozenset(
    {
        "authorization", "proxy-authorization", "x-api-key", "api-key", "x-goog-api-key", "ocp-apim-subscription-key",
        "cookie",
    }
)  # fmt: skip
OWN_QUERY: Final = frozenset(
    {"key", "api_key", "api-key", "access_token", "oauth_token", "subscription-key", "$key", "$httpheaders"}
)
"""Where a caller may have put a credential of its own: removed, unless `keep` lists them. In lower case, as they are compared.
Google reads `oauth_token` and `$key` too (https://cloud.google.com/apis/docs/system-parameters), and whole headers from
`$httpHeaders`; Azure OpenAI `api-key`, Azure's API Management the subscription's key.
"""

LITERAL: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}")
VALUE: Final = re.compile(r"(?!.{254})[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*")
"""What a path variable may be: the name of a Kubernetes object. No slash, no escape, no empty part."""

VARIABLES: Final = ("{peer.namespace}", "{peer.serviceAccount}", "{backend.namespace}", "{backend.name}")


def _path(value: str) -> str:
    for segment in value.split("/"):
        if segment not in VARIABLES and not LITERAL.fullmatch(segment):
            raise ValueError(
                f"{segment!r} is no segment of a path: write letters, digits, '_', '-' and inner dots, "
                f"or one of {', '.join(VARIABLES)} as a whole segment"
            )
    return value


def _template(value: str) -> str:
    if value.count("{value}") != 1 or not value.isascii():
        raise ValueError("a template is ASCII text with {value} in it, once")
    try:
        check_value(value)
    except Defect as error:
        raise ValueError(str(error)) from None
    return value


def _each_once(value: object) -> object:
    if isinstance(value, dict) and len({str(name).lower() for name in value}) < len(value):
        raise ValueError("a header is there twice, in two spellings: write it once")
    return value


Template = Annotated[str, AfterValidator(_template)]
Headers = Annotated[dict[HeaderName, Template], BeforeValidator(_each_once), Field(min_length=1, max_length=16)]
Parameter = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
ObjectName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?/[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")]


class CredentialInjectorConfig(Model):
    """The value goes into one `header`, several `headers` (name: template), or a `query` parameter."""

    source: Annotated[str, Field(min_length=1)]
    path: Annotated[str, AfterValidator(_path)]
    field: Annotated[str, Field(pattern=rf"^{LITERAL.pattern}$")] | None = None
    header: HeaderName | None = None
    headers: Headers | None = None
    query: Parameter | None = None
    template: Template | None = None
    keep: list[str] = Field(default_factory=list)
    backends: Annotated[list[ObjectName], Field(min_length=1)] | None = None
    allow_plaintext: bool = False
    allow_unsafe_fail_open: bool = False

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if sum(place is not None for place in (self.header, self.headers, self.query)) > 1:
            raise ValueError("a value goes to one of `header`, `headers` and `query`")
        if self.headers is not None and self.template is not None:
            raise ValueError("`headers` has a template for each: remove `template`")
        return self

    @model_validator(mode="after")
    def _keeps_what_would_go(self) -> Self:
        for name in self.keep:
            if name not in OWN_HEADERS | OWN_QUERY:
                known = ", ".join(sorted(OWN_HEADERS | OWN_QUERY))
                raise ValueError(f"`keep` lists {name!r}, which is not removed anyway; what is: {known}")
            if name in self.templates or name == self.query:
                raise ValueError(f"`keep` lists {name!r}, which is where the value goes")
        return self

    @property
    def templates(self) -> Mapping[str, str]:
        """The headers to set, each with its template."""
        if self.query is not None:
            return {}
        return self.headers or {self.header or "authorization": self.template or "Bearer {value}"}


class CredentialInjector:
    """Sets what its source has for this caller, on requests to the Backends that both of them name. Other requests pass it
    by untouched: one injector for each provider can be attached to the same Gateway.
    """

    Config = CredentialInjectorConfig
    default_phase: ClassVar[Phase] = Phase.REQUEST_HEADERS
    phases: ClassVar[frozenset[Phase]] = frozenset({Phase.REQUEST_HEADERS, Phase.BACKEND_REQUEST})
    releases_credentials: ClassVar[bool] = True

    def __init__(self, config: CredentialInjectorConfig, context: FilterContext) -> None:
        """Raises: ConfigError."""
        _check_place(config, context)
        self.allow_plaintext = config.allow_plaintext
        self._store = context.outside.secrets(config.source)
        self.backends = _backends(config, context, self._store)
        self._path = config.path.split("/")
        self._field = config.field or ""
        self._templates = dict(config.templates)
        self._query = {config.query: config.template or "{value}"} if config.query else {}
        self._headers_to_remove = OWN_HEADERS - set(config.keep)
        self._query_to_remove = OWN_QUERY - set(config.keep)
        self.sets_headers, self.sets_query = frozenset(self._templates), frozenset(self._query)

    async def decide(self, phase: Phase, exchange: Exchange) -> Verdict:  # noqa: ARG002 - the same in both
        backend = exchange.backend
        if backend is None or str(backend) not in self.backends:
            return Continue()
        path = self._resolved(exchange.peer, backend)
        if path is None:
            return deny("no_credential", "the path has no value for this caller")
        secret = await self._store.read(path, self._field)
        if secret is None:
            return deny("no_credential", f"the source has nothing at {'/'.join(path)}")
        return self._inject(secret, exchange.request)

    def _resolved(self, peer: Peer | None, backend: Backend) -> tuple[str, ...] | None:
        """The path for this exchange; None if a variable in it is empty, or no name of a Kubernetes object."""
        values = {
            "{peer.namespace}": peer.namespace if peer else "",
            "{peer.serviceAccount}": peer.service_account if peer else "",
            "{backend.namespace}": backend.namespace,
            "{backend.name}": backend.name,
        }
        named = [values[segment] for segment in self._path if segment in values]
        if not all(map(VALUE.fullmatch, named)):
            return None
        return tuple(values.get(segment, segment) for segment in self._path)

    def _inject(self, secret: Secret, request: Request) -> Continue:
        hidden = {name.casefold() for name, _ in request.hidden_query}
        return Continue(
            set_headers={name: wrap(secret, template) for name, template in self._templates.items()},
            remove_headers=_of_the_caller(request, self._headers_to_remove),
            set_query={name: wrap(secret, template) for name, template in self._query.items()},
            remove_query=self._query_to_remove - hidden,
        )


def _of_the_caller(request: Request, names: frozenset[str]) -> list[str]:
    """Those of `names` that the caller sent. What another injector has set is a Secret, and stays."""
    headers = request.headers
    return [name for name in names & headers.names() if any(isinstance(value, bytes) for value in headers.values(name))]


def _check_place(config: CredentialInjectorConfig, context: FilterContext) -> None:
    """Raises: ConfigError, for an extension in a place where it may not release a credential."""
    if context.pre_auth:
        raise ConfigError("a credential belongs to a caller that is known: remove preAuth", Place(field="preAuth"))
    if context.fail_open and not config.allow_unsafe_fail_open:
        raise ConfigError(
            "failOpen is unsafe for credentials, the caller's own would go upstream: remove it, or say "
            "allowUnsafeFailOpen: true in config",
            Place(field="failOpen"),
        )


def _backends(config: CredentialInjectorConfig, context: FilterContext, store: SecretStore) -> frozenset[str]:
    """The Backends that may receive the value: those of the extension, each allowed by the source. Raises: ConfigError."""
    own = context.backend_scope
    if config.backends is None and own is None:
        raise ConfigError(
            "is required where the extension is not attached to a Backend", Place(field="config.backends")
        )
    listed = frozenset(config.backends or [own or ""])
    if own is not None and own not in listed:
        raise ConfigError(f"does not list {own}, to which the extension is attached", Place(field="config.backends"))
    if refused := sorted(listed - store.backends):
        raise ConfigError(
            f"the source {config.source!r} does not release its values to {', '.join(refused)}",
            Place(field="config.backends" if config.backends else "config.source"),
        )
    return listed
