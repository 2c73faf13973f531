"""What Envoy says of its configuration, whoever gave it: the bootstrap or a control plane (listeners, routes, clusters, single
filters and secrets that came on their own).
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from extproc.doctor.tree import Json, kind, node, nodes, word

PARTS: Final = {
    "clusters": ("static_clusters", "dynamic_active_clusters"),
    "tables": ("static_route_configs", "dynamic_route_configs"),
    "secrets": ("static_secrets", "dynamic_active_secrets"),
}
"""Where the dump has what is in force. What still warms, or was refused, is not."""

DUMPED: Final = re.compile(r"goo\.gle/debugonly|[`\n{]")
"""Where Envoy's own words may go on with the configuration that it refused, which nobody needs here."""

INSIDE: Final = "internal_listener"
"""The field of a listener inside Envoy, as that of the server in the same process: nobody reaches it from outside."""


@dataclass(frozen=True, slots=True)
class Dump:
    """What is in force. `extensions` are filters that came on their own (ECDS), `hosts` the endpoints of a cluster as Envoy
    sees them now, `refused` what Envoy did not take over, with its own words.
    """

    bootstrap: Json
    listeners: tuple[Json, ...]
    tables: tuple[Json, ...]
    clusters: Mapping[str, Json]
    secrets: Mapping[str, Json]
    extensions: Mapping[str, Json]
    hosts: Mapping[str, tuple[Json, ...]]
    refused: tuple[tuple[str, str], ...]

    def filters(self, listed: list[Json]) -> list[Json]:
        """HTTP filters, each with the configuration that it has."""
        return [self._delivered(one) if "config_discovery" in one else one for one in listed]

    def _delivered(self, one: Json) -> Json:
        default = node(one, "config_discovery", "default_config")
        return {**one, "typed_config": self.extensions.get(word(one, "name"), default)}


def read(dump: Json, statuses: Json) -> Dump:
    """Of `/config_dump` and `/clusters?format=json`."""
    extensions = [node(entry, "ecds_filter") for entry in _entries(dump, ("ecds_filters",))]
    hosts = defaultdict[str, tuple[Json, ...]](tuple)
    for each in nodes(statuses, "cluster_statuses"):
        hosts[word(each, "name")] += tuple(nodes(each, "host_statuses"))
    return Dump(
        bootstrap=next((found for part in nodes(dump, "configs") if (found := node(part, "bootstrap"))), {}),
        listeners=tuple(one for one in _listeners(dump) if INSIDE not in one),
        tables=tuple(node(entry, "route_config") for entry in _entries(dump, PARTS["tables"])),
        clusters=_named(node(entry, "cluster") for entry in _entries(dump, PARTS["clusters"])),
        secrets=_named(node(entry, "secret") for entry in _entries(dump, PARTS["secrets"])),
        extensions={
            word(one, "name"): node(one, "typed_config") for one in extensions if kind(node(one, "typed_config"))
        },
        hosts=hosts,
        refused=tuple({details: (what, details) for what, details in reversed(list(_refused(dump)))}.values())[::-1],
    )


def _entries(dump: Json, names: tuple[str, ...]) -> Iterator[Json]:
    for part in nodes(dump, "configs"):
        for name in names:
            yield from nodes(part, name)


def _listeners(dump: Json) -> Iterator[Json]:
    yield from (node(entry, "listener") for entry in _entries(dump, ("static_listeners",)))
    yield from (node(entry, "active_state", "listener") for entry in _entries(dump, ("dynamic_listeners",)))


def _named(found: Iterator[Json]) -> dict[str, Json]:
    """By name; the first counts."""
    named: dict[str, Json] = {}
    for each in found:
        named.setdefault(word(each, "name"), each)
    return named


def _refused(dump: Json) -> Iterator[tuple[str, str]]:
    """What a control plane sent and Envoy did not take. A listener is there twice, the second time without its name."""
    for what, listed in (
        ("listener", "dynamic_listeners"), ("clusters", "dynamic_active_clusters"), ("clusters", "dynamic_warming_clusters"),
        ("routes", "dynamic_route_configs"), ("filter", "ecds_filters"), ("secret", "dynamic_active_secrets"),
        ("secret", "dynamic_warming_secrets"),
    ):  # fmt: skip
        for entry in _entries(dump, (listed,)):
            if details := word(entry, "error_state", "details"):
                yield f"{what} {_name(entry)}".rstrip(), DUMPED.split(details, maxsplit=1)[0].strip()


def _name(entry: Json) -> str:
    inside = (word(entry, name, "name") for name in ("cluster", "route_config", "ecds_filter", "secret"))
    return word(entry, "name") or next(filter(None, inside), "")
