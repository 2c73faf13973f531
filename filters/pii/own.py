"""The operator's own patterns."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

from extproc_filters.pii.anchors import own, stream
from extproc_filters.pii.recognizer import CONTEXT_AFTER, CONTEXT_BEFORE, CONTEXT_BONUS, Span
from extproc_filters.pii.views import View
from extproc_filters.pii.work import Work


class Pattern:
    """One of the operator's own regular expressions.

    Raises:
        UnsupportedExpression: Hyperscan does not know its syntax, or it matches the empty text.
    """

    def __init__(self, name: str, expression: str, score: float, context: Sequence[str] = ()) -> None:
        own([expression])
        self.name, self.expression = name, expression
        self._score = score
        self._near = re.compile("(?i)" + "|".join(map(re.escape, context))) if context else None

    def confidence(self, text: str, span: Span) -> float:
        """Between 0 and 1; a word of the context near it makes it surer."""
        if self._near is None:
            return self._score
        near = self._near.search(text, max(0, span[0] - CONTEXT_BEFORE), span[1] + CONTEXT_AFTER)
        return min(1.0, self._score + CONTEXT_BONUS) if near else self._score


class OwnPatterns:
    """All of them, looked for together."""

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        self._patterns = tuple(patterns)
        self._database = own([each.expression for each in patterns])

    def find(self, view: View) -> Work[list[tuple[Pattern, Span]]]:
        """In the text as it reads, and folded, so that look-alikes hide nothing from them either; spans of the view."""
        encoded = view.text.encode("utf-8", "replace")
        found: list[tuple[Pattern, Span]] = []
        for data in (encoded,) if encoded == view.data else (encoded, view.data):
            spans: dict[tuple[int, int], int] = {}

            def note(
                number: int, start: int, end: int, _flags: int, _context: object, spans: dict[Span, int] = spans
            ) -> None:
                spans[number, start] = end

            yield from stream(self._database, data, note)
            counted = None if len(data) == len(view.text) else list(_characters(view.text))
            for (number, start), end in spans.items():
                span = (start, end) if counted is None else (bisect_right(counted, start), bisect_right(counted, end))
                found.append((self._patterns[number], span))
            yield
        return found


def _characters(text: str) -> Iterator[int]:
    """Where each character of `text` ends in UTF-8, in bytes."""
    return accumulate(len(character.encode("utf-8", "replace")) for character in text)
