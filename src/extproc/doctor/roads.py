"""The ways that a request can take through an HTTP connection manager to a destination, and the filters that it meets there.

Envoy asks the most specific place of a route (a weighted cluster, the route, its virtual host, the table) whether a filter is
disabled, and enables one that is disabled in the chain if a place says anything else of it: so Envoy Gateway does it. Apart
from that the filter asks the most specific place that speaks to it alone. Filters may also be listed by the places, for a
`filter_chain` filter: a more specific one of the same name replaces the other, and those cannot be disabled one by one. All of
this is compared with a real Envoy in the tests.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import chain
from typing import Final

from extproc.doctor.dump import Dump
from extproc.doctor.tree import Json, kind, node, nodes, number, word

DEFAULT_BUFFER: Final = 1024 * 1024
"""Bytes that Envoy buffers where nothing is said (PROTOCOL 3)."""

OWN_AFFAIRS: Final = frozenset({"prometheus_stats", "agent"})
"""Clusters by which Envoy Gateway and Istio lead scrapers and probes to the gateway's own pod: nothing leaves it."""


@dataclass(frozen=True, slots=True)
class Instance:
    """A filter, where it is listed, and whether the chain has it switched on."""

    name: str
    config: Json
    where: str
    enabled: bool = True

    @property
    def place(self) -> str:
        return f"{self.where}, filter {self.name}"


@dataclass(frozen=True, slots=True)
class Road:
    """A way to a destination. `levels` are the places that may set something for a filter, the least specific first."""

    where: str
    levels: tuple[tuple[str, Json], ...]
    route: Json
    host: Json
    cluster: str

    @property
    def action(self) -> Json:
        return node(self.route, "route")

    def settings(self, name: str) -> Iterator[tuple[str, Json]]:
        """What is set for the filter called `name`, the least specific first; and where."""
        for where, listed in self.levels:
            if name in listed:
                yield where, node(listed, name)

    def chained(self, instance: Instance) -> tuple[bool, str]:
        """Whether the chain has the filter here, and where that was decided: nowhere, if only the chain says so. A place that
        says anything of it, but that it is disabled, enables it.
        """
        has, decided = instance.enabled, ""
        for where, found in self.settings(instance.name):
            has, decided = not (kind(found) == "FilterConfig" and found.get("disabled") is True), where
        return has, decided

    def applied(self, instance: Instance) -> tuple[bool, str]:
        """Whether an ext_proc filter that the chain has is not told, in its own words, to do nothing here; and where."""
        does, decided = True, ""
        for where, found in self.settings(instance.name):
            if kind(inner(found)) == "ExtProcPerRoute":
                does, decided = inner(found).get("disabled") is not True, where
        return does, decided


@dataclass(frozen=True, slots=True)
class Manager:
    """One HTTP connection manager: `where` it is, what its listener buffers, the filters, the ways through it, and the ext_proc
    filters that are listed anywhere.
    """

    where: str
    config: Json
    buffer_bytes: float
    filters: tuple[Instance, ...]
    roads: tuple[Road, ...]
    tables: tuple[Json, ...]
    processors: tuple[Instance, ...]

    def listed(self, road: Road) -> Iterator[tuple[Instance, Instance]]:
        """The filters that could be met on this road, each with the one in the chain that it is, or that stands for it."""
        return ((holder, each) for holder in self.filters for each in stands_for(holder, road))

    def met(self, road: Road) -> list[Instance]:
        """The ext_proc filters that a request on this road meets."""
        pairs = ((holder, each) for holder, each in self.listed(road) if is_processor(each))
        return [each for holder, each in pairs if road.chained(holder)[0] and road.applied(each)[0]]


def is_processor(one: Instance) -> bool:
    return kind(one.config) == "ExternalProcessor"


def inner(setting: Json) -> Json:
    """What is set for a filter, taken out of the FilterConfig that may be around it."""
    return node(setting, "config") if kind(setting) == "FilterConfig" else setting


def stands_for(one: Instance, road: Road) -> list[Instance]:
    """The filter itself; of a `filter_chain` those that it stands for here."""
    if kind(one.config) != "FilterChainConfig":
        return [one]
    chains = [(one.where, node(one.config, "default_filter_chain"))]
    chains += [(where, node(inner(found), "filter_chain")) for where, found in road.settings(one.name)]
    found = (
        Instance(word(each, "name"), node(each, "typed_config"), at)
        for at, listed in chains
        for each in nodes(listed, "filters")
    )
    return list({each.name: each for each in found}.values())


def managers(dump: Dump) -> Iterator[Manager]:
    """Every one that Envoy has for others."""
    for listener in dump.listeners:
        where = f"listener {word(listener, 'name') or 'without a name'}"
        buffer_bytes = number(listener, "per_connection_buffer_limit_bytes", default=DEFAULT_BUFFER)
        chains = [*nodes(listener, "filter_chains"), node(listener, "default_filter_chain")]
        for config in (node(one, "typed_config") for each in chains for one in nodes(each, "filters")):
            if kind(config) == "HttpConnectionManager":
                filters = tuple(_instances(where, dump.filters(nodes(config, "http_filters"))))
                tables = _own(config, dump)
                roads = tuple(road for table in tables for road in _roads(where, table) if not _own_affair(road, dump))
                listed = chain(filters, (each for road in roads for one in filters for each in stands_for(one, road)))
                found = {(one.name, one.where): one for one in listed if is_processor(one)}
                yield Manager(where, config, buffer_bytes, filters, roads, tables, tuple(found.values()))


def _instances(where: str, filters: list[Json]) -> Iterator[Instance]:
    for one in filters:
        yield Instance(word(one, "name"), node(one, "typed_config"), where, enabled=one.get("disabled") is not True)


def _own(config: Json, dump: Dump) -> tuple[Json, ...]:
    if "route_config" in config:
        return (node(config, "route_config"),)
    name = word(config, "rds", "route_config_name")
    return tuple(table for table in dump.tables if not name or word(table, "name") == name)


def _roads(where: str, table: Json) -> Iterator[Road]:
    at = f"{where}, route table {word(table, 'name')}"
    of_table = (at, node(table, "typed_per_filter_config"))
    for host in nodes(table, "virtual_hosts"):
        there = f"{at}, virtual host {word(host, 'name')}"
        levels = (of_table, (there, node(host, "typed_per_filter_config")))
        for route in (one for one in nodes(host, "routes") if "route" in one):
            here = f"{there}, route {word(route, 'name') or 'without a name'}"
            yield from _of_route(here, (*levels, (here, node(route, "typed_per_filter_config"))), route, host)


def _of_route(where: str, levels: tuple[tuple[str, Json], ...], route: Json, host: Json) -> Iterator[Road]:
    clusters = nodes(route, "route", "weighted_clusters", "clusters")
    for cluster in clusters:
        name = word(cluster, "name")
        here = f"{where}, cluster {name}"
        yield Road(here, (*levels, (here, node(cluster, "typed_per_filter_config"))), route, host, name)
    if not clusters:
        yield Road(where, levels, route, host, word(route, "route", "cluster"))


def _own_affair(road: Road, dump: Dump) -> bool:
    return road.cluster in OWN_AFFAIRS and all(is_near(host) for host in dump.hosts.get(road.cluster, ()))


def is_near(host: Json) -> bool:
    """Whether an endpoint is in this pod: a Unix socket, a listener inside Envoy, or a loopback address."""
    try:
        return ip_address(word(host, "address", "socket_address", "address")).is_loopback
    except ValueError:
        return "socket_address" not in node(host, "address")
