"""The ext_proc filter, twice: before the router for each exchange, and in a cluster for each try."""

from typing import Final

from extproc.core import upstream
from extproc.envoy.plan import Json, Plan
from extproc.envoy.shape import extension

EXT_PROC: Final = "ext_proc"
"""The cluster of the ext_proc server. No Backend's cluster is called so: theirs have a namespace."""

NAMESPACE: Final = "extproc"
"""Of our dynamic metadata."""

BACKEND: Final = "backend"
"""Of the endpoints' metadata (in NAMESPACE): the Backend that they are of, namespace/name."""

INTERNAL: Final = "extproc.internal"
"""Of those that the downstream filter leaves for the upstream filter, and nobody else reads."""

REFUSED: Final = "host|:authority|:scheme|:method|x-envoy-.*|transfer-encoding|connection|upgrade"
"""Headers that not even the server may change: a defect there must not become request smuggling. content-length has to be
open, since a body that changed takes it along (PROTOCOL 2.4)."""

REQUEST_ATTRIBUTES: Final = ("xds.cluster_name", "xds.route_name", "source.address")
RESPONSE_ATTRIBUTES: Final = ("response.code_details",)
UPSTREAM_ATTRIBUTES: Final = ("xds.cluster_name",)


def downstream_filter(plan: Plan) -> Json:
    """Sees each exchange once, before it is routed for good."""
    modes = {
        "request_body_mode": "BUFFERED" if plan.request_body else "NONE",
        "response_body_mode": "BUFFERED" if plan.response_body else "NONE",
        "request_trailer_mode": "SEND",
    }
    return _filter(
        plan,
        modes,
        request_attributes=list(REQUEST_ATTRIBUTES),
        response_attributes=list(RESPONSE_ATTRIBUTES),
        metadata_options=_metadata(NAMESPACE, *plan.namespaces, *([INTERNAL] if plan.upstream_pass else [])),
    )


def upstream_filters(plan: Plan) -> list[Json]:
    """The filters of a cluster: ours sees the headers of each try, no body. Which Backend it is of is written at the endpoint
    that Envoy has chosen, so it is right on a cluster of several Backends too.
    """
    modes = {"request_body_mode": "NONE", "response_body_mode": "NONE", "request_trailer_mode": "SKIP"}
    ours = _filter(
        plan,
        modes,
        initial_metadata=[
            {"key": upstream.PASS, "value": upstream.UPSTREAM},
            {"key": upstream.BACKEND, "value": f"%UPSTREAM_METADATA({NAMESPACE}:{BACKEND})%"},
        ],
        request_attributes=list(UPSTREAM_ATTRIBUTES),
        metadata_options={**_metadata(NAMESPACE), "forwarding_namespaces": {"untyped": [INTERNAL]}},
    )
    kind = "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"
    return [ours, extension("envoy.filters.http.upstream_codec", kind)]


def _filter(plan: Plan, modes: Json, initial_metadata: list[Json] | None = None, **more: object) -> Json:
    """Openness is the engine's decision for each extension, never Envoy's: no failure of the server lets anything pass."""
    initial = {"initial_metadata": initial_metadata} if initial_metadata else {}
    headers = {"request_header_mode": "SEND", "response_header_mode": "SEND", "response_trailer_mode": "SKIP"}
    return extension(
        "envoy.filters.http.ext_proc",
        "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor",
        grpc_service={"envoy_grpc": {"cluster_name": EXT_PROC, "authority": NAMESPACE}, **initial},
        failure_mode_allow=False,
        status_on_error={"code": "ServiceUnavailable"},
        message_timeout=f"{plan.message_timeout:g}s",
        allow_mode_override=True,
        processing_mode={**headers, **modes},
        mutation_rules={"disallow_is_error": True, "disallow_expression": {"regex": REFUSED}},
        **more,
    )


def _metadata(*received: str) -> Json:
    return {"receiving_namespaces": {"untyped": list(received)}}
