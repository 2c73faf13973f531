"""Find entities in a text: Hyperscan says where to look, in one pass for all of them; patterns and checks say what is there.

A pass of Hyperscan costs the same for every text, each recognizer looks at a place once, and its pattern is linear: so the
whole is linear in the length of the text, whatever the text is.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from extproc_filters.pii.anchors import Places, Search, UnsupportedExpression
from extproc_filters.pii.credentials import CREDENTIALS
from extproc_filters.pii.findings import Finding
from extproc_filters.pii.models import NamedModel
from extproc_filters.pii.own import OwnPatterns, Pattern
from extproc_filters.pii.people import PEOPLE
from extproc_filters.pii.recognizer import CONTEXT_AFTER, CONTEXT_BEFORE, Anchor, Recognizer, Span
from extproc_filters.pii.views import View, views
from extproc_filters.pii.work import SLICE, STEPS, Work

__all__ = ["ENTITIES", "RECOGNIZERS", "Pattern", "Scanner", "UnsupportedExpression"]

RECOGNIZERS: Final = (*PEOPLE, *CREDENTIALS)
ENTITIES: Final = tuple(sorted({recognizer.entity for recognizer in RECOGNIZERS}))
"""What is looked for if a configuration does not say."""

LITTLE: Final = 4096
"""A range that is looked at in one go: it has less than STEPS candidates."""

EACH: Final = 64
"""What a range costs beside its length, in characters."""


class Scanner:
    """Looks for `entities` and `patterns`, and asks `models`; what scores under `threshold` or reads like one of `allowed` is
    not found.
    """

    def __init__(
        self,
        entities: Iterable[str] = ENTITIES,
        patterns: Sequence[Pattern] = (),
        threshold: float = 0.6,
        allowed: Iterable[str] = (),
        models: Sequence[NamedModel] = (),
    ) -> None:
        wanted = frozenset(entities)
        self._threshold, self._allowed = threshold, frozenset(allowed)
        self._by_anchor: dict[Anchor, list[Recognizer]] = defaultdict(list)
        for recognizer in RECOGNIZERS:
            if recognizer.entity in wanted and recognizer.surest >= threshold:
                self._by_anchor[recognizer.anchor].append(recognizer)
        self._searches, self._inside = _searches(list(self._by_anchor))
        self._own = OwnPatterns(patterns) if patterns else None
        self._models = tuple(models)

    def find(self, text: str, *, escaped: bool = False) -> Work[list[Finding]]:
        """What is in `text`, in no order and perhaps overlapping. `escaped`: it is the text of a JSON document.

        Raises:
            Defect: a model told of what cannot be.
        """
        found: list[Finding] = []
        asked: Counter[Recognizer] = Counter()
        for view in (yield from views(text, escaped=escaped)):
            look = _Look(view, found, asked)
            for search in self._searches:
                places = yield from search.places(view.data)
                if places:
                    yield from self._look_at(search, places, 0, look)
            if self._own is not None:
                for number, (pattern, span) in enumerate((yield from self._own.find(view)), 1):
                    self._keep(pattern.name, pattern.confidence(view.text, span), span, look)
                    if number % STEPS == 0:
                        yield
            for model in self._models:
                for each in (yield from model.find(view.text)):
                    self._keep(each.entity, each.score, (each.start, each.end), look)
        return found

    def _look_at(self, search: Search, places: Places, offset: int, look: "_Look") -> Work[None]:
        """Look closer at `places`, which count from `offset`."""
        done = 0
        for number, pairs in places.items():
            anchor = search.anchors[number]
            for start, end in _ranges(anchor, pairs, offset, look.view.data):
                for recognizer in self._by_anchor[anchor]:
                    if end - start <= LITTLE:
                        self._look(recognizer, look, start, end, end)
                    else:
                        yield from self._look_far(recognizer, look, start, end)
                if anchor in self._inside:
                    inner = self._inside[anchor]
                    found = yield from inner.places(look.view.data[start:end])
                    if found:
                        yield from self._look_at(inner, found, start, look)
                done += end - start + EACH
                if done > SLICE:
                    done = 0
                    yield

    def _look_far(self, recognizer: Recognizer, look: "_Look", start: int, end: int) -> Work[None]:
        """What `recognizer` sees between `start` and `end`: what begins in one piece, then what begins in the next."""
        longest = recognizer.anchor.longest
        while start < end:
            stop = start + LITTLE if longest else end
            start = self._look(recognizer, look, start, min(end, stop + longest), stop)
            yield

    def _look(self, recognizer: Recognizer, look: "_Look", start: int, end: int, stop: int) -> int:
        """What begins between `start` and `stop`, seen as if the text ended at `end`, but not too many at once. Gives where to
        go on.
        """
        data = look.view.data
        widen, check, group = recognizer.widen, look.check(recognizer), recognizer.group
        entity, score = recognizer.entity, recognizer.score
        sure = score >= self._threshold
        at_once = sure and not (look.view.layers or self._allowed)
        source = look.lower if recognizer.lower else data
        for number, match in enumerate(recognizer.pattern.finditer(source, start, end), 1):
            if match.start() >= stop:
                return max(stop, start)
            start = max(match.end(), match.start() + 1)
            span = match.span(group) if widen is None else widen(data, match.span(group))
            if span is not None and (check is None or check(data[span[0] : span[1]])):
                if at_once:
                    look.found.append(Finding(entity, *span, score))
                else:
                    self._keep(entity, score if sure else self._confidence(recognizer, look, span), span, look)
            if number == STEPS:
                return start
        return stop

    def _confidence(self, recognizer: Recognizer, look: "_Look", span: Span) -> float:
        """What it is with the words around it, which are only asked where a candidate is not sure enough without them."""
        if recognizer.surest == recognizer.score:
            return recognizer.score
        near = recognizer.context.search(look.lower, max(0, span[0] - CONTEXT_BEFORE), span[1] + CONTEXT_AFTER)
        return recognizer.surest if near else recognizer.score

    def _keep(self, entity: str, score: float, span: Span, look: "_Look") -> None:
        view = look.view
        if score >= self._threshold and not (self._allowed and view.text[span[0] : span[1]] in self._allowed):
            start, end = view.origin(*span) if view.layers else span
            look.found.append(Finding(entity, start, end, score))


@dataclass
class _Look:
    """One view while it is looked at; `asked` counts the checks of the whole text."""

    view: View
    found: list[Finding]
    asked: Counter[Recognizer]

    @cached_property
    def lower(self) -> bytes:
        return self.view.data.lower()

    def check(self, recognizer: Recognizer) -> Callable[[bytes], bool] | None:
        """Whether a candidate is what it looks like; one too many for a check that takes long is believed."""
        asked, check, most = self.asked, recognizer.check, recognizer.checked
        if check is None or not most:
            return check

        def sparing(candidate: bytes) -> bool:
            asked[recognizer] += 1
            return asked[recognizer] > most or check(candidate)

        return sparing


def _searches(anchors: list[Anchor]) -> tuple[list[Search], dict[Anchor, Search]]:
    """The searches of a whole text, and those of what was found by one of them."""
    outer = {each.inside or each: None for each in anchors}
    groups = ([each for each in outer if not each.apart], [each for each in outer if each.apart])
    inner: dict[Anchor, list[Anchor]] = defaultdict(list)
    for each in anchors:
        if each.inside is not None:
            inner[each.inside].append(each)
    return [Search(group) for group in groups if group], {outside: Search(group) for outside, group in inner.items()}


def _ranges(anchor: Anchor, pairs: list[int], offset: int, data: bytes) -> Iterator[Span]:
    """The ranges of `data` to look at, in order, none overlapping."""
    begin = upto = -1
    for first, last in zip(pairs[::2], pairs[1::2], strict=True):
        start, end = max(0, offset + first - anchor.before), min(len(data), offset + last + anchor.after)
        if end <= upto:
            continue
        if anchor.run is not None:
            run = anchor.run.match(data, end)
            end = run.end() if run else end
        if start >= upto:
            if upto > 0:
                yield begin, upto
            begin = start
        upto = end
    if upto > 0:
        yield begin, upto
