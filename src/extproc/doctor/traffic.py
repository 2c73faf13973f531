"""Can Envoy reach the server, and did every exchange meet it?"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Final

from extproc.doctor.finding import Finding
from extproc.doctor.tree import Json, node, nodes, number, word

DEFAULT_REQUESTS: Final = 1024
"""Envoy's limit of requests to a cluster where nothing is said: it answers errors long before the server is busy."""

AROUND: Final = re.compile(
    r"(?:http|cluster)\.(?P<where>.+)\.ext_proc\.(?:.+\.)?(?P<what>failure_mode_allowed|server_half_closed|streams_failed)"
)


def of_cluster(name: str, cluster: Json, statuses: Json) -> Iterator[Finding]:
    """The cluster of the server: is it there, has it room, and is anybody in it well?"""
    where = f"cluster {name}"
    if not cluster:
        yield Finding(where, "the ext_proc filter names it, and there is no such cluster", "add it")
        return
    limits = [
        one for one in nodes(cluster, "circuit_breakers", "thresholds") if word(one, "priority") in ("", "DEFAULT")
    ]
    for field in ("max_requests", "max_pending_requests"):
        most = number(limits[0] if limits else {}, field, default=DEFAULT_REQUESTS)
        if most <= DEFAULT_REQUESTS:
            problem = f"its circuit breaker has {field} {most:.0f}: more exchanges at once are answered with an error"
            yield Finding(where, problem, "raise it, for example to 100000")
    hosts = [one for each in nodes(statuses, "cluster_statuses") if word(each, "name") == name for one in _hosts(each)]
    if not hosts:
        yield Finding(where, "Envoy knows no endpoint of it", "give it the address of the server")
    for host in hosts:
        yield from _of_host(where, host)


def of_stats(stats: Mapping[str, float], cluster: str) -> Iterator[Finding]:
    """What Envoy counted."""
    counts: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for name, value in stats.items():
        if match := AROUND.fullmatch(name):
            counts[match["where"]][match["what"]] += value
    for where, found in counts.items():
        yield from _around(f"stats of {where}", found)
    overflow = sum(stats.get(f"cluster.{cluster}.upstream_rq_{kind}_overflow", 0) for kind in ("pending", "active"))
    if overflow:
        problem = f"{overflow:.0f} exchanges were answered with an error since a circuit breaker was full"
        yield Finding(f"cluster {cluster}", problem, "raise max_requests and max_pending_requests, or add workers")


def values(stats: Json) -> dict[str, float]:
    """Counters and gauges of `/stats?format=json` by name."""
    return {word(one, "name"): number(one, "value") for one in nodes(stats, "stats") if "value" in one}


def _around(where: str, counts: Mapping[str, float]) -> Iterator[Finding]:
    if passed := counts["failure_mode_allowed"]:
        problem = f"{passed:.0f} exchanges passed unjudged when the server failed (failure_mode_allowed)"
        yield Finding(where, problem, "set failure_mode_allow to false")
    ended = counts["server_half_closed"] - counts["streams_failed"]
    if ended > 0:
        problem = f"{ended:.0f} exchanges may have passed unjudged: the server ended them cleanly (server_half_closed)"
        yield Finding(where, problem, "this is a defect of the server, or of what is between it and Envoy")


def _hosts(status: Json) -> list[Json]:
    return nodes(status, "host_statuses")


def _of_host(where: str, host: Json) -> Iterator[Finding]:
    health = node(host, "health_status")
    failed = sorted(name for name, value in health.items() if name.startswith("failed_") and value is True)
    other = word(health, "eds_health_status")
    if other not in ("", "HEALTHY", "UNKNOWN"):
        failed.append(other)
    if failed:
        problem = f"{_shown(host)} is not healthy for Envoy ({', '.join(failed)})"
        yield Finding(where, problem, "start the server there, or look into its log")


def _shown(host: Json) -> str:
    path = word(host, "address", "pipe", "path")
    address = node(host, "address", "socket_address")
    return f"unix://{path}" if path else f"{word(address, 'address')}:{number(address, 'port_value'):.0f}"
