"""The kinds of Gateway API that we read: HTTPRoute and ReferenceGrant, with the fields that are implemented and no other.

Source: gateway.networking.k8s.io/v1, https://gateway-api.sigs.k8s.io/reference/spec/
"""

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from extproc.policy.documents import Metadata, Text
from extproc.policy.names import Label, Many, Name
from extproc.schema import Duration, Model

GROUP: Final = "gateway.networking.k8s.io"

UNIMPLEMENTED: Final = frozenset(
    {"timeouts", "sessionPersistence", "sectionName", "port", "filters", "useDefaultGateways"}
)
"""Fields of Gateway API that are known and not implemented here: refused by name, so that nobody looks for a typing error."""

RouteFilter = Literal[
    "RequestMirror", "RequestHeaderModifier", "ResponseHeaderModifier", "RequestRedirect", "URLRewrite", "ExtensionRef",
    "CORS", "ExternalAuth",
]  # fmt: skip


class ParentRef(Model):
    group: Literal["gateway.networking.k8s.io"] = "gateway.networking.k8s.io"
    kind: Literal["Gateway"] = "Gateway"
    namespace: Label | None = None
    name: Name


class PathMatch(Model):
    type: Literal["Exact", "PathPrefix", "RegularExpression"] = "PathPrefix"
    value: Annotated[str, Field(min_length=1, max_length=1024)] = "/"


class ValueMatch(Model):
    """One header or query parameter that must have a value."""

    type: Literal["Exact", "RegularExpression"] = "Exact"
    name: Annotated[str, Field(min_length=1, max_length=256)]
    value: Annotated[str, Field(min_length=1, max_length=4096)]


class RouteMatch(Model):
    path: PathMatch = PathMatch()
    headers: Many[ValueMatch] = ()
    query_params: Many[ValueMatch] = ()
    method: Literal["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"] | None = None


class BackendRef(Model):
    group: str = ""
    kind: str = "Service"
    namespace: Label | None = None
    name: Name
    port: int | None = None
    weight: Annotated[int, Field(ge=0, le=1_000_000)] = 1


class HTTPRouteFilter(Model):
    """Recognised, so that each can be refused by its name; RequestMirror matters beside a credential."""

    type: RouteFilter
    request_mirror: dict[str, Any] | None = None
    request_header_modifier: dict[str, Any] | None = None
    response_header_modifier: dict[str, Any] | None = None
    request_redirect: dict[str, Any] | None = None
    url_rewrite: dict[str, Any] | None = None
    extension_ref: dict[str, Any] | None = None
    cors: dict[str, Any] | None = None
    external_auth: dict[str, Any] | None = None


class Retry(Model):
    """Of the experimental channel (GEP-1731). `attempts`: tries beside the first. A connection that broke before the request
    was sent is always tried again; an answer, if its status is one of `codes`.
    """

    codes: Many[Annotated[int, Field(ge=400, le=599)]] = ()
    attempts: Annotated[int, Field(ge=1, le=10)] = 1
    backoff: Annotated[Duration, Field(le=60)] | None = None


class RouteRule(Model):
    name: str | None = None
    matches: Annotated[Many[RouteMatch], Field(min_length=1, max_length=64)] = (RouteMatch(),)
    filters: Many[HTTPRouteFilter] = ()
    backend_refs: Many[BackendRef] = ()
    retry: Retry | None = None


class HTTPRouteSpec(Model):
    parent_refs: Annotated[Many[ParentRef], Field(min_length=1)]
    hostnames: Many[Text] = ()
    rules: Annotated[Many[RouteRule], Field(min_length=1)] = (RouteRule(),)


class HTTPRoute(Model):
    """Which requests go to which Backends."""

    unimplemented: ClassVar[frozenset[str]] = UNIMPLEMENTED
    api_version: Literal["gateway.networking.k8s.io/v1"]
    kind: Literal["HTTPRoute"]
    metadata: Metadata
    spec: HTTPRouteSpec


class GrantFrom(Model):
    group: str
    kind: Text
    namespace: Label


class GrantTo(Model):
    group: str
    kind: Text
    name: Name | None = None


class ReferenceGrantSpec(Model):
    from_: Annotated[Many[GrantFrom], Field(alias="from", min_length=1)]
    to: Annotated[Many[GrantTo], Field(min_length=1)]


class ReferenceGrant(Model):
    """A namespace allows another one's HTTPRoutes to name its Backends."""

    api_version: Literal["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1"]
    kind: Literal["ReferenceGrant"]
    metadata: Metadata
    spec: ReferenceGrantSpec
