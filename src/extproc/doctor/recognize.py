"""Which ext_proc filters lead to this server? Their names tell nothing: each control plane has its own."""

from collections.abc import Callable
from typing import Final

from extproc.doctor.dump import Dump
from extproc.doctor.needs import Needs
from extproc.doctor.roads import Instance
from extproc.doctor.tree import Json, node, nodes, number, word, words
from extproc.envoy.processor import NAMESPACE
from extproc.policy.names import Address, parse_address

UNTYPED: Final = ("metadata_options", "receiving_namespaces", "untyped")
ANY: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - what a server says that it listens on, at every address

Mine = Callable[[Json], bool]
"""Whether an ext_proc filter with this configuration asks this server."""


def recognizer(found: list[Instance], dump: Dump, needs: Needs | None) -> Mine:
    """Those with the server's address or with our metadata; where none of `found` has either, all count."""
    names = {name for one in found if (name := cluster_of(one.config))}
    reached = {name for name in names if _leads_here(name, dump, needs)}

    def known(config: Json) -> bool:
        return cluster_of(config) in reached or NAMESPACE in words(config, *UNTYPED)

    return known if any(known(one.config) for one in found) else lambda _config: True


def cluster_of(config: Json) -> str:
    """The name of the cluster of an ext_proc filter; empty if it uses Google's client."""
    return word(config, "grpc_service", "envoy_grpc", "cluster_name")


def _leads_here(name: str, dump: Dump, needs: Needs | None) -> bool:
    """Whether an endpoint is one of the server's addresses, or that of one of its workers (`-0` before a socket's suffix)."""
    groups = nodes(dump.clusters.get(name, {}), "load_assignment", "endpoints")
    places = [node(one, "endpoint", "address") for group in groups for one in nodes(group, "lb_endpoints")]
    places += [node(host, "address") for host in dump.hosts.get(name, ())]
    return any(_is_at(place, address) for place in places for address in map(_parsed, needs.listen if needs else ()))


def _is_at(place: Json, address: Address) -> bool:
    path, socket = word(place, "pipe", "path"), node(place, "socket_address")
    if address.path is not None:
        return bool(path) and _is_worker(path, str(address.path))
    same_host = address.host in ANY or word(socket, "address") == address.host
    return bool(socket) and same_host and number(socket, "port_value") == address.port


def _is_worker(path: str, listen: str) -> bool:
    stem, dot, suffix = listen.rpartition(".")
    return path == listen or (path.startswith(f"{stem}-") and path.endswith(f"{dot}{suffix}"))


def _parsed(text: str) -> Address:
    """An address as the server tells it; one that leads nowhere if it is none."""
    try:
        return parse_address(text)
    except ValueError:
        return Address()
