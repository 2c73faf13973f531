"""The gateway's listener: HTTP as strict as Envoy can be, then the ext_proc filter, then the router."""

from typing import Final

from extproc.envoy.clusters import EXT_PROC
from extproc.envoy.plan import Json, Plan
from extproc.envoy.replies import access_log, local_replies
from extproc.envoy.routes import route_configuration
from extproc.envoy.shape import address, extension

HCM: Final = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
NAMESPACE: Final = "extproc"
"""Of our dynamic metadata."""

REFUSED: Final = "host|:authority|:scheme|:method|x-envoy-.*|transfer-encoding|connection|upgrade"
"""Headers that not even the server may change: a defect there must not become request smuggling. content-length has to be
open, since a body that changed takes it along (PROTOCOL 2.4)."""

NOBODY: Final[Json] = {"address_prefix": "255.255.255.255", "prefix_len": 32}
"""No caller is internal: an internal one could choose its request id and steer Envoy by x-envoy headers. An empty list would
mean all private addresses."""

REQUEST_ATTRIBUTES: Final = ("xds.cluster_name", "xds.route_name", "source.address")
RESPONSE_ATTRIBUTES: Final = ("response.code_details",)


def listener(plan: Plan) -> Json:
    """Where the workloads' requests arrive."""
    manager = extension("envoy.filters.network.http_connection_manager", HCM, **connection_manager(plan))
    return {
        "name": "egress",
        "address": address(plan.listen, mode=0o660),
        "per_connection_buffer_limit_bytes": plan.buffer_bytes,
        "filter_chains": [{"filters": [manager]}],
    }


def connection_manager(plan: Plan) -> Json:
    """Paths and hosts are normalised before the server sees them, and what two readers could read differently is refused."""
    return {
        "stat_prefix": "egress",
        "codec_type": "AUTO",
        "use_remote_address": True,
        "internal_address_config": {"unix_sockets": False, "cidr_ranges": [NOBODY]},
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT",
        "strip_any_host_port": True,
        "strip_trailing_host_dot": True,
        "server_header_transformation": "PASS_THROUGH",
        "common_http_protocol_options": {
            "idle_timeout": "300s",
            "max_headers_count": 100,
            "headers_with_underscores_action": "REJECT_REQUEST",
        },
        "http_protocol_options": {"enable_trailers": True} if plan.trailers else {},
        "http2_protocol_options": {
            "max_concurrent_streams": 1000,
            "initial_stream_window_size": 1024 * 1024,
            "initial_connection_window_size": 16 * 1024 * 1024,
        },
        "max_request_headers_kb": 60,
        "request_headers_timeout": "10s",
        "stream_idle_timeout": "300s",
        "delayed_close_timeout": "1s",
        "local_reply_config": local_replies(),
        "access_log": [access_log()] if plan.access_log else [],
        "route_config": route_configuration(plan),
        "http_filters": [ext_proc_filter(plan), _router()],
    }


def ext_proc_filter(plan: Plan) -> Json:
    """Openness is the engine's decision for each extension, never Envoy's: no failure of the server lets anything pass."""
    modes = {
        "request_header_mode": "SEND",
        "response_header_mode": "SEND",
        "request_body_mode": "BUFFERED" if plan.request_body else "NONE",
        "response_body_mode": "BUFFERED" if plan.response_body else "NONE",
        "request_trailer_mode": "SEND",
        "response_trailer_mode": "SKIP",
    }
    return extension(
        "envoy.filters.http.ext_proc",
        "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor",
        grpc_service={"envoy_grpc": {"cluster_name": EXT_PROC, "authority": NAMESPACE}},
        failure_mode_allow=False,
        status_on_error={"code": "ServiceUnavailable"},
        message_timeout=f"{plan.message_timeout:g}s",
        allow_mode_override=True,
        processing_mode=modes,
        mutation_rules={"disallow_is_error": True, "disallow_expression": {"regex": REFUSED}},
        request_attributes=list(REQUEST_ATTRIBUTES),
        response_attributes=list(RESPONSE_ATTRIBUTES),
        metadata_options={"receiving_namespaces": {"untyped": [NAMESPACE]}},
    )


def _router() -> Json:
    """Without Envoy's own headers, which would tell the destination of us, and a client's could steer retries."""
    kind = "envoy.extensions.filters.http.router.v3.Router"
    return extension("envoy.filters.http.router", kind, suppress_envoy_headers=True)
