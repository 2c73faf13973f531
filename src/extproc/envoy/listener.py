"""The gateway's listener: HTTP as strict as Envoy can be, then the ext_proc filter, then the router."""

from typing import Final

from extproc.envoy.plan import Certificate, Json, Plan
from extproc.envoy.processor import downstream_filter
from extproc.envoy.replies import access_log, local_replies
from extproc.envoy.routes import route_configuration
from extproc.envoy.shape import address, extension, file

HCM: Final = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
NOBODY: Final[Json] = {"address_prefix": "255.255.255.255", "prefix_len": 32}
"""No caller is internal: an internal one could choose its request id and steer Envoy by x-envoy headers. An empty list would
mean all private addresses."""


def listener(plan: Plan) -> Json:
    """Where the workloads' requests arrive."""
    manager = extension("envoy.filters.network.http_connection_manager", HCM, **connection_manager(plan))
    chain: dict[str, object] = {"filters": [manager]}
    if plan.certificate:
        chain["transport_socket"] = _tls(plan.certificate)
    return {
        "name": "egress",
        "address": address(plan.listen, mode=0o660),
        "per_connection_buffer_limit_bytes": plan.buffer_bytes,
        "filter_chains": [chain],
    }


def connection_manager(plan: Plan) -> Json:
    """Paths and hosts are normalised before the server sees them, and what two readers could read differently is refused. A
    destination is told the scheme by which it is reached, not the one that the caller wrote (RFC 9113 section 8.3.1).
    """
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
        "scheme_header_transformation": {"match_upstream": True},
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
        "access_log": [access_log()],
        "route_config": route_configuration(plan),
        "http_filters": [downstream_filter(plan), _router()],
    }


def _tls(certificate: Certificate) -> Json:
    """TLS that ends here. A workload proves who it is by its token, so no certificate is asked of it."""
    pair = {"certificate_chain": file(certificate.cert), "private_key": file(certificate.key)}
    context = {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_certificates": [pair],
    }
    kind = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
    return extension("envoy.transport_sockets.tls", kind, common_tls_context=context)


def _router() -> Json:
    """Without Envoy's own headers, which would tell the destination of us, and a client's could steer retries."""
    kind = "envoy.extensions.filters.http.router.v3.Router"
    return extension("envoy.filters.http.router", kind, suppress_envoy_headers=True)
