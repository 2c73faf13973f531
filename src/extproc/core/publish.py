"""What an exchange has cost and may cost, under the names by which other filters of Envoy look for it: numbers and units, and
nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from extproc.core.state import State

SHARED: Final = "shared"
"""In the dynamic metadata of an exchange: what belongs beside them, by namespace."""

UNITS: Final = {1.0: "SECOND", 60.0: "MINUTE", 3600.0: "HOUR", 86400.0: "DAY"}
"""Seconds, as `unit` of Envoy's RateLimitOverride."""

MOST: Final = 2**32 - 1
"""What `requests_per_unit` can be."""


@dataclass(frozen=True, slots=True)
class TokenLimit:
    """A fact: the limit on tokens that an exchange is under, for each so many seconds."""

    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Publishing:
    """The namespace of dynamic metadata, and for names of reports (`total_tokens`) the keys in it; `limit` is the key of
    the limit, if it is published.
    """

    namespace: str
    keys: Mapping[str, str]
    limit: str | None = None


Numbers = Mapping[str, int | Mapping[str, int | str]]


def published(publishing: Publishing, state: State | None) -> Mapping[str, Numbers]:
    """What extensions have told so far, by namespace. Of two that tell a number under one name the larger counts."""
    if state is None:
        return {}
    used: dict[str, int] = {}
    for report in state.reports.values():
        for name, key in publishing.keys.items():
            number = report.get(name)
            if isinstance(number, int):
                used[key] = max(number, used.get(key, 0))
    found: Numbers = {**used, **_limit(publishing, state)}
    return {publishing.namespace: found} if found else {}


def _limit(publishing: Publishing, state: State) -> Mapping[str, Mapping[str, int | str]]:
    """As Envoy reads it (config.route.v3.RateLimit.Override). A window that is none of its units cannot be told."""
    found = state.facts.get(TokenLimit)
    if publishing.limit is None or not isinstance(found, TokenLimit) or found.seconds not in UNITS:
        return {}
    return {publishing.limit: {"requests_per_unit": min(found.tokens, MOST), "unit": UNITS[found.seconds]}}
