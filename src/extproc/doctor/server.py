"""What the server's admin port says: of itself, of its dependencies, and of what it counted."""

from collections.abc import Iterator, Mapping
from typing import Final

from extproc.doctor.finding import Code, Finding
from extproc.doctor.needs import workers
from extproc.doctor.tree import Json, node, nodes, number, word, words

DENIALS: Final = "extproc_denials_total{"

COUNTED: Final = (
    (
        Code.SERVER_KEY,
        "key_unresolved",
        "exchanges were denied since a key of a limit had no value",
        'guard the key with `when`, such as "x-team" in request.headers; the reason is in the log',
    ),
    (
        Code.SERVER_MISMATCH,
        "backend_mismatch",
        "exchanges were denied since Envoy led them to a cluster that is not their Backend's",
        "write the cluster's name into `clusters` of the Backend, or correct Envoy's route",
    ),
)
"""Denials of which any is too many: what their number means, and what would be right. They count from the server's start."""


def of_status(status: Json) -> Iterator[Finding]:
    """Workers that are gone or do not agree, dependencies that cannot be reached, and what is Conflicted or Degraded."""
    told = workers(status)
    for name, found in told.items():
        if found is None:
            problem = "it does not answer its admin socket"
            yield Finding(Code.SERVER_WORKER, name, problem, "look for its end in the server's log")
    for name, problem, required, where in _dependencies(told):
        effect = ", and exchanges that need it are denied" if required else ""
        remedy = "start it, or correct its entry in `connections`"
        yield Finding(Code.SERVER_DEPENDENCY, f"dependency {name}", f"{problem} (so says {where}{effect})", remedy)
    yield from _of_configuration(told)
    first = next((found for found in told.values() if found is not None), {})
    for finding in nodes(first, "findings"):
        if word(finding, "condition") != "NotServedHere":
            where = word(finding, "place") or "the configuration"
            message = f"{word(finding, 'condition')}, {word(finding, 'message')}"
            yield Finding(Code.SERVER_DEGRADED, where, message, "`extproc check` shows what became of it")


def of_readiness(lines: list[str], status: Json) -> Iterator[Finding]:
    """Why the server is not ready, as far as no dependency has said it already."""
    known = {f"{name}: {problem}" for name, problem, *_ in _dependencies(workers(status))}
    for line in lines:
        if not any(line.endswith(each) for each in known):
            problem = f"the server is not ready: {line}"
            yield Finding(
                Code.SERVER_NOT_READY, "/readyz", problem, "wait if it starts or drains, or look into its log"
            )


def of_metrics(text: str) -> Iterator[Finding]:
    """What was denied, and should not have been."""
    lines = [line for line in text.split("\n") if line.startswith(DENIALS)]
    for code, denial, problem, remedy in COUNTED:
        if total := sum(_value(line) for line in lines if f'code="{denial}"' in line):
            yield Finding(code, "/metrics", f"{total:.0f} {problem} ({denial})", remedy)


def _value(line: str) -> float:
    """Of a sample in Prometheus' text format."""
    return number({"value": line.rpartition(" ")[2]}, "value")


def _dependencies(told: Mapping[str, Json | None]) -> list[tuple[str, str, bool, str]]:
    """Name, problem, whether it is required, and who says so; of those that are not reachable, each problem once."""
    found: dict[tuple[str, str, bool], list[str]] = {}
    for who, status in told.items():
        for name, one in node(status, "dependencies").items():
            if problem := word(one, "problem"):
                found.setdefault((name, problem, node(one).get("required") is True), []).append(who)
    return [(*key, ", ".join(who)) for key, who in found.items()]


def _of_configuration(told: Mapping[str, Json | None]) -> Iterator[Finding]:
    """A configuration that was refused when it was reloaded, and workers that serve different ones."""
    known = {who: node(status, "configuration") for who, status in told.items() if node(status, "configuration")}
    refused: dict[str, list[str]] = {}
    for who, one in known.items():
        for problem in words(one, "problem"):
            refused.setdefault(problem, []).append(who)
    for problem, everyone in refused.items():
        where = f"the configuration of {', '.join(everyone)}"
        remedy = "correct it; the last good one serves until then"
        yield Finding(Code.SERVER_REFUSED, where, f"it was refused when it was reloaded: {problem}", remedy)
    served = {who: name for who, one in known.items() if (name := word(one, "hash"))}
    if len(set(served.values())) > 1:
        problem = (
            f"the workers do not serve the same one ({', '.join(f'{who}: {name}' for who, name in served.items())})"
        )
        yield Finding(
            Code.SERVER_GENERATIONS, "the configuration", problem, "wait for their reload, or restart the server"
        )
