"""One HTTP connection manager, judged whole."""

from collections.abc import Iterator
from typing import Final

from extproc.doctor.finding import Code, Finding
from extproc.doctor.limits import of_limits
from extproc.doctor.logs import of_logs
from extproc.doctor.needs import Needs
from extproc.doctor.processor import of_filter
from extproc.doctor.recognize import Mine
from extproc.doctor.roads import Manager
from extproc.doctor.routes import of_coverage, of_mirrors, of_settings, of_tables, of_upgrades
from extproc.doctor.tree import Json, node, nodes, number, word
from extproc.doctor.version import Version, shown

CHAINS_MENDED: Final[Version] = (1, 39, 1)
"""Until then bodies stalled or were cut between two ext_proc filters that stream them (envoy#41654, envoy#44605)."""

STREAMED: Final = frozenset({"STREAMED", "FULL_DUPLEX_STREAMED"})


def of_manager(manager: Manager, mine: Mine, needs: Needs | None, version: Version | None) -> Iterator[Finding]:
    """Everything about it. One that leads nowhere and has no filter, such as a probe's, is nobody's affair."""
    found = [one for one in manager.processors if mine(one.config)]
    yield from of_tables(manager)
    if not manager.roads and not found:
        return
    yield from of_coverage(manager, mine)
    if not found:
        return
    for one in found:
        yield from of_filter(one.place, one.config, needs)
    yield from of_settings(manager, mine, needs)
    yield from of_upgrades(manager)
    yield from of_mirrors(manager, needs)
    yield from of_limits(manager, needs)
    yield from of_logs(manager, needs)
    yield from _of_caller(manager.where, manager.config)
    if version is None or version < CHAINS_MENDED:
        yield from _of_others(manager, mine)


def of_hosts(found: list[Manager], needs: Needs | None) -> Iterator[Finding]:
    """Is there a way for each host that a policy covers?"""
    if any("vhds" in table for manager in found for table in manager.tables):
        return  # the others come when somebody asks for them
    domains = {domain.lower() for manager in found for road in manager.roads for domain in _domains(road.host)}
    for host in needs.hosts if needs else ():
        if not any(_covers(domain, host) for domain in domains):
            problem = "a policy covers it, and no route of this Envoy leads there: requests to it are refused"
            yield Finding(
                Code.HOST_UNROUTED, f"host {host}", problem, "add a virtual host with a route, or remove the Backend"
            )


def _domains(host: Json) -> list[str]:
    told = host.get("domains")
    return [each for each in told if isinstance(each, str)] if isinstance(told, list) else []


def _covers(domain: str, host: str) -> bool:
    """Envoy's: exact, `*.suffix`, `prefix.*` or `*`; a port may follow."""
    bare = domain.rpartition(":")[0] if domain.rpartition(":")[2].isdigit() else domain
    if bare.startswith("*"):
        return host.endswith(bare[1:])
    return host.startswith(bare[:-1]) if bare.endswith("*") else host == bare


def _of_caller(where: str, config: Json) -> Iterator[Finding]:
    """Whose address is it that the server is told?"""
    hops = number(config, "xff_num_trusted_hops")
    if config.get("use_remote_address") is not True and not nodes(config, "original_ip_detection_extensions"):
        problem = "use_remote_address is not true: the caller says its own address and request id"
        yield Finding(Code.MANAGER_ADDRESS, where, problem, "set it to true")
    elif hops:
        problem = f"xff_num_trusted_hops is {hops:.0f}: a caller without so many proxies before it says its own address"
        yield Finding(Code.MANAGER_ADDRESS, where, problem, "remove it, unless nobody can")


def _of_others(manager: Manager, mine: Mine) -> Iterator[Finding]:
    for one in manager.processors:
        modes = node(one.config, "processing_mode")
        if not mine(one.config) and {word(modes, "request_body_mode"), word(modes, "response_body_mode")} & STREAMED:
            problem = "it streams bodies beside the server's own filter: this version of Envoy may cut or stall them"
            yield Finding(Code.FILTER_CHAINED, one.place, problem, f"update Envoy to {shown(CHAINS_MENDED)} or later")
