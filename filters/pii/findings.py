"""What was found, and how findings that overlap become one."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import NamedTuple

from extproc_filters.pii.work import STEPS, Work


class Finding(NamedTuple):
    """An entity from `start` to `end` (characters, end excluded) with a score from 0 to 1. It never holds the text."""

    entity: str
    start: int
    end: int
    score: float

    @property
    def strength(self) -> tuple[int, float]:
        return self.end - self.start, self.score


def merge(findings: Iterable[Finding]) -> Work[list[Finding]]:
    """Findings in order, none overlapping: those that did are one, over the whole range, so that no part of either is
    left. It has the name of the longest, then of the surest, then of the first by name.
    """
    merged: list[Finding] = []
    best: Finding | None = None
    for number, finding in enumerate(sorted(findings, key=attrgetter("start")), 1):
        if best is None or finding.start >= merged[-1].end:
            merged.append(finding)
            best = finding
        else:
            best = _stronger(best, finding)
            whole = merged[-1]
            merged[-1] = Finding(best.entity, whole.start, max(whole.end, finding.end), best.score)
        if number % STEPS == 0:
            yield
    return merged


def _stronger(one: Finding, other: Finding) -> Finding:
    if one.strength == other.strength:
        return min(one, other, key=attrgetter("entity"))
    return max(one, other, key=attrgetter("strength"))


def shared(spans: Sequence[tuple[int, int]], findings: Iterable[Finding]) -> Work[dict[int, list[Finding]]]:
    """Which of `spans` (in order, none overlapping) hold something found, and what of it lies inside."""
    starts = [start for start, _ in spans]
    pieces: dict[int, list[Finding]] = {}
    for number, finding in enumerate(findings, 1):
        for index in range(max(0, bisect_right(starts, finding.start) - 1), bisect_left(starts, finding.end)):
            start, end = max(finding.start, spans[index][0]), min(finding.end, spans[index][1])
            if start < end:
                pieces.setdefault(index, []).append(finding._replace(start=start, end=end))
        if number % STEPS == 0:
            yield
    return pieces
