"""What OpenTelemetry's exporters are given, and when. Everything here runs in threads of its own but `Traces.tell`."""

import time
from collections import deque
from typing import Any, Final

import requests
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Tracer
from prometheus_client import CollectorRegistry, Counter

from extproc import __version__
from extproc.core.event import Record
from extproc.telemetry.background import Background
from extproc.telemetry.points import read
from extproc.telemetry.spans import Ended, trace

SCOPE: Final = "extproc"

SHARE: Final = 4
"""One second in so many, at most, is spent on spans: they are made in Python (about 0.3 ms for an exchange), which only one
thread at a time can do, and the event loop is another. What would take more is dropped.
"""


class Deaf(requests.Session):
    """Reads the head of a receiver's answer and no body, and ends the connection: a body may be without end, or become large
    when it is decoded, and all of it would be held in memory. A new connection costs less than the spans that it is for.
    """

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        kwargs["stream"] = True
        with super().request(*args, **kwargs) as answer:
            return answer


class Exports:
    """How exports went, on the registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.dropped = Counter(
            "extproc_spans_dropped",
            "Exchanges without spans, since too many others were waiting for theirs.",
            registry=registry,
        )
        self._exports = Counter(
            "extproc_otlp_exports", "Exports to the OTLP endpoint.", ["signal", "outcome"], registry=registry
        )

    def count(self, signal: str, *, well: bool) -> None:
        self._exports.labels(signal, "answered" if well else "failed").inc()


class Traces:
    """Keeps at most `most` records until they have become spans. What comes while as many wait is dropped, and counted."""

    def __init__(
        self, exporter: SpanExporter, resource: Resource, exports: Exports, most: int, batch: int, delay: float
    ) -> None:
        """As soon as `batch` records wait they are worked on, fewer after `delay` seconds; about `batch` spans leave at once.
        The sampler is the environment's.
        """
        self.exporter, self._exports, self._most, self._batch = exporter, exports, most, batch
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._ended = Ended()
        provider.add_span_processor(self._ended)
        self._tracer: Tracer = provider.get_tracer(SCOPE, __version__)
        self._waiting: deque[tuple[Record, float]] = deque()
        self.background = Background("otlp-traces", self.send, delay)

    def tell(self, record: Record) -> None:
        """An exchange has ended. It costs that exchange next to nothing, whatever becomes of the spans."""
        waiting = len(self._waiting)
        if waiting >= self._most:
            self._exports.dropped.inc()
            return
        self._waiting.append((record, time.monotonic()))
        if waiting + 1 >= self._batch:
            self.background.wake()

    def send(self) -> None:
        """All that waits, in batches."""
        while self._waiting:
            began = time.thread_time()
            since = time.time() - time.monotonic()
            while self._waiting and len(self._ended) < self._batch:
                trace(self._tracer, *self._waiting.popleft(), since)
            if spans := self._ended.take():
                self._exports.count("traces", well=self.exporter.export(spans) is SpanExportResult.SUCCESS)
            self.background.rest((time.thread_time() - began) * (SHARE - 1))


class Readings:
    """The metrics of `registry`, read every so many seconds."""

    def __init__(
        self,
        exporter: MetricExporter,
        resource: Resource,
        exports: Exports,
        registry: CollectorRegistry,
        interval: float,
    ) -> None:
        self.exporter, self._exports, self._registry, self._resource = exporter, exports, registry, resource
        self._scope = InstrumentationScope(SCOPE, __version__)
        self._began = time.time_ns()
        self.background = Background("otlp-metrics", self.send, interval)

    def send(self) -> None:
        found = read(self._registry, self._resource, self._scope, self._began, time.time_ns())
        self._exports.count("metrics", well=self.exporter.export(found) is MetricExportResult.SUCCESS)
