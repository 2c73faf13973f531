"""Hyperscan: where in a text somebody has to look closer, in one pass for all anchors that are looked for together."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

import hyperscan

from extproc_filters.pii.recognizer import Anchor
from extproc_filters.pii.work import SLICE, Work

OWN_FLAGS: Final = hyperscan.HS_FLAG_UTF8 | hyperscan.HS_FLAG_SOM_LEFTMOST
"""Not UCP, with which Hyperscan has no word boundaries; an expression may ask for it with `(*UCP)`."""

STRIDE: Final = 64
"""Ranges that are not further apart than this are looked at as one: to begin costs as much as to look at so many bytes."""

Matched = Callable[[int, int, int, int, object], None]

Places = dict[int, list[int]]
"""By the number of the anchor: the first and the last place of each group of places that are near each other."""


class UnsupportedExpression(ValueError):
    """A regular expression that Hyperscan does not compile; the text says why."""


@lru_cache(maxsize=128)
def compiled(expressions: tuple[str, ...], flags: int = 0, mode: int = hyperscan.HS_MODE_STREAM) -> hyperscan.Database:
    """A database for streams. Compiling takes 0.1 s for all built-in anchors (and two more for texts that are there as a
    whole, which would save 1 µs of 6 for a text of 1 KB), so the same ones are compiled once.

    Raises:
        UnsupportedExpression
    """
    database = hyperscan.Database(mode=mode)
    try:
        database.compile(
            expressions=[expression.encode() for expression in expressions],
            ids=list(range(len(expressions))),
            elements=len(expressions),
            flags=[flags] * len(expressions),
        )
    except hyperscan.error as error:
        raise UnsupportedExpression(str(error)) from None
    return database


def own(expressions: Sequence[str]) -> hyperscan.Database:
    """Expressions of the operator's, whose matches have a beginning. Raises: UnsupportedExpression."""
    mode = hyperscan.HS_MODE_STREAM | hyperscan.HS_MODE_SOM_HORIZON_LARGE
    return compiled(tuple(expressions), OWN_FLAGS, mode)


def stream(database: hyperscan.Database, data: bytes, note: Matched) -> Work[None]:
    """Tell `note` of every match in `data`, in slices; a match may begin in one slice and end in another."""
    with database.stream(match_event_handler=note) as opened:
        for start in range(0, len(data), SLICE):
            if start:
                yield
            opened.scan(data[start : start + SLICE] if len(data) > SLICE else data)


class Search:
    """Anchors that are looked for together."""

    def __init__(self, anchors: Sequence[Anchor]) -> None:
        self.anchors = tuple(anchors)
        expressions = tuple(anchor.expression for anchor in anchors)
        self._database = compiled(expressions)
        self._near = [anchor.before + anchor.after + STRIDE for anchor in anchors]

    def places(self, data: bytes) -> Work[Places]:
        """Where they are in `data`."""
        found: Places = {}
        near = self._near

        def note(number: int, _start: int, end: int, _flags: int, _context: object) -> None:
            places = found.get(number)
            if places is None:
                found[number] = [end, end]
            elif end - places[-1] <= near[number]:
                places[-1] = end
            else:
                places += end, end

        if len(data) <= SLICE:
            with self._database.stream(match_event_handler=note) as opened:
                opened.scan(data)
        else:
            yield from stream(self._database, data, note)
        return found
