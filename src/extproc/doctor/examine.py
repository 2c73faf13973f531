"""Ask both admin ports, and judge what they say."""

from collections.abc import Iterator

from extproc.doctor.ask import Answer, Unanswered, ask, ask_json
from extproc.doctor.finding import Finding, Needs
from extproc.doctor.gateway import Manager, cluster_named, cluster_of, managers, ours
from extproc.doctor.processor import of_buffer, of_filter
from extproc.doctor.routes import of_routes, of_upgrades
from extproc.doctor.server import needs_of, of_metrics, of_readiness, of_status
from extproc.doctor.traffic import of_cluster, of_stats, values
from extproc.doctor.tree import Json, node, word
from extproc.doctor.upstream import of_upstream
from extproc.policy.names import Address


async def examine(admin: Address, envoy: Address) -> list[Finding]:
    """Everything that is not as it should be: of the server at `admin`, and of the Envoy whose admin port is `envoy`."""
    findings: list[Finding] = []
    needs = await _server(admin, findings)
    await _envoy(envoy, needs, findings)
    return list(dict.fromkeys(findings))


async def _server(admin: Address, findings: list[Finding]) -> Needs | None:
    where = f"server's admin port {admin}"
    try:
        ready, metrics = await ask(admin, "/readyz"), await ask(admin, "/metrics")
        status = await ask_json(admin, "/status")
    except Unanswered as error:
        remedy = "start `extproc serve`, or say with --admin where it listens; off loopback it shows no /status"
        findings.append(Finding(where, str(error), remedy))
        return None
    findings += of_status(status)
    findings += of_readiness(_lines(ready), status)
    findings += of_metrics(metrics.text)
    needs = needs_of(status)
    if needs is None:
        findings.append(
            Finding(where, "it does not say what it needs of Envoy", "run the doctor of the server's version")
        )
    return needs


def _lines(ready: Answer) -> list[str]:
    return [] if ready.status == 200 else ready.text.splitlines()[:20] or [f"status {ready.status}"]


async def _envoy(envoy: Address, needs: Needs | None, findings: list[Finding]) -> None:
    where = f"Envoy's admin port {envoy}"
    try:
        dump = await ask_json(envoy, "/config_dump")
        clusters = await ask_json(envoy, "/clusters?format=json")
        stats = await ask_json(envoy, "/stats?format=json&usedonly")
    except Unanswered as error:
        remedy = "start Envoy, or say with --envoy-admin where it is; its allow_paths needs /config_dump, /clusters and /stats"
        findings.append(Finding(where, str(error), remedy))
        return
    found = [(manager, ours(manager.filters, dump, needs)) for manager in managers(dump)]
    if not found:
        findings.append(
            Finding(where, "Envoy has no listener for HTTP", "`extproc envoy` prints a configuration with one")
        )
    for manager, filters in found:
        findings += of_manager(manager, filters, needs)
    everything = [one for _, filters in found for one in filters]
    findings += of_upstream(dump, [manager for manager, _ in found], everything, needs)
    for name in sorted({cluster_of(one) for one in everything} - {""}):
        findings += of_cluster(name, cluster_named(dump, name), clusters)
        findings += of_stats(values(stats), name)


def of_manager(manager: Manager, filters: list[Json], needs: Needs | None) -> Iterator[Finding]:
    """One HTTP connection manager, of whose filters `filters` lead to the server."""
    if not filters:
        problem = "the ext_proc filter is not in its chain: requests pass unjudged"
        yield Finding(manager.where, problem, "add it before the router; `extproc envoy` shows how")
    for one in filters:
        where = f"{manager.where}, filter {word(one, 'name')}"
        if one.get("disabled") is True:
            yield Finding(where, "it is disabled: requests pass unjudged unless a route enables it", "remove that")
        yield from of_filter(where, node(one, "typed_config"), needs)
        yield from of_routes(manager, word(one, "name"), needs)
    yield from of_upgrades(manager)
    yield from of_buffer(manager.where, manager.buffer_bytes, needs)
