"""TokenReview:v1: a bearer token becomes a peer, or the request ends here."""

import json
import re
from typing import Annotated, ClassVar, Final, Self

from pydantic import AfterValidator, Field, model_validator

from extproc import Continue, Exchange, Phase, Respond, Verdict
from extproc.core.headers import Headers
from extproc.core.measure import CacheUse
from extproc.core.peer import Peer
from extproc.core.verdict import deny
from extproc.errors import ConfigError, Place
from extproc.ports import FilterContext
from extproc.schema import Duration, Model
from extproc_filters.header_name import HeaderName
from extproc_filters.reviews import NAMESPACE, SERVICE_ACCOUNT, WORKLOAD, Reviews

LONGEST_TOKEN: Final = 16 * 1024
TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""RFC 6750 section 2.1. Neither white space nor a comma: two values joined into one are no token."""


def _namespace(value: str) -> str:
    if not NAMESPACE.fullmatch(value):
        raise ValueError(f"{value!r} is not a namespace")
    return value


def _workload(value: str) -> str:
    if not WORKLOAD.fullmatch(value):
        raise ValueError(f"{value!r} is not of the form namespace/name, such as ai-workloads/default")
    return value


class StaticReviewer(Model):
    """Tokens from a file; `path` is relative to the document's."""

    path: Annotated[str, Field(min_length=1)]


class KubernetesReviewer(Model):
    """The API server."""


class Reviewer(Model):
    """Who is asked: exactly one."""

    static: StaticReviewer | None = None
    kubernetes: KubernetesReviewer | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.static is None) == (self.kubernetes is None):
            raise ValueError("a reviewer is exactly one of {static: {path: FILE}} and {kubernetes: {}}")
        return self


class Allow(Model):
    """A peer in any of these may go on. A list that is there lists somebody: one that came out empty opens nothing."""

    namespaces: Annotated[list[Annotated[str, AfterValidator(_namespace)]], Field(min_length=1)] | None = None
    service_accounts: Annotated[list[Annotated[str, AfterValidator(_workload)]], Field(min_length=1)] | None = None
    groups: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)] | None = None


class TokenReviewConfig(Model):
    """An empty `prefix` means that the header holds the token and nothing else."""

    reviewer: Reviewer = Reviewer(kubernetes=KubernetesReviewer())
    audiences: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list)
    header: HeaderName = "authorization"
    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]*$")] = "Bearer"
    allow: Allow = Allow()
    allow_users: bool = False
    cache_ttl: Duration = Field(default=60.0, le=3600.0, alias="cacheTTL")
    allow_unsafe_fail_open: bool = False


class TokenReview:
    """The authenticator for workload tokens."""

    Config = TokenReviewConfig
    phases: ClassVar[frozenset[Phase]] = frozenset({Phase.REQUEST_HEADERS})

    def __init__(self, config: TokenReviewConfig, context: FilterContext) -> None:
        """Raises: ConfigError, for a reviewer that cannot be had and for a failOpen that nobody called unsafe."""
        if context.fail_open and not config.allow_unsafe_fail_open:
            raise ConfigError(
                "failOpen is unsafe for an authenticator: remove it, or say allowUnsafeFailOpen: true in config",
                Place(field="failOpen"),
            )
        asked = config.reviewer.model_dump(by_alias=True, exclude_none=True)
        reviewer = context.outside.reviewer(asked, context.directory)
        if config.reviewer.kubernetes is not None and not config.audiences:
            raise ConfigError(
                "is required with the API server: without it a token that was meant for somebody else would do",
                Place(field="config.audiences"),
            )
        identity = json.dumps([asked, str(context.directory)], sort_keys=True)
        self.reads = frozenset({config.header})
        self._config = config
        asks = reviewer, identity, tuple(config.audiences), config.cache_ttl
        self._reviews = context.outside.kept(("TokenReview:v1", *asks), lambda: Reviews(*asks, context.outside.now))
        self._guests = _Guests(config)

    @property
    def caches(self) -> dict[str, CacheUse]:
        return {"tokens": self._reviews.cache}

    async def decide(self, phase: Phase, exchange: Exchange) -> Verdict:  # noqa: ARG002 - it has one phase
        token = self._token(exchange.request.headers)
        if isinstance(token, Respond):
            return token
        peer = await self._reviews.peer(token, address(exchange.source))
        if peer is None:
            return self._refuse("the token is not valid", ' error="invalid_token"')
        return self.welcome(peer)

    def welcome(self, peer: Peer) -> Verdict:
        """What becomes of a caller who is known: the peer of the exchange, or denied."""
        if not self._guests.admit(peer):
            return deny("forbidden", f"{peer.username!r} is not among those that are allowed")
        return Continue(facts=(peer,))

    def _token(self, headers: Headers) -> str | Respond:
        """The token, or why there is none. More than one value is nobody's: two readers could take two of them."""
        values = headers.values(self._config.header)
        if not values:
            return self._refuse(f"there is no {self._config.header} header")
        value = values[0]
        if len(values) > 1 or not isinstance(value, bytes):
            return self._refuse(f"{self._config.header} is there more than once")
        scheme, token = self._split(value.decode("latin-1"))
        if scheme.lower() != self._config.prefix.lower():
            return self._refuse("the header does not begin with the prefix")
        if len(token) > LONGEST_TOKEN or not TOKEN.fullmatch(token):
            return self._refuse("what should be a token is too long, or not one", ' error="invalid_token"')
        return token

    def _split(self, value: str) -> tuple[str, str]:
        if not self._config.prefix:
            return "", value
        scheme, _, token = value.partition(" ")
        return scheme, token.lstrip(" ")

    def _refuse(self, reason: str, parameters: str = "") -> Respond:
        challenge = f"{self._config.prefix or 'Bearer'}{parameters}"
        return deny("unauthenticated", reason, {"www-authenticate": challenge})


class _Guests:
    """Who may go on."""

    def __init__(self, config: TokenReviewConfig) -> None:
        allow = config.allow
        self._namespaces = frozenset(allow.namespaces or ())
        self._service_accounts = frozenset(allow.service_accounts or ())
        self._groups = frozenset(allow.groups or ())
        self._everybody = not (self._namespaces or self._service_accounts or self._groups)
        self._users = config.allow_users

    def admit(self, peer: Peer) -> bool:
        if not peer.namespace and (not self._users or peer.username.startswith(SERVICE_ACCOUNT)):
            return False
        return (
            self._everybody
            or peer.namespace in self._namespaces
            or f"{peer.namespace}/{peer.service_account}" in self._service_accounts
            or not self._groups.isdisjoint(peer.groups)
        )


def address(source: str) -> str:
    """The address without its port, as Envoy writes both: `192.0.2.1:40000`, `[2001:db8::1]:40000`."""
    host, colon, port = source.rpartition(":")
    return host if colon and port.isdigit() else source
