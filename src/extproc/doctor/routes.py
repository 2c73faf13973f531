"""Is there a route, or an upgrade, that goes around the ext_proc filter?"""

from collections.abc import Iterator

from extproc.doctor.finding import Finding, Needs
from extproc.doctor.gateway import Manager, processors
from extproc.doctor.processor import of_modes
from extproc.doctor.tree import Json, kind, node, nodes, word

NOWHERE = ("direct_response", "redirect")
"""Routes that lead to no destination."""


def of_routes(manager: Manager, name: str, needs: Needs | None) -> Iterator[Finding]:
    """What the routes say of the filter called `name`, and what they say of a filter that is not there."""
    names = {word(one, "name") for one in manager.filters}
    for where, settings in _settings(manager):
        yield from _of_setting(where, node(settings, name), needs)
        for other in settings.keys() - names:
            if kind(node(settings, other)) == "ExtProcPerRoute":
                problem = f"typed_per_filter_config names {other!r}, and no filter is called so: it does nothing"
                yield Finding(where, problem, f"write {name!r}, or remove it")


def of_upgrades(manager: Manager) -> Iterator[Finding]:
    """An upgrade may have a chain of filters of its own."""
    for upgrade in nodes(manager.config, "upgrade_configs"):
        if nodes(upgrade, "filters") and not processors(nodes(upgrade, "filters")):
            problem = f"upgrades to {word(upgrade, 'upgrade_type')!r} have filters of their own, without ext_proc"
            yield Finding(manager.where, problem, "remove these filters, or add ext_proc to them")


def _of_setting(where: str, setting: Json, needs: Needs | None) -> Iterator[Finding]:
    inner = node(setting, "config") if kind(setting) == "FilterConfig" else setting
    if setting.get("disabled") is True or inner.get("disabled") is True:
        yield Finding(where, "the ext_proc filter is disabled here: requests pass unjudged", "remove that")
    overrides = node(inner, "overrides")
    if overrides.get("failure_mode_allow") is True:
        problem = "failure_mode_allow is true here: whatever the server cannot answer passes unjudged"
        yield Finding(where, problem, "remove that")
    if "grpc_service" in overrides:
        yield Finding(where, "another server is asked here", "remove grpc_service")
    if "processing_mode" in overrides:
        yield from of_modes(where, node(overrides, "processing_mode"), needs)


def _settings(manager: Manager) -> Iterator[tuple[str, Json]]:
    """Every place in the route tables that may set something for a filter."""
    for table in manager.tables:
        where = f"{manager.where}, route table {word(table, 'name')}"
        yield where, node(table, "typed_per_filter_config")
        for host in nodes(table, "virtual_hosts"):
            there = f"{where}, virtual host {word(host, 'name')}"
            yield there, node(host, "typed_per_filter_config")
            for route in nodes(host, "routes"):
                yield from _of_route(f"{there}, route {word(route, 'name') or 'without a name'}", route)


def _of_route(where: str, route: Json) -> Iterator[tuple[str, Json]]:
    if any(name in route for name in NOWHERE):
        return
    yield where, node(route, "typed_per_filter_config")
    for cluster in nodes(route, "route", "weighted_clusters", "clusters"):
        yield f"{where}, cluster {word(cluster, 'name')}", node(cluster, "typed_per_filter_config")
