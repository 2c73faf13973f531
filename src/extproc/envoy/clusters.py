"""Clusters: the ext_proc server's workers, and one for each Backend."""

from ipaddress import ip_address
from typing import Final

from extproc.envoy.plan import Json, Plan, Tls, Upstream
from extproc.envoy.processor import BACKEND, EXT_PROC, NAMESPACE, upstream_filters
from extproc.envoy.shape import address, endpoint, extension, file, typed
from extproc.errors import ConfigError
from extproc.policy.names import Address

HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
MANY: Final = 100_000
"""Envoy's default of 1024 requests would answer errors long before the server is busy (PROTOCOL 3), and that of 3 retries would
leave the fourth caller with a Backend that is down, whichever comes after it.
"""
LOOKUP: Final[Json] = {"query_timeout_seconds": 1, "query_tries": 2}
"""A DNS server may say nothing, as where a NetworkPolicy swallows the question. Until Envoy has asked for the addresses of all
Backends it opens no listener, which with its own patience is a minute and a half; and it asks again every five seconds.
"""


def ext_proc_cluster(plan: Plan) -> Json:
    """The workers, each with a socket of its own: Envoy balances requests, while the kernel would balance connections."""
    http2 = {"connection_keepalive": {"interval": "30s", "timeout": "5s"}}
    options = typed(HTTP_OPTIONS, explicit_http_config={"http2_protocol_options": http2})
    return {
        "name": EXT_PROC,
        "type": "STATIC",
        "connect_timeout": "0.25s",
        "lb_policy": "LEAST_REQUEST",
        "common_lb_config": {"healthy_panic_threshold": {"value": 1}},
        "typed_extension_protocol_options": {HTTP_OPTIONS: options},
        "circuit_breakers": {"thresholds": [_raised()]},
        "health_checks": [_health_check()],
        "load_assignment": _endpoints(EXT_PROC, [endpoint(address(socket)) for socket in plan.sockets]),
    }


def backend_cluster(upstream: Upstream, plan: Plan) -> Json:
    """A Backend. With TLS its certificate must be for its name: a trusted authority alone checks none (PROTOCOL 4.2)."""
    where = address(Address(host=upstream.host.strip("[]"), port=upstream.port))
    cluster: dict[str, object] = {
        "name": upstream.cluster,
        **_discovery(upstream, plan),
        "connect_timeout": "5s",
        "per_connection_buffer_limit_bytes": plan.buffer_bytes,
        "circuit_breakers": {"thresholds": [_raised()]},
        "load_assignment": _endpoints(upstream.cluster, [endpoint(where, upstream.authority, _named(upstream))]),
        "typed_extension_protocol_options": {HTTP_OPTIONS: _protocols(upstream, plan)},
    }
    if upstream.tls:
        cluster["transport_socket"] = _tls(upstream.tls, plan)
    return cluster


def fallback_cluster(name: str, upstreams: tuple[Upstream, ...], plan: Plan) -> Json:
    """Several Backends, each tried after the one before it. The filters of their own clusters do not run (PROTOCOL 8): it has
    its own, which is told by the endpoint whose turn it is.
    """
    kind = "envoy.extensions.clusters.composite.v3.ClusterConfig"
    members = [{"name": upstream.cluster} for upstream in upstreams]
    filters = {"http_filters": upstream_filters(plan)} if any(one.upstream_pass for one in upstreams) else {}
    options = typed(HTTP_OPTIONS, explicit_http_config={"http_protocol_options": {}}, **filters)
    return {
        "name": name,
        "connect_timeout": "5s",
        "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": extension("envoy.clusters.composite", kind, clusters=members),
        "per_connection_buffer_limit_bytes": plan.buffer_bytes,
        "circuit_breakers": {"thresholds": [_raised()]},
        "typed_extension_protocol_options": {HTTP_OPTIONS: options},
    }


def _named(upstream: Upstream) -> Json:
    """The metadata of its endpoints: which Backend they are of."""
    return {"filter_metadata": {NAMESPACE: {BACKEND: upstream.backend}}} if upstream.backend else {}


def _discovery(upstream: Upstream, plan: Plan) -> Json:
    """All addresses that the name has now, asked again when its time to live is over. The search domains of a pod would
    make `redis.cache` a Service of the cluster: they count only for a Backend that may be inside, and so does the cluster's
    DNS where others are named, which may lead every other name to this gateway again.
    """
    if _is_ip(upstream.host):
        return {"type": "STATIC"}
    kind = "envoy.extensions.clusters.dns.v3.DnsCluster"
    cares = "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"
    fields = {**LOOKUP, "dns_resolver_options": {"no_default_search_domain": not upstream.internal}}
    if plan.resolvers and not upstream.internal:
        fields["resolvers"] = [address(resolver) for resolver in plan.resolvers]
    resolver = extension("envoy.network.dns_resolver.cares", cares, **fields)
    return {
        "cluster_type": extension(
            "envoy.cluster.dns",
            kind,
            dns_lookup_family="V4_PREFERRED",
            respect_dns_ttl=True,
            dns_refresh_rate="5s",
            typed_dns_resolver_config=resolver,
        )
    }


def _protocols(upstream: Upstream, plan: Plan) -> Json:
    """HTTP/2 where the Backend offers it in its TLS handshake, else HTTP/1.1; and what is done at each try."""
    http1: Json = {"enable_trailers": True} if plan.trailers else {}
    filters = {"http_filters": upstream_filters(plan)} if upstream.upstream_pass else {}
    if upstream.tls:
        both = {"http_protocol_options": http1, "http2_protocol_options": {}}
        return typed(HTTP_OPTIONS, auto_config=both, **filters)
    return typed(HTTP_OPTIONS, explicit_http_config={"http_protocol_options": http1}, **filters)


def _tls(tls: Tls, plan: Plan) -> Json:
    authority = tls.ca or plan.system_ca
    if authority is None:
        raise ConfigError(
            "there is no file of the system's certificate authorities: write `fqdn.tls.ca` at each Backend"
        )
    kind = "IP_ADDRESS" if _is_ip(tls.name) else "DNS"
    names = [{"san_type": kind, "matcher": {"exact": tls.name.strip("[]")}}]
    common: dict[str, object] = {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
        "validation_context": {"trusted_ca": file(authority), "match_typed_subject_alt_names": names},
    }
    if tls.cert and tls.key:
        common["tls_certificates"] = [{"certificate_chain": file(tls.cert), "private_key": file(tls.key)}]
    sni = {} if kind == "IP_ADDRESS" else {"sni": tls.name}
    kind = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
    return extension("envoy.transport_sockets.tls", kind, **sni, common_tls_context=common)


def _health_check() -> Json:
    """A worker that drains says so and gets no more exchanges while another one serves; if none does, all are tried (Envoy's
    own way is to try them all as soon as fewer than half serve).
    """
    return {
        "timeout": "1s",
        "interval": "1s",
        "no_traffic_interval": "1s",
        "unhealthy_threshold": 1,
        "healthy_threshold": 1,
        "grpc_health_check": {"service_name": ""},
    }


def _raised() -> Json:
    return {"max_connections": MANY, "max_pending_requests": MANY, "max_requests": MANY, "max_retries": MANY}


def _endpoints(cluster: str, endpoints: list[Json]) -> Json:
    return {"cluster_name": cluster, "endpoints": [{"lb_endpoints": endpoints}]}


def _is_ip(host: str) -> bool:
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
