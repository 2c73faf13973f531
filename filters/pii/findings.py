"""What was found, and how findings that overlap become one."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Final, NamedTuple

from extproc_filters.pii.work import STEPS, Work


class Finding(NamedTuple):
    """An entity from `start` to `end` (characters, end excluded) with a score from 0 to 1. It never holds the text."""

    entity: str
    start: int
    end: int
    score: float


START: Final = itemgetter(1)


def merge(findings: Iterable[Finding]) -> Work[list[Finding]]:
    """Findings in order, none overlapping: those that did are one, over the whole range, so that no part of either is
    left. It has the name of the longest, then of the surest, then of the first by name.
    """
    merged: list[Finding] = []
    name, begin, upto, size, sure = "", -1, -1, 0, 0.0
    for number, (entity, start, end, score) in enumerate(sorted(findings, key=START), 1):
        if start >= upto:
            if upto >= 0:
                merged.append(Finding(name, begin, upto, sure))
            name, begin, upto, size, sure = entity, start, end, end - start, score
        else:
            length = end - start
            if (length, score) > (size, sure) or ((length, score) == (size, sure) and entity < name):
                name, size, sure = entity, length, score
            upto = max(upto, end)
        if number % STEPS == 0:
            yield
    if upto >= 0:
        merged.append(Finding(name, begin, upto, sure))
    return merged


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
