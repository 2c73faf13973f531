"""Is there a route, or an upgrade, that goes around the ext_proc filter, or that weakens it?"""

from collections.abc import Iterator

from extproc.doctor.finding import Code, Finding
from extproc.doctor.needs import Needs
from extproc.doctor.processor import of_metadata, of_modes, of_modifier, of_pass, of_published
from extproc.doctor.recognize import Mine
from extproc.doctor.roads import Instance, Manager, Road, inner, is_processor
from extproc.doctor.tree import Json, kind, node, nodes, word, words
from extproc.envoy.processor import NAMESPACE


def of_coverage(manager: Manager, mine: Mine) -> Iterator[Finding]:
    """Does every way to a destination meet the server, and once?"""
    found = [one for one in manager.processors if mine(one.config)]
    if not found:
        problem = "the ext_proc filter is not in its chain: requests pass unjudged"
        remedy = "add it before the router; `extproc envoy` shows how"
        yield Finding(Code.FILTER_MISSING, manager.where, problem, remedy)
        return
    met = [(road, [one for one in manager.met(road) if mine(one.config)]) for road in manager.roads]
    if met and not any(ones for _, ones in met) and not any(_switched(manager, road, mine) for road in manager.roads):
        for one in found:
            problem = "it is disabled: requests pass unjudged unless a route enables it"
            yield Finding(Code.FILTER_DISABLED, one.place, problem, "remove that")
        return
    for road, ones in met:
        if not ones:
            yield _around(road, _switched(manager, road, mine))
    yield from _of_several(manager.where, [(road, ones) for road, ones in met if len(ones) > 1])


def of_settings(manager: Manager, mine: Mine, needs: Needs | None) -> Iterator[Finding]:
    """What the routes change of the filters, and what they say of filters that are not there."""
    for road in manager.roads:
        for one in manager.met(road):
            if mine(one.config):
                yield from _of_overrides(road, one.name, mine, needs)
        names = {one.name for pair in manager.listed(road) for one in pair}
        yield from _of_unknown(road, names)


def of_upgrades(manager: Manager) -> Iterator[Finding]:
    """An upgrade may have a chain of filters of its own."""
    for upgrade in nodes(manager.config, "upgrade_configs"):
        listed = [node(one, "typed_config") for one in nodes(upgrade, "filters")]
        if listed and not any(kind(one) == "ExternalProcessor" for one in listed):
            problem = f"upgrades to {word(upgrade, 'upgrade_type')!r} have filters of their own, without ext_proc"
            remedy = "remove these filters, or add ext_proc to them"
            yield Finding(Code.MANAGER_UPGRADE, manager.where, problem, remedy)


def of_tables(manager: Manager) -> Iterator[Finding]:
    """Routes that are not there, and those that cannot be read."""
    name = word(manager.config, "rds", "route_config_name")
    if name and not manager.tables:
        problem = f"its route table {name!r} has not come: every request is answered 404"
        yield Finding(Code.MANAGER_ROUTES, manager.where, problem, "look into the control plane's log")
    for table in manager.tables:
        for host in nodes(table, "virtual_hosts"):
            if node(host, "matcher"):
                where = f"{manager.where}, route table {word(table, 'name')}, virtual host {word(host, 'name')}"
                problem = (
                    "its routes are in a matcher, which is not read here: whether they meet the server is not known"
                )
                yield Finding(Code.ROUTE_UNREAD, where, problem, "write them as routes, or look yourself")


def of_mirrors(manager: Manager, needs: Needs | None) -> Iterator[Finding]:
    """Who gets a request a second time gets it with the credential (PROTOCOL 8)."""
    for road in manager.roads if needs and needs.injects else ():
        for place in (road.action, road.host, *manager.tables):
            for mirror in nodes(place, "request_mirror_policies"):
                to = word(mirror, "cluster") or word(mirror, "cluster_header")
                problem = f"each request is sent to {to} too, with the credential that is not for it"
                yield Finding(Code.ROUTE_MIRROR, road.where, problem, "remove request_mirror_policies")


def _switched(manager: Manager, road: Road, mine: Mine) -> str:
    """Where the server's filter, or the one that stands for it, was switched off for this road; empty if nowhere."""
    for holder, each in manager.listed(road):
        if is_processor(each) and mine(each.config):
            for on, where in (road.applied(each), road.chained(holder)):
                if where and not on:
                    return where
    return ""


def _around(road: Road, switched_at: str) -> Finding:
    """Where it was switched off, or where nobody switched it on."""
    if switched_at:
        problem = "the ext_proc filter is disabled here: requests pass unjudged"
        return Finding(Code.ROUTE_DISABLED, switched_at, problem, "remove that")
    problem = "the ext_proc filter is not enabled here, as it is on other routes: requests pass unjudged"
    return Finding(Code.ROUTE_UNCOVERED, road.where, problem, "attach the policy that enables it to all routes")


def _of_several(where: str, met: list[tuple[Road, list[Instance]]]) -> Iterator[Finding]:
    """Each list of filters once, however many routes meet them."""
    for names in sorted({", ".join(one.name for one in ones) for _, ones in met}):
        problem = f"several filters of a route ask the server ({names}): each request is judged and counted as often"
        yield Finding(Code.FILTER_TWICE, where, problem, "leave one of them")


def _of_overrides(road: Road, name: str, mine: Mine, needs: Needs | None) -> Iterator[Finding]:
    """The most specific place that sets a field counts."""
    said: dict[str, tuple[str, Json]] = {}
    for where, setting in road.settings(name):
        overrides = node(inner(setting), "overrides")
        said |= dict.fromkeys(overrides, (where, overrides))
    for field, (where, overrides) in said.items():
        yield from _of_override(field, where, overrides, mine, needs)


def _of_override(field: str, where: str, overrides: Json, mine: Mine, needs: Needs | None) -> Iterator[Finding]:
    received = node(overrides, "metadata_options", "receiving_namespaces")
    if field == "failure_mode_allow" and overrides[field] is True:
        problem = "failure_mode_allow is true here: whatever the server cannot answer passes unjudged"
        yield Finding(Code.ROUTE_FAILURE_MODE, where, problem, "remove that")
    elif field == "grpc_service" and not (node(overrides, field) and mine(overrides)):
        yield Finding(Code.ROUTE_SERVER, where, "another server is asked here", "remove grpc_service")
    elif field == "processing_mode":
        yield from of_modes(where, node(overrides, field), needs)
    elif field == "metadata_options" and received:
        if NAMESPACE not in words(received, "untyped"):
            yield of_metadata(where)
        yield from of_published(where, words(received, "untyped"), needs)
    elif field == "grpc_initial_metadata":
        yield from of_pass(where, nodes(overrides, field))
    elif field == "processing_request_modifier":
        yield of_modifier(where)


def _of_unknown(road: Road, names: set[str]) -> Iterator[Finding]:
    for where, settings in road.levels:
        for other in settings.keys() - names:
            if kind(inner(node(settings, other))) == "ExtProcPerRoute":
                problem = f"typed_per_filter_config names {other!r}, and no filter is called so: it does nothing"
                remedy = f"write one of {', '.join(map(repr, sorted(names)))}, or remove it"
                yield Finding(Code.ROUTE_UNKNOWN, where, problem, remedy)
