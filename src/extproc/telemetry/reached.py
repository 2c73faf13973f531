"""What a process reaches outside of itself, as metrics: calls to dependencies, circuit breakers and caches. Everything is
counted where it happens (extproc.core.measure) and read when somebody asks for the metrics: no exchange pays for it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry

from extproc.core.measure import BOUNDS, CacheUse, CallOutcome, Times
from extproc.ports import Breaking, Caching, Dependency, Timed
from extproc.telemetry.labels import Cap

STATES: Final = ("closed", "half-open", "open")
"""Of a circuit breaker."""

LIMITS: Final = (*map(str, BOUNDS), "+Inf")

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
Calls = Mapping[tuple[str, CallOutcome], Times]
"""By the dependency's name."""

Reads = Mapping[tuple[str, str], int]
"""By the cache's name and the result."""

Cache = tuple[str, CacheUse]
"""Its name, which several may have, and its use."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What is read: of the configuration that counts now, and as plain numbers what is `past` with those before it."""

    dependencies: Mapping[str, Dependency] = field(default_factory=dict)
    caches: tuple[Cache, ...] = ()
    past_calls: Calls = field(default_factory=dict)
    past_reads: Reads = field(default_factory=dict)

    def calls(self) -> Calls:
        return _all_calls(self.past_calls, self.dependencies.items())

    def reads(self) -> Reads:
        return _all_reads(self.past_reads, self.caches)


class Reached(Collector):
    """Families of `registry`. `most` caches, and dependencies that are gone, have names of their own: each configuration may
    call its sources anew.
    """

    def __init__(self, registry: CollectorRegistry, most: int) -> None:
        self._sources, self._named = Sources(), Cap(most)
        registry.register(self)

    def follow(self, dependencies: Mapping[str, Dependency], caching: Iterable[object]) -> None:
        """Read these from now on; `caching` are things that may have caches. What the last configuration counted and this one
        does not go on with is added up for good: a counter never goes back.
        """
        found = [cache for each in caching if isinstance(each, Caching) for cache in each.caches.items()]
        caches = tuple({id(use): (self._named(name), use) for name, use in found}.values())  # extensions may share one
        known = {id(use) for _, use in caches}
        last = self._sources
        gone = [
            (self._named(name), each) for name, each in last.dependencies.items() if dependencies.get(name) is not each
        ]
        past_reads = _all_reads(last.past_reads, [(name, use) for name, use in last.caches if id(use) not in known])
        self._sources = Sources(dependencies, caches, _all_calls(last.past_calls, gone), past_reads)

    def collect(self) -> Iterator[Family]:
        """As the registry asks, perhaps in a thread of its own."""
        sources = self._sources
        yield _calls(sources.calls())
        yield _breakers(sources.dependencies)
        yield _reads(sources.reads())


def _calls(calls: Calls) -> Family:
    family = HistogramMetricFamily(
        "extproc_dependency_call_seconds",
        "Calls to a dependency, probes aside. refused: a breaker was open, or too many waited already.",
        labels=["dependency", "outcome"],
    )
    for (name, outcome), times in calls.items():
        buckets = [(limit, float(count)) for limit, count in zip(LIMITS, accumulate(times.counts), strict=True)]
        family.add_metric([name, outcome], buckets, times.total)
    return family


def _breakers(dependencies: Mapping[str, Dependency]) -> Family:
    family = GaugeMetricFamily(
        "extproc_breaker_state", "1 for the state that a circuit breaker is in.", labels=["dependency", "state"]
    )
    for name, dependency in dependencies.items():
        if isinstance(dependency, Breaking):
            now = dependency.state
            for state in STATES:
                family.add_metric([name, state], float(now == state))
    return family


def _reads(reads: Reads) -> Family:
    family = CounterMetricFamily("extproc_cache_reads", "Reads of a cache.", labels=["cache", "result"])
    for (name, result), number in reads.items():
        family.add_metric([name, result], number)
    return family


def _all_reads(past: Reads, caches: Iterable[Cache]) -> Reads:
    found = Counter(past)
    for name, use in caches:
        found.update({(name, "hit"): use.hits, (name, "miss"): use.misses, (name, "stale"): use.stale})
    return found


def _all_calls(past: Calls, dependencies: Iterable[tuple[str, Dependency]]) -> Calls:
    found = dict(past)
    for name, dependency in dependencies:
        for outcome, times in dependency.times.items() if isinstance(dependency, Timed) else ():
            found[name, outcome] = _sum(times, found.get((name, outcome), Times()))
    return found


def _sum(one: Times, other: Times) -> Times:
    return Times([a + b for a, b in zip(one.counts, other.counts, strict=True)], one.total + other.total)
