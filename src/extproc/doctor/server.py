"""What the server's admin port says: of itself, of its dependencies, and of what it counted."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from extproc.doctor.finding import Finding, Needs
from extproc.doctor.tree import Json, node, nodes, number, word, words

UNRESOLVED: Final = re.compile(
    r'(?m)^extproc_denials_total\{[^\n]*\bcode="key_unresolved"[^\n]*\} (\d+(?:\.\d+)?(?:e\+?\d{1,2})?)$'
)


def workers(status: Json) -> Mapping[str, Json | None]:
    """The status of each worker by how it is called, None of one that does not answer. A single process is called so."""
    if "workers" not in status:
        return {"the server": status}
    return {
        f"worker {name}": told if isinstance(told, dict) else None for name, told in node(status, "workers").items()
    }


def needs_of(status: Json) -> Needs | None:
    """What Envoy must be configured for; None if nobody says so."""
    told = next((found for found in workers(status).values() if found is not None), {})
    needs = node(told, "needs")
    if not needs:
        return None
    return Needs(
        request_body=needs.get("requestBody") is True,
        response_body=needs.get("responseBody") is True,
        max_body_bytes=int(number(needs, "maxBodyBytes")),
        budget=number(needs, "budget"),
        listen=tuple(words(told, "listen")),
        upstream_clusters=tuple(words(needs, "upstreamClusters")),
    )


def of_status(status: Json) -> Iterator[Finding]:
    """Workers that are gone, dependencies that cannot be reached, and what is Conflicted or Degraded."""
    told = workers(status)
    for name, found in told.items():
        if found is None:
            yield Finding(name, "it does not answer its admin socket", "look for its end in the server's log")
    for name, problem, required, where in _dependencies(told):
        effect = ", and exchanges that need it are denied" if required else ""
        remedy = "start it, or correct its entry in `connections`"
        yield Finding(f"dependency {name}", f"{problem} (so says {where}{effect})", remedy)
    first = next((found for found in told.values() if found is not None), {})
    for finding in nodes(first, "findings"):
        if word(finding, "condition") != "NotServedHere":
            where = word(finding, "place") or "the configuration"
            message = f"{word(finding, 'condition')}, {word(finding, 'message')}"
            yield Finding(where, message, "`extproc check` shows what became of it")


def of_readiness(lines: list[str], status: Json) -> Iterator[Finding]:
    """Why the server is not ready, as far as no dependency has said it already."""
    known = {f"{name}: {problem}" for name, problem, *_ in _dependencies(workers(status))}
    for line in lines:
        if not any(line.endswith(each) for each in known):
            yield Finding(
                "/readyz", f"the server is not ready: {line}", "wait if it starts or drains, or look into its log"
            )


def of_metrics(text: str) -> Iterator[Finding]:
    """Limits that could not be applied."""
    denied = sum(float(count) for count in UNRESOLVED.findall(text))
    if denied:
        yield Finding(
            "/metrics",
            f"{denied:.0f} exchanges were denied since a key of a limit had no value (key_unresolved)",
            'guard the key with `when`, such as "x-team" in request.headers; the reason is in the log',
        )


def _dependencies(told: Mapping[str, Json | None]) -> list[tuple[str, str, bool, str]]:
    """Name, problem, whether it is required, and who says so; of those that are not reachable, each problem once."""
    found: dict[tuple[str, str, bool], list[str]] = {}
    for who, status in told.items():
        for name, one in node(status, "dependencies").items():
            if problem := word(one, "problem"):
                found.setdefault((name, problem, node(one).get("required") is True), []).append(who)
    return [(*key, ", ".join(who)) for key, who in found.items()]
