"""Prometheus metrics, on a registry that is handed in, with a ceiling on how many series a caller can make."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from extproc import __version__
from extproc.core.event import Record
from extproc.core.journal import Decision, Skip
from extproc.core.record import used
from extproc.ports import Dependency
from extproc.telemetry.labels import OTHER, Cap, is_plain
from extproc.telemetry.reached import Reached
from extproc.telemetry.sink import standard_error

disable_created_metrics()  # type: ignore[no-untyped-call] # a second series for each counter, which nobody reads

LABELS: Final = ("gateway", "route", "backend", "namespace", "serviceAccount")
"""Of every counter; an empty value where it does not apply."""

MOST_SERIES: Final = 2000
MOST_WORDS: Final = 100
"""Ceilings, per process: for the series of one metric, and for words that filters make up (codes, entities)."""

ENTITY: Final = re.compile(r"(?:[a-z]+\.)?([A-Z][A-Z0-9_]{0,63})")
"""How a report names a count of entities, perhaps with the part where they were; other keys are for the metadata alone."""

TOKENS: Final = {"input_tokens": "input", "output_tokens": "output"}
"""What is counted of what was used; the total is their sum."""

SECONDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Buckets: from a filter that only looks at a header to one that waited for as long as the longest budget."""


class Tally:
    """A counter whose series are bounded: `own` labels, then those of every counter."""

    def __init__(self, registry: CollectorRegistry, most: int, name: str, text: str, *own: str) -> None:
        self._counter = Counter(f"extproc_{name}", text, [*own, *LABELS], registry=registry)
        self._most = most
        self._series: dict[tuple[str, ...], Counter] = {}

    def add(self, record: Record, *own: str, number: int = 1) -> None:
        """Count under the names of `record`; a caller beyond the ceiling is `other`."""
        names = *own, record.gateway, record.route, record.backend, record.namespace, record.service_account
        (self._series.get(names) or self._new(names, *own, record.gateway)).inc(number)

    def _new(self, names: tuple[str, ...], *kept: str) -> Counter:
        """The series of `names`, if there is room for it, and they are such."""
        if len(self._series) >= self._most or not all(map(is_plain, names)):
            return self._counter.labels(*kept, OTHER, OTHER, OTHER, OTHER)
        found = self._series[names] = self._counter.labels(*names)
        return found


class Unread(Collector):
    """Of the log of this process."""

    def collect(self) -> Iterator[CounterMetricFamily]:
        text = "Lines of the log that nobody read: standard error was full, or closed."
        yield CounterMetricFamily("extproc_log_lines_dropped", text, standard_error().dropped)


class Metrics:
    """The series of one process, on `registry`."""

    def __init__(self, registry: CollectorRegistry, most_series: int = MOST_SERIES) -> None:
        self._codes, self._entities, self._named = Cap(MOST_WORDS), Cap(MOST_WORDS), Cap(most_series)
        self._known: set[str] = set()

        def tally(name: str, text: str, *own: str) -> Tally:
            return Tally(registry, most_series, name, text, *own)

        def histogram(name: str, text: str, *labels: str) -> Histogram:
            return Histogram(f"extproc_{name}", text, labels, registry=registry, buckets=SECONDS)

        self._requests = tally("requests", "Exchanges that have ended.")
        self._tries = tally("tries", "Tries of exchanges, where they have an upstream pass.")
        self._denials = tally("denials", "Exchanges that an extension or the engine denied: decisions.", "code")
        self._failures = tally(
            "failures", "Exchanges refused: an extension failed, and failOpen did not cover it.", "extension", "cause"
        )
        self._skips = tally(
            "fail_open", "Extensions that failed and were passed over, as failOpen says.", "extension", "cause"
        )
        self._unsettled = tally(
            "unsettled", "Extensions that could not settle at the end what they had taken.", "extension", "cause"
        )
        self._tokens = tally("tokens", "Tokens that answers said were used.", "kind")
        self._found = tally("entities_found", "Personal data that was found, by kind.", "entity")
        self._bytes = tally("body_bytes", "Bytes of bodies that came to be read.", "direction")
        phases = histogram("phase_seconds", "Time that the chain took in a phase.", "phase")
        extensions = histogram(
            "extension_seconds", "Time that an extension took, the outside included.", "extension", "phase"
        )

        def timed(extension: str, phase: str) -> Histogram:
            return extensions.labels(self._named(extension), phase)

        self._phases, self._extensions = lru_cache(phases.labels), lru_cache(most_series)(timed)
        self._reached = Reached(registry, most_series)
        self._stand(registry)

    def _stand(self, registry: CollectorRegistry) -> None:
        """What is of a process, and not of its exchanges."""

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"extproc_{name}", text, labels, registry=registry)

        self._up = gauge("dependency_up", "Whether a dependency answered the last question.", "dependency")
        self._ready = gauge("ready", "Whether this process takes exchanges, and can serve all of them.")
        self._streams = gauge("streams", "Streams that are open: exchanges, and tries of them.")
        gauge("build_info", "1, for the version that runs.", "version").labels(__version__).set(1)
        registry.register(Unread())
        ProcessCollector(registry=registry)

    def standing(self, ready: Callable[[], bool], streams: Callable[[], int]) -> None:
        """Who to ask, with each reading, whether this process is ready and how many streams are open."""
        self._ready.set_function(ready)
        self._streams.set_function(streams)

    def follow(self, dependencies: Mapping[str, Dependency], caching: Iterable[object]) -> None:
        """These are the dependencies from now on, and the things that may have caches; see `Reached`."""
        self._reached.follow(dependencies, caching)
        for name in self._known - dependencies.keys():
            self._up.remove(name)
        self._known &= dependencies.keys()

    def dependency(self, name: str, up: bool) -> None:
        """What the last question to a dependency found out."""
        self._known.add(name)
        self._up.labels(name).set(up)

    def count(self, record: Record) -> None:
        """One exchange that has ended; or one try of it, whose exchange is counted by itself."""
        (self._tries if record.is_try else self._requests).add(record)
        self._time(record)
        if record.request_bytes:
            self._bytes.add(record, "request", number=record.request_bytes)
        if record.response_bytes:
            self._bytes.add(record, "response", number=record.response_bytes)
        if record.failure:
            self._failures.add(record, self._named(record.extension), record.failure)
        elif record.code:
            self._denials.add(record, self._codes(record.code))
        for skip in record.skips:
            self._skips.add(record, self._named(skip.extension), skip.cause)
        for skip in record.unsettled:
            self._unsettled.add(record, self._named(skip.extension), skip.cause)
        for report in record.reports.values():
            self._count_entities(record, report)
        for name, number in used(record.reports).items() if record.reports else ():
            if kind := TOKENS.get(name):
                self._tokens.add(record, kind, number=number)

    def _count_entities(self, record: Record, report: Mapping[str, int | str]) -> None:
        for key, found in report.items():
            if isinstance(found, int) and found > 0 and (named := ENTITY.fullmatch(key)):
                self._found.add(record, self._entities(named[1]), number=found)

    def _time(self, record: Record) -> None:
        """How long each extension took, and all of a phase together."""
        phases: dict[str, float] = {}
        tried: tuple[Decision | Skip, ...] = (*record.decisions, *record.skips)
        for done in tried:
            phases[done.phase] = phases.get(done.phase, 0.0) + done.seconds
            self._extensions(done.extension, done.phase).observe(done.seconds)
        for phase, seconds in phases.items():
            self._phases(phase).observe(seconds)
