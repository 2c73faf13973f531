"""Prometheus metrics, on a registry that is handed in, with a ceiling on how many series a caller can make."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from extproc.core.event import Record
from extproc.core.journal import Decision, Skip

LABELS: Final = ("gateway", "route", "backend", "namespace", "serviceAccount")
"""Of every counter; an empty value where it does not apply."""

OTHER: Final = "other"
"""What a label reads once there are too many values of its kind."""

MOST_SERIES: Final = 2000
MOST_WORDS: Final = 100
"""Ceilings, per process: for the series of one metric, and for words that filters make up (codes, entities). Prometheus keeps
every series that it ever saw for hours, so a caller with many names must not make them without end.
"""

ENTITY: Final = re.compile(r"(?:[a-z]+\.)?([A-Z][A-Z0-9_]{0,63})")
"""How a report names a count of entities, perhaps with the part where they were; other keys are for the metadata alone."""

TOKENS: Final = ("input", "output")
"""What a report names `input_tokens` and `output_tokens`."""

SECONDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Buckets: from a filter that only looks at a header to one that waited for as long as the longest budget."""


class Cap:
    """Remembers the first `most` different values that it is asked for, and no others."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._known: set[tuple[str, ...]] = set()

    def admits(self, *values: str) -> bool:
        if values in self._known:
            return True
        if len(self._known) >= self.most:
            return False
        self._known.add(values)
        return True


class Tally:
    """A counter whose series are bounded: `own` labels, then those of every counter."""

    def __init__(self, registry: CollectorRegistry, most: int, name: str, text: str, *own: str) -> None:
        self._counter = Counter(f"extproc_{name}", text, [*own, *LABELS], registry=registry)
        self._cap = Cap(most)

    def add(self, record: Record, *own: str, number: int = 1) -> None:
        """Count under the names of `record`; a caller beyond the ceiling is `other`."""
        where = record.route, record.backend, record.namespace, record.service_account
        if not self._cap.admits(*own, *where):
            where = OTHER, OTHER, OTHER, OTHER
        self._counter.labels(*own, record.gateway, *where).inc(number)


class Metrics:
    """The series of one process, on `registry`."""

    def __init__(self, registry: CollectorRegistry, most_series: int = MOST_SERIES) -> None:
        self._codes, self._entities = Cap(MOST_WORDS), Cap(MOST_WORDS)

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
        phases = histogram("phase_seconds", "Time that the chain took in a phase.", "phase")
        extensions = histogram(
            "extension_seconds", "Time that an extension took, the outside included.", "extension", "phase"
        )
        up = Gauge(
            "extproc_dependency_up",
            "Whether a dependency answered the last question.",
            ["dependency"],
            registry=registry,
        )
        self._dependencies = cache(up.labels)
        self._phases, self._extensions = cache(phases.labels), cache(extensions.labels)

    def dependency(self, name: str, up: bool) -> None:
        """What the last question to a dependency found out."""
        self._dependencies(name).set(up)

    def count(self, record: Record) -> None:
        """One exchange that has ended; or one try of it, whose exchange is counted by itself."""
        (self._tries if record.is_try else self._requests).add(record)
        self._time(record)
        if record.failure:
            self._failures.add(record, record.extension, record.failure)
        elif record.code:
            self._denials.add(record, record.code if self._codes.admits(record.code) else OTHER)
        for skip in record.skips:
            self._skips.add(record, skip.extension, skip.cause)
        for skip in record.unsettled:
            self._unsettled.add(record, skip.extension, skip.cause)
        for report in record.reports.values():
            self._count_entities(record, report)
            self._count_tokens(record, report)

    def _count_entities(self, record: Record, report: Mapping[str, int | str]) -> None:
        for key, found in report.items():
            if isinstance(found, int) and found > 0 and (named := ENTITY.fullmatch(key)):
                self._found.add(record, named[1] if self._entities.admits(named[1]) else OTHER, number=found)

    def _count_tokens(self, record: Record, report: Mapping[str, int | str]) -> None:
        for kind in TOKENS:
            if isinstance(used := report.get(f"{kind}_tokens"), int) and used > 0:
                self._tokens.add(record, kind, number=used)

    def _time(self, record: Record) -> None:
        """How long each extension took, and all of a phase together."""
        phases: dict[str, float] = {}
        tried: tuple[Decision | Skip, ...] = (*record.decisions, *record.skips)
        for done in tried:
            phases[done.phase] = phases.get(done.phase, 0.0) + done.seconds
            self._extensions(done.extension, done.phase).observe(done.seconds)
        for phase, seconds in phases.items():
            self._phases(phase).observe(seconds)
