"""Find entities in a text: Hyperscan says where to look, in one pass for all of them; patterns and checks say what is there.

A pass of Hyperscan costs the same for every text, each recognizer looks at a place once, and its pattern is linear: so the
whole is linear in the length of the text, whatever the text is.
"""

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Final

import hyperscan

from extproc_filters.pii.credentials import CREDENTIALS
from extproc_filters.pii.findings import Finding
from extproc_filters.pii.people import PEOPLE
from extproc_filters.pii.recognizer import Anchor, Recognizer, Span
from extproc_filters.pii.views import View, views
from extproc_filters.pii.work import FEW, SLICE, STEPS, Work

RECOGNIZERS: Final = (*PEOPLE, *CREDENTIALS)
ENTITIES: Final = tuple(sorted({recognizer.entity for recognizer in RECOGNIZERS}))
"""What is looked for if a configuration does not say."""

STRIDE: Final = 64
"""An anchor is noted at most once in so many bytes; the places next to it are looked at with it."""

OWN_FLAGS: Final = hyperscan.HS_FLAG_UTF8 | hyperscan.HS_FLAG_SOM_LEFTMOST
"""Not UCP, with which Hyperscan has no word boundaries; an expression may ask for it with `(*UCP)`."""

Matched = Callable[[int, int, int, int, object], None]


class UnsupportedExpression(ValueError):
    """A regular expression that Hyperscan does not compile; the text says why."""


@lru_cache(maxsize=32)
def compiled(expressions: tuple[str, ...], flags: int = 0, mode: int = 0) -> hyperscan.Database:
    """A database for streams. Compiling takes 20 ms for all built-in anchors, so the same ones are compiled once.

    Raises:
        UnsupportedExpression
    """
    database = hyperscan.Database(mode=hyperscan.HS_MODE_STREAM | mode)
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


class Pattern:
    """One of the operator's own regular expressions.

    Raises:
        UnsupportedExpression: Hyperscan does not know its syntax, or it matches the empty text.
    """

    def __init__(self, name: str, expression: str, score: float, context: Sequence[str] = ()) -> None:
        compiled((expression,), OWN_FLAGS, hyperscan.HS_MODE_SOM_HORIZON_LARGE)
        near = re.compile("(?i)" + "|".join(map(re.escape, context))) if context else None
        self.name, self.expression = name, expression
        self._score, self._near = score, near

    def confidence(self, text: str, span: Span) -> float:
        if self._near is None:
            return self._score
        near = self._near.search(text, max(0, span[0] - 48), span[1] + 16)
        return min(1.0, self._score + 0.35) if near else self._score


class Scanner:
    """Looks for `entities` and `patterns`; what scores under `threshold` or reads like one of `allowed` is not found."""

    def __init__(
        self,
        entities: Iterable[str] = ENTITIES,
        patterns: Sequence[Pattern] = (),
        threshold: float = 0.6,
        allowed: Iterable[str] = (),
    ) -> None:
        wanted = frozenset(entities)
        self._by_anchor: dict[Anchor, list[Recognizer]] = defaultdict(list)
        for recognizer in RECOGNIZERS:
            if recognizer.entity in wanted:
                self._by_anchor[recognizer.anchor].append(recognizer)
        self._anchors = tuple(self._by_anchor)
        self._patterns = tuple(patterns)
        self._threshold, self._allowed = threshold, frozenset(allowed)
        self._places = compiled(tuple(anchor.expression for anchor in self._anchors)) if self._anchors else None
        self._own = (
            compiled(tuple(each.expression for each in patterns), OWN_FLAGS, hyperscan.HS_MODE_SOM_HORIZON_LARGE)
            if patterns
            else None
        )

    def find(self, text: str, *, escaped: bool = False) -> Work[list[Finding]]:
        """What is in `text`, in no order and perhaps overlapping. `escaped`: it is the text of a JSON document."""
        found: list[Finding] = []
        for view in (yield from views(text, escaped=escaped)):
            yield from self._built_in(view, found)
            if self._own is not None:
                yield from self._patterns_in(self._own, view, found)
        return found

    def _built_in(self, view: View, found: list[Finding]) -> Work[None]:
        if self._places is None:
            return
        ends: list[list[int]] = [[] for _ in self._anchors]
        reach = [-1] * len(ends)

        def note(number: int, _start: int, end: int, _flags: int, _context: object) -> None:
            if end > reach[number]:
                reach[number] = end + STRIDE
                ends[number].append(end)

        yield from _stream(self._places, view.data, note)
        for number, places in enumerate(ends):
            if places:
                yield from self._look_at(self._anchors[number], places, view, found)

    def _look_at(self, anchor: Anchor, places: list[int], view: View, found: list[Finding]) -> Work[None]:
        for number, (start, end) in enumerate(_ranges(anchor, places, view.data), 1):
            for recognizer in self._by_anchor[anchor]:
                yield from self._look(recognizer, view, start, end, found)
            if number % FEW == 0:
                yield

    def _look(self, recognizer: Recognizer, view: View, start: int, end: int, found: list[Finding]) -> Work[None]:
        """What `recognizer` sees between `start` and `end`: what begins in one slice, then what begins in the next."""
        longest = recognizer.anchor.longest
        while start < end:
            stop = start + SLICE if longest else end
            upto = start
            for number, match in enumerate(recognizer.pattern.finditer(view.data, start, min(end, stop + longest)), 1):
                if match.start() >= stop:
                    break
                upto = match.end()
                span = recognizer.span(view.data, match)
                if span is not None:
                    score = recognizer.confidence(view.data, span, self._threshold)
                    self._keep(recognizer.entity, score, view, span, found)
                if number % STEPS == 0:
                    yield
            start = max(stop, upto)
            if start < end:
                yield

    def _patterns_in(self, own: hyperscan.Database, view: View, found: list[Finding]) -> Work[None]:
        """The operator's own: in the text as it reads, and folded, so that look-alikes hide nothing from them either."""
        encoded = view.text.encode("utf-8", "replace")
        for data in (encoded,) if encoded == view.data else (encoded, view.data):
            spans: dict[tuple[int, int], int] = {}

            def note(
                number: int,
                start: int,
                end: int,
                _flags: int,
                _context: object,
                spans: dict[tuple[int, int], int] = spans,
            ) -> None:
                spans[number, start] = end

            yield from _stream(own, data, note)
            counted = _characters(view.text) if data is not view.data and len(data) != len(view.text) else None
            for steps, ((number, start), end) in enumerate(spans.items(), 1):
                span = (start, end) if counted is None else (bisect_right(counted, start), bisect_right(counted, end))
                pattern = self._patterns[number]
                self._keep(pattern.name, pattern.confidence(view.text, span), view, span, found)
                if steps % STEPS == 0:
                    yield

    def _keep(self, entity: str, score: float, view: View, span: Span, found: list[Finding]) -> None:
        if score >= self._threshold and not (self._allowed and view.text[span[0] : span[1]] in self._allowed):
            found.append(Finding(entity, *view.origin(*span), score))


def _stream(database: hyperscan.Database, data: bytes, note: Matched) -> Work[None]:
    """Tell `note` of every match in `data`, in slices; a match may begin in one slice and end in another."""
    with database.stream(match_event_handler=note) as stream:
        for start in range(0, len(data), SLICE):
            if start:
                yield
            stream.scan(data[start : start + SLICE] if len(data) > SLICE else data)


def _ranges(anchor: Anchor, places: list[int], data: bytes) -> Iterable[Span]:
    """The ranges of `data` to look at, in order, none overlapping."""
    start = end = -1
    for place in places:
        first, last = place - anchor.before, min(len(data), place + STRIDE + anchor.after)
        if last <= end:
            continue
        if anchor.run is not None:
            run = anchor.run.match(data, last)
            last = run.end() if run else last
        if end < 0:
            start = max(0, first)
        elif first > end:
            yield start, end
            start = first
        end = last
    if end >= 0:
        yield start, end


def _characters(text: str) -> list[int]:
    """Where each character of `text` ends in UTF-8, in bytes."""
    return list(accumulate(len(character.encode("utf-8", "replace")) for character in text))
