"""Calls, breakers and caches as metrics: read where they are counted, and never going back."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from extproc.core.measure import CacheUse, CallOutcome, Times, calls
from extproc.telemetry import Metrics


@dataclass
class Database:
    """A dependency."""

    state: str = "closed"
    times: Mapping[CallOutcome, Times] = field(default_factory=calls)
    name: str = "redis"

    async def probe(self) -> str | None:
        return None

    async def close(self) -> None:
        return None


@dataclass
class Plain:
    """A dependency that counts nothing."""

    name: str = "plain"

    async def probe(self) -> str | None:
        return None

    async def close(self) -> None:
        return None


@dataclass
class Remembers:
    caches: dict[str, CacheUse]


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> Metrics:
    return Metrics(registry)


def called(registry: CollectorRegistry, outcome: str, part: str = "count", **more: str) -> float | None:
    labels = {"dependency": "redis", "outcome": outcome, **more}
    return registry.get_sample_value(f"extproc_dependency_call_seconds_{part}", labels)


def reads(registry: CollectorRegistry, result: str, cache: str = "tokens") -> float | None:
    return registry.get_sample_value("extproc_cache_reads_total", {"cache": cache, "result": result})


def test_calls_are_a_histogram_for_each_outcome(registry: CollectorRegistry, metrics: Metrics) -> None:
    database = Database()
    metrics.follow({"redis": database, "plain": Plain()}, ())
    for seconds in (0.0002, 0.001, 0.0011, 20.0):
        database.times[CallOutcome.ANSWERED].add(seconds)
    assert called(registry, "answered") == 4
    assert called(registry, "answered", "sum") == pytest.approx(20.0023)
    buckets = {
        le: called(registry, "answered", "bucket", le=le) for le in ("0.00025", "0.001", "0.0025", "10.0", "+Inf")
    }
    assert buckets == {"0.00025": 1, "0.001": 2, "0.0025": 3, "10.0": 3, "+Inf": 4}
    assert called(registry, "failed") == called(registry, "refused") == 0
    assert b'dependency="plain"' not in generate_latest(registry)


@pytest.mark.parametrize("state", ["closed", "half-open", "open"])
def test_a_breaker_is_in_one_state(registry: CollectorRegistry, metrics: Metrics, state: str) -> None:
    metrics.follow({"redis": Database(state)}, ())
    found = {
        each: registry.get_sample_value("extproc_breaker_state", {"dependency": "redis", "state": each})
        for each in ("closed", "half-open", "open")
    }
    assert found == {**dict.fromkeys(found, 0.0), state: 1.0}


def test_a_cache_is_read_where_it_counts_and_one_that_is_shared_once(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    shared, other = CacheUse(hits=2, misses=1), CacheUse(hits=10, stale=3)
    extensions = Remembers({"tokens": shared}), Remembers({"tokens": shared}), Remembers({"tokens": other}), object()
    metrics.follow({}, extensions)
    assert [reads(registry, result) for result in ("hit", "miss", "stale")] == [12, 1, 3]
    shared.hits += 1
    assert reads(registry, "hit") == 13


def test_a_new_configuration_goes_on_counting(registry: CollectorRegistry, metrics: Metrics) -> None:
    kept, gone = CacheUse(hits=1), CacheUse(hits=10)
    old, new = Database(), Database()
    old.times[CallOutcome.FAILED].add(1.0)
    metrics.follow({"redis": old}, [Remembers({"tokens": kept}), Remembers({"secrets:a": gone})])
    metrics.follow({"redis": new}, [Remembers({"tokens": kept})])
    new.times[CallOutcome.FAILED].add(2.0)
    kept.hits += 1
    assert (reads(registry, "hit"), reads(registry, "hit", "secrets:a")) == (2, 10)
    assert (called(registry, "failed"), called(registry, "failed", "sum")) == (2, 3.0)
    metrics.follow({}, ())
    assert (reads(registry, "hit"), called(registry, "failed")) == (2, 2)


def test_dependencies_that_every_configuration_calls_anew_have_a_ceiling(registry: CollectorRegistry) -> None:
    metrics = Metrics(registry, most_series=2)
    for number in range(5):
        vault = Database(name=f"vault:{number}")
        metrics.follow({vault.name: vault}, ())
        vault.times[CallOutcome.FAILED].add(1.0)
    name = "extproc_dependency_call_seconds_count"
    found = [
        registry.get_sample_value(name, {"dependency": each, "outcome": "failed"})
        for each in ("vault:0", "vault:1", "vault:2", "vault:4", "other")
    ]
    assert found == [1, 1, None, 1, 2]


def test_caches_that_every_configuration_calls_anew_have_a_ceiling(registry: CollectorRegistry) -> None:
    """And a name that cannot be written, from a filter of somebody else's, keeps nobody from reading the others."""
    metrics = Metrics(registry, most_series=2)
    for name in ("secrets:1", "\ud800", "secrets:2", "secrets:3", "secrets:1"):
        metrics.follow({}, [Remembers({name: CacheUse(hits=1)})])
    assert generate_latest(registry).count(b"extproc_cache_reads_total{") == 3 * 3
    found = [reads(registry, "hit", name) for name in ("secrets:1", "secrets:2", "secrets:3", "other")]
    assert found == [2, 1, None, 2]


def test_a_dependency_that_is_gone_is_neither_up_nor_down(registry: CollectorRegistry, metrics: Metrics) -> None:
    def up() -> float | None:
        return registry.get_sample_value("extproc_dependency_up", {"dependency": "redis"})

    metrics.follow({"redis": Database()}, ())
    metrics.dependency("redis", True)
    assert up() == 1
    metrics.follow({}, ())
    assert up() is None


def test_whether_it_is_ready_is_asked_with_each_reading(registry: CollectorRegistry, metrics: Metrics) -> None:
    standing = {"ready": False, "streams": 3}
    metrics.standing(lambda: bool(standing["ready"]), lambda: int(standing["streams"]))
    assert registry.get_sample_value("extproc_ready") == 0
    standing["ready"] = True
    assert registry.get_sample_value("extproc_ready") == 1
    assert registry.get_sample_value("extproc_streams") == 3


def test_a_counter_is_one_series(registry: CollectorRegistry, metrics: Metrics) -> None:
    assert b"_created" not in generate_latest(registry)
