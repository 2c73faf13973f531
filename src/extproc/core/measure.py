"""What those who reach the outside count of it, as plain numbers: whoever exposes them reads them when asked."""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

BOUNDS: Final = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Buckets of calls, in seconds: from a Redis on the same machine to the longest timeout of an API server."""


@dataclass(slots=True)
class CacheUse:
    """How often a cache had the answer, had to ask for it, or gave an old one because there was no other."""

    hits: int = 0
    misses: int = 0
    stale: int = 0


class CallOutcome(StrEnum):
    """How a call ended. REFUSED: nobody was called, since a breaker was open or too much was under way."""

    ANSWERED = "answered"
    FAILED = "failed"
    REFUSED = "refused"


@dataclass(slots=True)
class Times:
    """A histogram: how many calls were at most as long as each of BOUNDS (and longer than the one before), with those that
    were longer than all at the end; and the sum of their seconds.
    """

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds


def calls() -> Mapping[CallOutcome, Times]:
    """Times for each outcome, none counted yet."""
    return {outcome: Times() for outcome in CallOutcome}
