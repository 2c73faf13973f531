"""What Envoy counted: did every exchange meet the server?"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Final

from extproc.doctor.finding import Code, Finding
from extproc.doctor.tree import Json, nodes, number, word

AROUND: Final = re.compile(
    r"(?:http|cluster)\.(?P<where>.+)\.ext_proc\.(?:.+\.)?(?P<what>failure_mode_allowed|server_half_closed|streams_failed)"
)

LONGEST: Final = 1000
"""Letters of a name. Envoy has no longer ones, and what is looked for in them would take hours in one of a megabyte."""


def of_stats(stats: Mapping[str, float]) -> Iterator[Finding]:
    """Of all ext_proc filters."""
    counts: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for name, value in stats.items():
        if match := AROUND.fullmatch(name):
            counts[match["where"]][match["what"]] += value
    for where, found in counts.items():
        yield from _around(f"stats of {where}", found)


def of_overflow(stats: Mapping[str, float], name: str, cluster: Json) -> Iterator[Finding]:
    """Of the server's cluster, which Envoy counts under another name where it was given one."""
    counted = (word(cluster, "alt_stat_name") or name).replace(":", "_")
    overflow = sum(stats.get(f"cluster.{counted}.upstream_rq_{kind}_overflow", 0) for kind in ("pending", "active"))
    if overflow:
        problem = f"{overflow:.0f} exchanges were answered with an error since a circuit breaker was full"
        remedy = "raise max_requests and max_pending_requests, or add workers"
        yield Finding(Code.TRAFFIC_OVERFLOW, f"cluster {name}", problem, remedy)


def values(stats: Json) -> dict[str, float]:
    """Counters and gauges of `/stats?format=json` by name."""
    counted = ((word(one, "name"), number(one, "value")) for one in nodes(stats, "stats") if "value" in one)
    return {name: value for name, value in counted if len(name) <= LONGEST}


def _around(where: str, counts: Mapping[str, float]) -> Iterator[Finding]:
    if passed := counts["failure_mode_allowed"]:
        problem = f"{passed:.0f} exchanges passed unjudged when the server failed (failure_mode_allowed)"
        yield Finding(Code.TRAFFIC_UNJUDGED, where, problem, "set failure_mode_allow to false")
    ended = counts["server_half_closed"] - counts["streams_failed"]
    if ended > 0:
        problem = f"{ended:.0f} exchanges may have passed unjudged: the server ended them cleanly (server_half_closed)"
        remedy = "this is a defect of the server, or of what is between it and Envoy"
        yield Finding(Code.TRAFFIC_ENDED, where, problem, remedy)
