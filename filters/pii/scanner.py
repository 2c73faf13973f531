"""Find entities in a text: Hyperscan says where to look, in one pass for all of them; patterns and checks say what is there.

A pass of Hyperscan costs the same for every text, each recognizer looks at a place once, and its pattern is linear: so the
whole is linear in the length of the text, whatever the text is.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from extproc_filters.pii.anchors import Places, Search, UnsupportedExpression
from extproc_filters.pii.chance import no_accident
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

    @property
    def expressions(self) -> list[list[str]]:
        """What Hyperscan looks for in a whole text, in the groups in which it is compiled."""
        return [[anchor.expression for anchor in search.anchors] for search in self._searches]

    def find(self, text: str, *, escaped: bool = False) -> Work[list[Finding]]:
        """What is in `text`, in no order and perhaps overlapping. `escaped`: it is the text of a JSON document.

        Raises:
            Defect: a model told of what cannot be.
        """
        found: list[Finding] = []
        rights: Rights = {}
        for view in (yield from views(text, escaped=escaped)):
            look = _Look(view, found, rights)
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
        return (yield from no_accident(text, found))

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
        go on. Hostile texts are full of candidates, so they are sorted out all together, the cheapest way first.
        """
        data, group = look.view.data, recognizer.group
        matches = list(islice(recognizer.pattern.finditer(look.source(recognizer), start, end), STEPS))
        many = len(matches) == STEPS
        while matches and matches[-1].start() >= stop:
            matches.pop()
            many = False
        if not matches:
            return stop
        spans = [match.span(group) for match in matches]
        if (widen := recognizer.widen) is not None:
            spans = [wide for span in spans if (wide := widen(data, span)) is not None]
        if recognizer.check is not None:
            right = look.right(recognizer)
            spans = [span for span in spans if right[data[span[0] : span[1]]]]
        self._keep_all(recognizer, spans, look)
        after = max(matches[-1].end(), matches[-1].start() + 1)
        return after if many else max(stop, after)

    def _keep_all(self, recognizer: Recognizer, spans: list[Span], look: "_Look") -> None:
        entity, score = recognizer.entity, recognizer.score
        sure = score >= self._threshold
        if sure and not (look.view.layers or self._allowed):
            look.found += [Finding(entity, start, end, score) for start, end in spans]
        else:
            for span in spans:
                self._keep(entity, score if sure else self._confidence(recognizer, look, span), span, look)

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


class _Right(dict[bytes, bool]):
    """Whether a candidate is what it looks like, asked once for those that are equal. One too many for a check that takes long
    is believed.
    """

    def __init__(self, recognizer: Recognizer) -> None:
        super().__init__()
        self._check, self._most = recognizer.check or bool, recognizer.checked

    def __missing__(self, candidate: bytes) -> bool:
        believed = 0 < self._most <= len(self)
        self[candidate] = right = believed or self._check(candidate)
        return right


Rights = dict[Recognizer, _Right]


@dataclass(slots=True)
class _Look:
    """One view while it is looked at; `rights` are those of the whole text."""

    view: View
    found: list[Finding]
    rights: Rights
    _lower: bytes | None = None

    @property
    def lower(self) -> bytes:
        if self._lower is None:
            self._lower = self.view.data.lower()
        return self._lower

    def source(self, recognizer: Recognizer) -> bytes:
        """What its pattern is for."""
        return self.lower if recognizer.lower else self.view.data

    def right(self, recognizer: Recognizer) -> _Right:
        if recognizer not in self.rights:
            self.rights[recognizer] = _Right(recognizer)
        return self.rights[recognizer]


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
