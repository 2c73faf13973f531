"""Configurations as control planes give them to Envoy, whole and right, over xDS: here from files.

Written after what the control planes document and test: Envoy Gateway's translator (its test data `xds-ir/ext-proc*.yaml`;
first a disabled filter that routes enable, in newer ones a `filter_chain` that virtual hosts and routes fill), and Istio's
gateway listeners with an EnvoyFilter that inserts the filter before the router (istio.io, "Envoy Filter").
"""

import json
from pathlib import Path
from typing import Any

from extproc.doctor.needs import Needs

TYPES = "type.googleapis.com/envoy."
HCM = f"{TYPES}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
EXT_PROC = f"{TYPES}extensions.filters.http.ext_proc.v3.ExternalProcessor"
ROUTER = {
    "name": "envoy.filters.http.router",
    "typed_config": {"@type": f"{TYPES}extensions.filters.http.router.v3.Router"},
}
HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
CHAIN = "envoy.filters.http.filter_chain.eep"
FILTER_CHAIN = f"{TYPES}extensions.filters.http.filter_chain.v3"
FILTER_CONFIG = f"{TYPES}config.route.v3.FilterConfig"
DESTINATION = {"gateway": "httproute/egress/openai/rule/0", "istio": "outbound|443||api.openai.com"}

Json = dict[str, Any]


def needs(socket: Path) -> Needs:
    return Needs(True, False, 1048576, 0.8, (f"unix://{socket}",), hosts=("api.openai.com",))


def processor(cluster: str) -> Json:
    """The filter, as an EnvoyExtensionPolicy says it; trailers and `xds.cluster_name` take an EnvoyPatchPolicy."""
    return {
        "@type": EXT_PROC,
        "grpc_service": {"envoy_grpc": {"cluster_name": cluster, "authority": "extproc"}, "timeout": "10s"},
        "allow_mode_override": True,
        "message_timeout": "1s",
        "status_on_error": {"code": "ServiceUnavailable"},
        "metadata_options": {"receiving_namespaces": {"untyped": ["extproc"]}},
        "request_attributes": ["xds.cluster_name", "xds.route_name", "source.address"],
        "response_attributes": ["response.code_details"],
        "processing_mode": {
            "request_header_mode": "SEND",
            "response_header_mode": "SEND",
            "request_body_mode": "BUFFERED",
            "request_trailer_mode": "SEND",
            "response_trailer_mode": "SKIP",
        },
    }


class Plane:
    """What a control plane sends, to be changed and then written down."""

    def __init__(self, directory: Path, authority: Path) -> None:
        self.directory, self.authority = directory, authority
        self.filters: list[Json] = []
        self.route: Json = {}
        self.host: Json = {}
        self.listeners: list[Json] = []
        self.clusters: list[Json] = []
        self.routes: list[Json] = []
        self.extensions: list[Json] = []
        self.endpoints: list[Json] = []

    def source(self, kind: str) -> Json:
        return {"path_config_source": {"path": str(self.directory / f"{kind}.json")}, "resource_api_version": "V3"}

    def manager(self, name: str, table: str, **fields: Any) -> Json:
        """A connection manager that asks for its routes."""
        config = {
            "@type": HCM,
            "stat_prefix": name,
            "use_remote_address": True,
            "normalize_path": True,
            "merge_slashes": True,
            "http_filters": self.filters,
            "rds": {"config_source": self.source("rds"), "route_config_name": table},
            **fields,
        }
        return {"name": "envoy.filters.network.http_connection_manager", "typed_config": config}

    def eds(self, name: str, *places: Json, hostname: str = "") -> Json:
        """A cluster whose endpoints come on their own."""
        endpoints = [{"endpoint": {"address": place, "hostname": hostname}} for place in places]
        self.endpoints.append({"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]})
        return {
            "name": name,
            "type": "EDS",
            "connect_timeout": "10s",
            "eds_cluster_config": {"eds_config": self.source(f"eds-{len(self.endpoints)}"), "service_name": name},
            "per_connection_buffer_limit_bytes": 32768,
        }

    def server(self, name: str) -> Json:
        """The server's own cluster, its breaker raised."""
        cluster = self.eds(name, {"pipe": {"path": str(self.directory / "extproc.sock")}})
        http2 = {"http2_protocol_options": {"initial_stream_window_size": 65536}}
        raised = {"max_connections": 100000, "max_requests": 100000, "max_pending_requests": 100000}
        cluster["circuit_breakers"] = {"thresholds": [raised]}
        kind = f"type.googleapis.com/{HTTP}"
        cluster["typed_extension_protocol_options"] = {HTTP: {"@type": kind, "explicit_http_config": http2}}
        return cluster

    def destination(self, name: str) -> Json:
        """A provider over TLS, with an authority that comes on its own (SDS), and its name."""
        cluster = self.eds(
            name, {"socket_address": {"address": "192.0.2.1", "port_value": 443}}, hostname="api.openai.com"
        )
        names = [{"san_type": "DNS", "matcher": {"exact": "api.openai.com"}}]
        combined = {
            "default_validation_context": {"match_typed_subject_alt_names": names},
            "validation_context_sds_secret_config": {"name": "authority", "sds_config": self.source("sds")},
        }
        kind = f"{TYPES}extensions.transport_sockets.tls.v3.UpstreamTlsContext"
        tls = {"@type": kind, "sni": "api.openai.com", "common_tls_context": {"combined_validation_context": combined}}
        cluster["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": tls}
        return cluster

    def bootstrap(self) -> Json:
        """Write everything down; what Envoy starts with."""
        eds = enumerate(self.endpoints, 1)
        secret = {"name": "authority", "validation_context": {"trusted_ca": {"filename": str(self.authority)}}}
        for kind, message, found in (
            ("lds", "config.listener.v3.Listener", self.listeners),
            ("rds", "config.route.v3.RouteConfiguration", self.routes),
            ("cds", "config.cluster.v3.Cluster", self.clusters),
            ("ecds", "config.core.v3.TypedExtensionConfig", self.extensions),
            ("sds", "extensions.transport_sockets.tls.v3.Secret", [secret]),
            *((f"eds-{number}", "config.endpoint.v3.ClusterLoadAssignment", [each]) for number, each in eds),
        ):
            resources = [{"@type": f"{TYPES}{message}", **each} for each in found]
            text = json.dumps({"version_info": "1", "resources": resources})
            (self.directory / f"{kind}.json").write_text(text)
        dynamic = {"lds_config": self.source("lds"), "cds_config": self.source("cds")}
        return {"node": {"id": "gateway", "cluster": "gateway"}, "dynamic_resources": dynamic}


def listener(name: str, manager: Json, **fields: Any) -> Json:
    place = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    return {"name": name, "address": place, "default_filter_chain": {"filters": [manager]}, **fields}


def envoy_gateway(directory: Path, authority: Path) -> Plane:
    """A Gateway with an HTTPRoute to a provider, and an EnvoyExtensionPolicy there: a filter that the route enables."""
    plane = Plane(directory, authority)
    policy, cluster = "envoyextensionpolicy/egress/extproc", "envoyextensionpolicy/egress/extproc/0"
    name = f"envoy.filters.http.ext_proc/{policy}/extproc/0"
    plane.filters += [{"name": name, "disabled": True, "typed_config": processor(cluster)}, ROUTER]
    plane.route |= {
        "name": "httproute/egress/openai/rule/0/match/0/api_openai_com",
        "match": {"path_separated_prefix": "/v1"},
        "route": {
            "cluster": DESTINATION["gateway"],
            "timeout": "0s",
            "upgrade_configs": [{"upgrade_type": "websocket"}],
        },
        "typed_per_filter_config": {name: {"@type": FILTER_CONFIG, "config": {}}},
    }
    plane.host |= {"name": "egress/egress/http/api_openai_com", "domains": ["api.openai.com"], "routes": [plane.route]}
    plane.routes += [
        {"name": "egress/egress/http", "ignore_port_in_host_matching": True, "virtual_hosts": [plane.host]}
    ]
    http = plane.manager("http-10080", "egress/egress/http")
    plane.listeners += [
        listener("egress/egress/http", http, per_connection_buffer_limit_bytes=4194304),
        listener("envoy-gateway-proxy-stats", _to_itself("prometheus_stats")),
    ]
    plane.clusters += [plane.server(cluster), plane.destination(DESTINATION["gateway"]), _itself("prometheus_stats")]
    return plane


def envoy_gateway_filter_chain(directory: Path, authority: Path) -> Plane:
    """The same, where the policy is at the Gateway, as newer versions give it: filters that virtual hosts fill."""
    plane = envoy_gateway(directory, authority)
    cluster = "envoyextensionpolicy/egress/extproc/0"
    plane.filters[0:1] = [
        {"name": f"{CHAIN}.{which}", "disabled": True, "typed_config": {"@type": f"{FILTER_CHAIN}.FilterChainConfig"}}
        for which in ("listener", "route")
    ]
    del plane.route["typed_per_filter_config"]
    plane.host["typed_per_filter_config"] = filled(
        "listener", "envoy.filters.http.ext_proc/listener/0", processor(cluster)
    )
    return plane


def filled(which: str, name: str, config: Json) -> Json:
    """Of a virtual host or a route: what the `filter_chain` filter stands for there."""
    chain = {"filters": [{"name": name, "typed_config": config}]}
    return {f"{CHAIN}.{which}": {"@type": f"{FILTER_CHAIN}.FilterChainConfigPerRoute", "filter_chain": chain}}


def istio(directory: Path, authority: Path) -> Plane:
    """An egress gateway: a ServiceEntry with a DestinationRule, and an EnvoyFilter that adds filter and cluster."""
    plane = Plane(directory, authority)
    metadata = {
        "filter_metadata": {"istio": {"config": "/apis/networking.istio.io/v1/namespaces/egress/gateway/egress"}}
    }
    plane.filters += [
        {
            "name": "istio.metadata_exchange",
            "typed_config": {"@type": f"{TYPES}extensions.filters.http.set_metadata.v3.Config"},
        },
        {"name": "extproc.egress", "typed_config": processor("extproc")},
        ROUTER,
    ]
    plane.route |= {
        "match": {"prefix": "/"},
        "metadata": metadata,
        "route": {"cluster": DESTINATION["istio"], "timeout": "0s", "retry_policy": {"retry_on": "connect-failure"}},
        "decorator": {"operation": "api.openai.com:443/*"},
    }
    plane.host |= {"name": "api.openai.com:80", "domains": ["api.openai.com"], "routes": [plane.route]}
    plane.routes += [{"name": "http.8080", "virtual_hosts": [plane.host], "validate_clusters": False}]
    http = plane.manager("outbound_0.0.0.0_8080", "http.8080", stream_idle_timeout="0s", server_name="istio-envoy")
    plane.listeners += [
        listener("0.0.0.0_8080", http, per_connection_buffer_limit_bytes=4194304),
        listener("", _to_itself("agent")),
    ]
    plane.clusters += [plane.server("extproc"), plane.destination(DESTINATION["istio"]), _itself("agent")]
    return plane


def _to_itself(cluster: str) -> Json:
    """Probes and scrapers: they reach the pod's own processes and nothing else."""
    route = {"match": {"prefix": "/"}, "route": {"cluster": cluster}}
    table = {"virtual_hosts": [{"name": "backend", "domains": ["*"], "routes": [route]}]}
    config = {"@type": HCM, "stat_prefix": cluster, "http_filters": [ROUTER], "route_config": table}
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": config}


def _itself(name: str) -> Json:
    place = {"socket_address": {"address": "127.0.0.1", "port_value": 1}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": place}}]}]
    load = {"cluster_name": name, "endpoints": endpoints}
    return {"name": name, "type": "STATIC", "connect_timeout": "0.25s", "load_assignment": load}
