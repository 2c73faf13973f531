"""Envoy's configuration dump as what is judged: its HTTP connection managers, their filters and routes, and its clusters."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from extproc.doctor.finding import Needs
from extproc.doctor.tree import Json, kind, node, nodes, number, word, words
from extproc.envoy.processor import NAMESPACE
from extproc.policy.names import Address, parse_address

DEFAULT_BUFFER: Final = 1024 * 1024
"""Bytes that Envoy buffers where nothing is said (PROTOCOL 3)."""


@dataclass(frozen=True, slots=True)
class Manager:
    """One HTTP connection manager: `where` it is, what its listener buffers, and the route tables that it may use."""

    where: str
    config: Json
    buffer_bytes: float
    tables: tuple[Json, ...]

    @property
    def filters(self) -> list[Json]:
        return nodes(self.config, "http_filters")


def managers(dump: Json) -> Iterator[Manager]:
    """Every one that Envoy has for others. A listener inside Envoy, as that of the server in the same process, is not reached
    from outside.
    """
    tables = list(_tables(dump))
    for listener in (one for one in _listeners(dump) if "internal_listener" not in one):
        where = f"listener {word(listener, 'name') or 'without a name'}"
        buffer_bytes = number(listener, "per_connection_buffer_limit_bytes", default=DEFAULT_BUFFER)
        chains = [*nodes(listener, "filter_chains"), node(listener, "default_filter_chain")]
        for config in (node(one, "typed_config") for chain in chains for one in nodes(chain, "filters")):
            if kind(config) == "HttpConnectionManager":
                yield Manager(where, config, buffer_bytes, tuple(_own(config, tables)))


def processors(filters: list[Json]) -> list[Json]:
    """The ext_proc filters among them."""
    return [one for one in filters if kind(node(one, "typed_config")) == "ExternalProcessor"]


def ours(filters: list[Json], dump: Json, needs: Needs | None) -> list[Json]:
    """Those that lead to this server: all, unless some are known by the server's address or by our metadata."""
    found = processors(filters)
    listen = needs.listen if needs else ()
    by_address = [one for one in found if _leads_to(cluster_named(dump, cluster_of(one)), listen)]
    by_metadata = [one for one in found if NAMESPACE in words(one, "typed_config", *UNTYPED)]
    return by_address or by_metadata or found


UNTYPED: Final = ("metadata_options", "receiving_namespaces", "untyped")


def cluster_of(processor: Json) -> str:
    """The name of the cluster of an ext_proc filter; empty if it uses Google's client."""
    return word(processor, "typed_config", "grpc_service", "envoy_grpc", "cluster_name")


def cluster_named(dump: Json, name: str) -> Json:
    """The cluster's configuration; empty if there is none."""
    for part in nodes(dump, "configs"):
        for entry in [*nodes(part, "static_clusters"), *nodes(part, "dynamic_active_clusters")]:
            if word(entry, "cluster", "name") == name:
                return node(entry, "cluster")
    return {}


def _listeners(dump: Json) -> Iterator[Json]:
    for part in nodes(dump, "configs"):
        yield from (node(entry, "listener") for entry in nodes(part, "static_listeners"))
        yield from (node(entry, "active_state", "listener") for entry in nodes(part, "dynamic_listeners"))


def _tables(dump: Json) -> Iterator[Json]:
    """The route tables that Envoy was given apart from its listeners."""
    for part in nodes(dump, "configs"):
        for entry in [*nodes(part, "static_route_configs"), *nodes(part, "dynamic_route_configs")]:
            yield node(entry, "route_config")


def _own(config: Json, tables: list[Json]) -> list[Json]:
    if "route_config" in config:
        return [node(config, "route_config")]
    name = word(config, "rds", "route_config_name")
    return [table for table in tables if not name or word(table, "name") == name]


def _leads_to(cluster: Json, listen: tuple[str, ...]) -> bool:
    """Whether an endpoint is one of these addresses, or that of one of its workers (`-0` before a socket's suffix)."""
    groups = nodes(cluster, "load_assignment", "endpoints")
    places = [node(one, "endpoint", "address") for group in groups for one in nodes(group, "lb_endpoints")]
    paths = {word(place, "pipe", "path") for place in places} - {""}
    ports = {
        (word(place, "socket_address", "address"), number(place, "socket_address", "port_value")) for place in places
    }
    for address in map(_parsed, listen):
        if address.path is not None and any(_is_worker(path, str(address.path)) for path in paths):
            return True
        if (address.host, address.port) in ports:
            return True
    return False


def _is_worker(path: str, listen: str) -> bool:
    stem, dot, suffix = listen.rpartition(".")
    return path == listen or (path.startswith(f"{stem}-") and path.endswith(f"{dot}{suffix}"))


def _parsed(text: str) -> Address:
    """An address as the server tells it; one that leads nowhere if it is none."""
    try:
        return parse_address(text)
    except ValueError:
        return Address()
