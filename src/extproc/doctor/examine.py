"""Ask both admin ports, and judge what they say."""

import time
from collections import Counter
from collections.abc import Iterator
from typing import Final

from extproc.doctor.ask import Answer, Unanswered, ask, ask_json, parsed
from extproc.doctor.certificates import of_envoys, of_listeners
from extproc.doctor.clock import of_clocks
from extproc.doctor.cluster import of_cluster
from extproc.doctor.dump import Dump, read
from extproc.doctor.finding import Code, Finding
from extproc.doctor.manager import of_hosts, of_manager
from extproc.doctor.needs import Needs, needs_of
from extproc.doctor.origination import of_origination
from extproc.doctor.recognize import cluster_of, recognizer
from extproc.doctor.roads import managers
from extproc.doctor.server import of_metrics, of_readiness, of_status
from extproc.doctor.sockets import of_sockets
from extproc.doctor.traffic import of_overflow, of_stats, values
from extproc.doctor.tree import Json
from extproc.doctor.upstream import of_upstream
from extproc.doctor.version import of_admin, of_refused, of_runtime, of_version, version_of
from extproc.policy.names import Address

MOST_OF_A_KIND: Final = 20
"""Findings with one code: of a thousand routes that are not covered the first ones say enough."""

STATS: Final = (
    "/stats?format=json&usedonly&filter=%5C.ext_proc%5C.%7C_overflow%24%7C%5C.expiration_unix_time_seconds%24"
)
"""Of a large gateway's tens of thousands, those that count what went around the server, and when certificates end."""


async def examine(admin: Address, envoy: Address) -> list[Finding]:
    """Everything that is not as it should be: of the server at `admin`, and of the Envoy whose admin port is `envoy`."""
    findings: list[Finding] = []
    needs, server = await _server(admin, findings)
    ahead = await _envoy(envoy, needs, findings)
    findings += of_clocks(server, ahead)
    return list(_bounded(findings))


async def _server(admin: Address, findings: list[Finding]) -> tuple[Needs | None, float | None]:
    """What it needs, and how far its clock is ahead."""
    where = f"server's admin port {admin}"
    try:
        ready, metrics = await ask(admin, "/readyz"), await ask(admin, "/metrics")
        status = await ask_json(admin, "/status")
    except Unanswered as error:
        remedy = "start `extproc serve`, or say with --admin where it listens; off loopback it shows no /status"
        findings.append(Finding(Code.SERVER_SILENT, where, str(error), remedy))
        return None, None
    needs = needs_of(status)
    findings += of_status(status)
    findings += of_readiness(_lines(ready), status)
    findings += of_metrics(metrics.text)
    findings += of_listeners(status, time.time())
    findings += of_sockets(needs.listen if needs else ())
    if needs is None:
        problem = "it does not say what it needs of Envoy"
        findings.append(Finding(Code.SERVER_NEEDS, where, problem, "run the doctor of the server's version"))
    return needs, ready.ahead


def _lines(ready: Answer) -> list[str]:
    return [] if ready.status == 200 else ready.text.splitlines()[:20] or [f"status {ready.status}"]


async def _envoy(envoy: Address, needs: Needs | None, findings: list[Finding]) -> float | None:
    """How far its clock is ahead."""
    where = f"Envoy's admin port {envoy}"
    try:
        answer = await ask(envoy, "/config_dump")
        dump = read(parsed(answer, "/config_dump"), await ask_json(envoy, "/clusters?format=json"))
        stats = await ask_json(envoy, STATS)
    except Unanswered as error:
        remedy = "start Envoy, or say with --envoy-admin where it is; its allow_paths needs /config_dump, /clusters and /stats"
        findings.append(Finding(Code.ENVOY_SILENT, where, str(error), remedy))
        return None
    findings += of_envoy(where, dump, stats, needs)
    return answer.ahead


def of_envoy(where: str, dump: Dump, stats: Json, needs: Needs | None) -> Iterator[Finding]:
    """All that its admin port says."""
    version, counted = version_of(dump), values(stats)
    yield from of_version(version)
    yield from of_runtime(dump)
    yield from of_admin(dump)
    yield from of_refused(dump)
    found = list(managers(dump))
    if not found:
        problem, remedy = "Envoy has no listener for HTTP", "`extproc envoy` prints a configuration with one"
        yield Finding(Code.ENVOY_NO_LISTENER, where, problem, remedy)
    every = [one for manager in found for one in manager.processors]
    mine = recognizer(every, dump, needs)
    for manager in found:
        yield from of_manager(manager, mine, needs, version)
    yield from of_hosts(found, needs)
    yield from of_upstream(dump, found, mine, needs)
    yield from of_origination(found, dump)
    for name in sorted({cluster_of(one.config) for one in every if mine(one.config)} - {""}):
        yield from of_cluster(name, dump)
        yield from of_overflow(counted, name, dump.clusters.get(name, {}))
    yield from of_stats(counted)
    yield from of_envoys(counted, time.time())


def _bounded(findings: list[Finding]) -> Iterator[Finding]:
    """Each once, with texts of a bounded length, and of each kind so many."""
    each_once = list(dict.fromkeys(findings))
    left = Counter(one.code for one in each_once)
    shown = Counter[Code]()
    for one in each_once:
        shown[one.code] += 1
        if shown[one.code] <= MOST_OF_A_KIND:
            yield one.clipped()
        elif shown[one.code] == MOST_OF_A_KIND + 1:
            more = left[one.code] - MOST_OF_A_KIND
            yield Finding(one.code, "elsewhere", f"the same in {more} more places", "correct the ones above first")
