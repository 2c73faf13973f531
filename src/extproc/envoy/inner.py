"""The Envoy configuration that runs our server: listeners for the gateway's Envoy, and behind them the application.

What resets a stream when it has what it needs, as the ext_proc filter does, looks like an attack to nghttp2, which closes the
connection after a thousand; oghttp2 does not (PROTOCOL 7). It is outside of Envoy's threat model, and so is any caller but the
gateway: these listeners are sockets, on loopback, or want a client's certificate.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from extproc.envoy.listener import HCM
from extproc.envoy.plan import Json
from extproc.envoy.python import module_filter
from extproc.envoy.resolved import numeric
from extproc.envoy.shape import address, extension, file, typed
from extproc.policy.names import Address
from extproc.wire.listener import SOCKET_MODE, Listener, Tls

POLICY: Final = "policy"
"""The listener inside Envoy, and the cluster that leads there."""

INTERNAL: Final = extension(
    "envoy.bootstrap.internal_listener", "envoy.extensions.bootstrap.internal_listener.v3.InternalListener"
)
"""The bootstrap extension without which there are no listeners inside."""

LOG: Final[Json] = {
    "log_format": {
        "json_format": {
            "timestamp": "%Y-%m-%dT%T.%f%z",
            "level": "%l",
            "event": "envoy",
            "logger": "%n",
            "message": "%j",
        }
    }
}
"""Envoy's own log lines, in the form of ours: they come out of the same process."""

WINDOW: Final = 1024 * 1024
"""Bytes that a stream may be ahead of the application: what is beyond waits at the gateway."""

SECRET: Final = "envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 - the name of a type
TLS: Final = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"


def server(listeners: Sequence[Listener], folder: Path) -> Json:
    """The bootstrap of an Envoy that serves on `listeners`. In `folder` are the files of `secrets`.

    Several listeners share one application, behind one more listener: a filter each would be an application each.

    Raises:
        ConfigError: there is no Python for it.
    """
    alone = len(listeners) == 1
    way = manager() if alone else _forward()
    outer = [_listener(listener, way, folder, f"outer-{index}") for index, listener in enumerate(listeners)]
    resources = {"listeners": outer} if alone else {"listeners": [*outer, internal()], "clusters": [_policy()]}
    node = {"id": "extproc", "cluster": "extproc"}
    extensions = {} if alone else {"bootstrap_extensions": [INTERNAL]}
    return {"node": node, **extensions, "static_resources": resources, "application_log_config": LOG}


def internal() -> Json:
    """The listener inside Envoy. Raises: ConfigError."""
    return {"name": POLICY, "internal_listener": {}, "filter_chains": [{"filters": [manager()]}]}


def endpoint() -> Json:
    """Where the listener inside Envoy is, as the endpoint of a cluster."""
    return {"endpoint": {"address": {"envoy_internal_address": {"server_listener_name": POLICY}}}}


def manager() -> Json:
    """HTTP/2 up to the application, which is the last filter. An exchange may be silent for as long as a model thinks, and
    then speak for minutes: nothing here ends it. Raises: ConfigError.
    """
    return extension(
        "envoy.filters.network.http_connection_manager",
        HCM,
        stat_prefix=POLICY,
        codec_type="HTTP2",
        http2_protocol_options={
            "use_oghttp2_codec": True,
            "initial_stream_window_size": WINDOW,
            "initial_connection_window_size": 16 * WINDOW,
        },
        max_request_headers_kb=96,  # a caller's whole `tracestate` may be among them, and Envoy takes 60 from a caller
        request_headers_timeout="10s",
        stream_idle_timeout="0s",
        generate_request_id=False,
        server_header_transformation="PASS_THROUGH",
        route_config={"virtual_hosts": [{"name": POLICY, "domains": ["*"]}]},
        http_filters=[module_filter()],
    )


def secrets(listeners: Sequence[Listener]) -> dict[str, Json]:
    """Files that `server` reads of TLS, by their names. Envoy reads a certificate again whenever a file is moved into its
    folder: so they are renewed by Kubernetes and by cert-manager.
    """
    tls = [(f"outer-{index}", listener.tls) for index, listener in enumerate(listeners) if listener.tls]
    found = [secret for name, each in tls for secret in (_own(name, each), _clients(name, each))]
    return {f"{secret['name']}.json": {"resources": [secret]} for secret in found}


def where(listener: Listener) -> Address:
    """Where it is, as Envoy takes it: it resolves no names for what it listens on. Raises: ConfigError."""
    return numeric(listener.address, "listen")


def _listener(listener: Listener, way: Json, folder: Path, name: str) -> Json:
    chain: dict[str, object] = {"filters": [way]}
    if listener.tls:
        chain["transport_socket"] = _mutual(folder, name)
    return {
        "name": name,
        "address": address(where(listener), mode=SOCKET_MODE),
        "enable_reuse_port": False,  # else a second process would share the port in silence
        "per_connection_buffer_limit_bytes": WINDOW,
        "filter_chains": [chain],
    }


def _forward() -> Json:
    kind = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
    return extension("envoy.filters.network.tcp_proxy", kind, stat_prefix="outer", cluster=POLICY, idle_timeout="0s")


def _policy() -> Json:
    assignment = {"cluster_name": POLICY, "endpoints": [{"lb_endpoints": [endpoint()]}]}
    return {"name": POLICY, "type": "STATIC", "connect_timeout": "0.25s", "load_assignment": assignment}


def _mutual(folder: Path, name: str) -> Json:
    """TLS with a client's certificate, always."""
    context: Mapping[str, object] = {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "alpn_protocols": ["h2"],
        "tls_certificate_sds_secret_configs": [_found_in(folder, f"{name}-own")],
        "validation_context_sds_secret_config": _found_in(folder, f"{name}-clients"),
    }
    return extension("envoy.transport_sockets.tls", TLS, require_client_certificate=True, common_tls_context=context)


def _found_in(folder: Path, name: str) -> Json:
    source = {"path_config_source": {"path": str(folder / f"{name}.json")}, "resource_api_version": "V3"}
    return {"name": name, "sds_config": source}


def _own(name: str, tls: Tls) -> Json:
    pair = {"certificate_chain": file(tls.cert), "private_key": file(tls.key), "watched_directory": _folder(tls.cert)}
    return typed(SECRET, name=f"{name}-own", tls_certificate=pair)


def _clients(name: str, tls: Tls) -> Json:
    context = {
        "trusted_ca": file(tls.client_ca),
        "watched_directory": _folder(tls.client_ca),
        "match_typed_subject_alt_names": [_named(client) for client in tls.allowed_clients],
    }
    return typed(SECRET, name=f"{name}-clients", validation_context=context)


def _named(client: str) -> Json:
    """A client's name, letter by letter: matched as `exact`, a certificate for `*.example` would be one for each name there. A
    URI has a colon and a DNS name has none, so neither passes for the other.
    """
    kind = "URI" if ":" in client else "DNS"
    return {"san_type": kind, "matcher": {"safe_regex": {"regex": re.escape(client)}}}


def _folder(path: Path) -> Json:
    return {"path": str(path.parent)}
