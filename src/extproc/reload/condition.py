"""How it stands with the configuration of a process, for whoever asks: `/status`, `/readyz`, `/metrics`. Names, places and our
own sentences, as `extproc check` prints them: no value of a configuration is in them.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from extproc.envoy.plan import Plan
from extproc.policy.describe import needs
from extproc.reload.source import Loaded

MOST: Final = 50
"""Sentences that are kept of one refusal, and one that says how many more there are."""

LONGEST: Final = 2000
"""Characters of one of them that are kept: they go to workers in one line, to the log and to `/status`."""

UNSEEN: Final = frozenset({"gateway", "sockets", "system_ca"})
"""What of a plan does not change, or changes without a reload."""

ACCEPTED, REFUSED, UNCHANGED = "accepted", "refused", "unchanged"


class Series:
    """The metrics of this, on `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.reloads = Counter(
            "extproc_configuration_reloads",
            "Configurations that were read since the start, by what became of them.",
            ["result"],
            registry=registry,
        )
        for result in (ACCEPTED, REFUSED, UNCHANGED):
            self.reloads.labels(result)
        self.refused = Gauge(
            "extproc_configuration_refused",
            "Whether the configuration on disk is refused, and an older one in force.",
            registry=registry,
        )
        self.success = Gauge(
            "extproc_configuration_last_success_timestamp_seconds",
            "When the configuration in force was taken over, or found to be the one on disk again.",
            registry=registry,
        )
        self.info = Gauge(
            "extproc_configuration_info", "Names the configuration in force.", ["hash"], registry=registry
        )
        self.generations = Gauge(
            "extproc_configuration_generations",
            "Configurations that exchanges are of: the one in force, and those before it with exchanges that are open.",
            registry=registry,
        )


@dataclass(slots=True)
class Condition:
    """Of one process. `now` gives Unix seconds."""

    first: Loaded
    series: Series
    now: Callable[[], float] = time.time
    generation: int = 1
    problems: tuple[str, ...] = ()
    refused_at: float = 0.0
    envoy: tuple[str, ...] = ()
    _hash: str = field(init=False)
    _at: float = field(init=False)

    def __post_init__(self) -> None:
        self._hash, self._at = self.first.hash, self.now()
        self._told()

    def accepted(self, loaded: Loaded) -> None:
        """`loaded` is in force."""
        self.generation += 1
        self._hash, self._at = loaded.hash, self.now()
        self.problems, self.envoy = (), tuple(outdated(self.first, loaded))
        self.series.reloads.labels(ACCEPTED).inc()
        self._told()

    def refused(self, problems: Iterable[str]) -> None:
        """What was found is refused for these reasons."""
        self.problems, self.refused_at = bounded(problems), self.now()
        self.series.reloads.labels(REFUSED).inc()
        self.series.refused.set(1)

    def unchanged(self) -> None:
        """What is on disk is what is in force."""
        self.problems = ()
        self.series.reloads.labels(UNCHANGED).inc()
        self._told()

    def status(self) -> dict[str, Any]:
        """`problem`: why what is on disk is not in force; `envoy`: what a generated Envoy configuration does not say yet."""
        return {
            "generation": self.generation,
            "hash": self._hash,
            "loadedAt": _written(self._at),
            "problem": list(self.problems),
            "refusedAt": _written(self.refused_at) if self.problems else None,
            "envoy": list(self.envoy),
        }

    def notes(self) -> tuple[str, ...]:
        """For an answer that everybody may read."""
        if not self.problems:
            return ()
        since, at = _written(self.refused_at), _written(self._at)
        return (
            f"the configuration on disk is refused since {since}: that of {at} is in force (/status and the log say why)",
        )

    def _told(self) -> None:
        self.series.refused.set(0)
        self.series.success.set(self.now())
        self.series.info.clear()
        self.series.info.labels(self._hash).set(1)


def outdated(first: Loaded, now: Loaded) -> Iterator[str]:
    """What an Envoy that was configured for `first` does not know of `now`."""
    what = "Envoy's configuration must be generated anew, unless that was done already: since this process started, {} changed"
    changed = list(_changed(first, now))
    if changed:
        yield what.format(", ".join(changed))


def bounded(problems: Iterable[str]) -> tuple[str, ...]:
    """The first of them, and how many more there are. Those that are bounded stay as they are. A file's name, which may be no
    text, is escaped: else nobody could read any of this.
    """
    texts = (one.encode("utf-8", "backslashreplace").decode() for one in problems)
    found = tuple(one if len(one) <= LONGEST else f"{one[: LONGEST - 3]}..." for one in texts)
    return found if len(found) <= MOST + 1 else (*found[:MOST], f"and {len(found) - MOST} more")


def _changed(first: Loaded, now: Loaded) -> Iterator[str]:
    if first.plan and now.plan:
        for one in fields(Plan):
            if one.name not in UNSEEN and getattr(first.plan, one.name) != getattr(now.plan, one.name):
                yield one.name.replace("_", " ")
        return
    before, wanted = needs(first.resolved), needs(now.resolved)
    yield from (f"`needs.{name}` of /status" for name in wanted if wanted[name] != before[name])


def _written(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
