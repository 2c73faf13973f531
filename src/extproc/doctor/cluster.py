"""The cluster of the server: is it there, has it room, is it spoken to as it must be, and is anybody in it well?"""

from collections.abc import Iterator
from typing import Final

from extproc.doctor.dump import Dump
from extproc.doctor.finding import Code, Finding
from extproc.doctor.origination import is_encrypted, of_cluster_tls
from extproc.doctor.roads import is_near
from extproc.doctor.tree import Json, node, nodes, number, word
from extproc.envoy.clusters import HTTP_OPTIONS

DEFAULT_REQUESTS: Final = 1024
"""Envoy's limit of requests to a cluster where nothing is said: it answers errors long before the server is busy."""

FEW_STREAMS: Final = 100
"""On one connection; with fewer, Envoy opens hundreds of connections under load."""

LEAST_INTERVAL: Final = 10
"""Seconds between pings: a gRPC server may close a connection on which they come more often (PROTOCOL 3)."""


def of_cluster(name: str, dump: Dump) -> Iterator[Finding]:
    """Everything about it, by its name."""
    where, cluster, hosts = f"cluster {name}", dump.clusters.get(name, {}), dump.hosts.get(name, ())
    if not cluster:
        problem = "the ext_proc filter names it, and there is no such cluster"
        yield Finding(Code.CLUSTER_MISSING, where, problem, "add it")
        return
    far = [host for host in hosts if not is_near(host)]
    yield from _of_breaker(where, cluster)
    yield from _of_protocol(where, cluster, far)
    yield from _of_wire(where, cluster, far)
    yield from of_cluster_tls(where, cluster, dump)
    if not hosts:
        yield Finding(Code.CLUSTER_EMPTY, where, "Envoy knows no endpoint of it", "give it the address of the server")
    for host in hosts:
        yield from _of_health(where, host)


def _of_breaker(where: str, cluster: Json) -> Iterator[Finding]:
    limits = [
        one for one in nodes(cluster, "circuit_breakers", "thresholds") if word(one, "priority") in ("", "DEFAULT")
    ]
    for field in ("max_requests", "max_pending_requests"):
        most = number(limits[0] if limits else {}, field, default=DEFAULT_REQUESTS)
        if most <= DEFAULT_REQUESTS:
            problem = f"its circuit breaker has {field} {most:.0f}: more exchanges at once are answered with an error"
            yield Finding(Code.CLUSTER_BREAKER, where, problem, "raise it, for example to 100000")


def _of_protocol(where: str, cluster: Json, far: list[Json]) -> Iterator[Finding]:
    options = node(cluster, "typed_extension_protocol_options", HTTP_OPTIONS)
    explicit, auto = node(options, "explicit_http_config"), node(options, "auto_config")
    places = (explicit, auto, cluster, node(options, "use_downstream_protocol_config"))
    spoken = [node(place, "http2_protocol_options") for place in places if "http2_protocol_options" in place]
    if not spoken and not auto:
        problem = "it is not spoken to in HTTP/2, and gRPC needs that"
        yield Finding(Code.CLUSTER_HTTP2, where, problem, "add explicit_http_config: {http2_protocol_options: {}}")
    for http2 in spoken[:1]:
        streams = number(http2, "max_concurrent_streams", default=FEW_STREAMS)
        if streams < FEW_STREAMS:
            problem = (
                f"max_concurrent_streams is {streams:.0f}: each exchange is a stream, and Envoy opens many connections"
            )
            yield Finding(Code.CLUSTER_STREAMS, where, problem, "remove it")
        yield from _of_pings(where, cluster, http2, far)


def _of_pings(where: str, cluster: Json, http2: Json, far: list[Json]) -> Iterator[Finding]:
    """Is a server that went away without a word missed? On a Unix socket the kernel tells."""
    interval = number(http2, "connection_keepalive", "interval")
    missed = "tcp_keepalive" in node(cluster, "upstream_connection_options") or nodes(cluster, "health_checks")
    if 0 < interval < LEAST_INTERVAL:
        problem = f"connection_keepalive pings every {interval:g} s, over which the server may close the connection"
        yield Finding(Code.CLUSTER_KEEPALIVE, where, problem, f"set interval to {LEAST_INTERVAL}s or more")
    elif far and not interval and not missed:
        problem = "nothing tells Envoy of a server that went away without a word: exchanges wait for their timeout"
        yield Finding(
            Code.CLUSTER_KEEPALIVE, where, problem, "add connection_keepalive, tcp_keepalive or a health check"
        )


def _of_wire(where: str, cluster: Json, far: list[Json]) -> Iterator[Finding]:
    if far and not is_encrypted(cluster):
        problem = (
            f"{_shown(far[0])} is not in this pod, and what is said to it is not encrypted: keys and bodies can be read"
        )
        yield Finding(Code.CLUSTER_PLAINTEXT, where, problem, "use a Unix socket, or TLS with a client certificate")


def _of_health(where: str, host: Json) -> Iterator[Finding]:
    health = node(host, "health_status")
    failed = sorted(name for name, value in health.items() if name.startswith("failed_") and value is True)
    other = word(health, "eds_health_status")
    if other not in ("", "HEALTHY", "UNKNOWN"):
        failed.append(other)
    if failed:
        problem = f"{_shown(host)} is not healthy for Envoy ({', '.join(failed)})"
        yield Finding(Code.CLUSTER_SICK, where, problem, "start the server there, or look into its log")


def _shown(host: Json) -> str:
    """Where an endpoint is."""
    path = word(host, "address", "pipe", "path")
    address = node(host, "address", "socket_address")
    return f"unix://{path}" if path else f"{word(address, 'address')}:{number(address, 'port_value'):.0f}"
