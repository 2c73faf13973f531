"""The metrics of a registry in OpenTelemetry's form. There is one set of numbers: what is exported is what `/metrics` shows."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric as Family
from prometheus_client.samples import Sample

UNITS: Final = {"seconds": "s", "bytes": "By"}
"""By the last word of a name."""

CUMULATIVE: Final = AggregationTemporality.CUMULATIVE

Labels = tuple[tuple[str, str], ...]


def read(
    registry: CollectorRegistry, resource: Resource, scope: InstrumentationScope, began: int, now: int
) -> MetricsData:
    """Everything on `registry`, as counted from `began` to `now` (nanoseconds since 1970)."""
    metrics = [_metric(family, began, now) for family in registry.collect() if family.samples]
    return MetricsData([ResourceMetrics(resource, [ScopeMetrics(scope, metrics, "")], "")])


def _metric(family: Family, began: int, now: int) -> Metric:
    kinds: Mapping[str, Callable[[Family, int, int], Sum | Histogram]] = {"counter": _sum, "histogram": _histogram}
    kind = kinds.get(family.type)
    data = kind(family, began, now) if kind else Gauge(list(_points(family.samples, began, now)))
    return Metric(family.name, family.documentation, UNITS.get(family.name.rpartition("_")[2], ""), data)


def _sum(family: Family, began: int, now: int) -> Sum:
    samples = [sample for sample in family.samples if sample.name.endswith("_total")]
    return Sum(list(_points(samples, began, now)), CUMULATIVE, is_monotonic=True)


def _points(samples: Iterable[Sample], began: int, now: int) -> Iterator[NumberDataPoint]:
    return (NumberDataPoint(dict(sample.labels), began, now, float(sample.value)) for sample in samples)


def _histogram(family: Family, began: int, now: int) -> Histogram:
    series: dict[Labels, list[Sample]] = {}
    for sample in family.samples:
        labels = tuple((name, value) for name, value in sample.labels.items() if name != "le")
        series.setdefault(labels, []).append(sample)
    points = [_distribution(dict(labels), samples, began, now) for labels, samples in series.items()]
    return Histogram(points, CUMULATIVE)


def _distribution(labels: Mapping[str, str], samples: Sequence[Sample], began: int, now: int) -> HistogramDataPoint:
    """Prometheus counts in each bucket all that is below its limit; OpenTelemetry what is between two limits."""
    buckets = [sample for sample in samples if sample.name.endswith("_bucket")]
    totals = [int(sample.value) for sample in buckets]
    counts = [total - before for total, before in zip(totals, [0, *totals], strict=False)]
    limits = [float(sample.labels["le"]) for sample in buckets][:-1]
    total = next((sample.value for sample in samples if sample.name.endswith("_sum")), 0.0)
    unknown: float = None  # type: ignore[assignment] # the smallest and the largest are nowhere kept, and optional
    return HistogramDataPoint(labels, began, now, totals[-1], total, counts, limits, unknown, unknown)
