"""What one recognizer is: an anchor that says where to look, a pattern that says what is there, and how sure that is."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

CONTEXT_BEFORE: Final = 48
CONTEXT_AFTER: Final = 16
"""How far from a candidate a word still speaks of it, in characters."""

CONTEXT_BONUS: Final = 0.35
"""What such a word adds to the score."""

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Anchor:
    """A regular expression for Hyperscan that reports one position for each place where somebody has to look closer,
    never one for each byte of a long run: that is what keeps hostile texts as cheap as others.

    Looked at is from `before` characters before that position to `after` characters behind it, and on from there for as
    long as `run` matches. No candidate is longer than `longest` characters, unless that is 0.
    """

    expression: str
    before: int
    after: int
    run: re.Pattern[bytes] | None = None
    longest: int = 1024


@dataclass(frozen=True, slots=True)
class Recognizer:
    """One way in which an entity is written. `pattern` is linear in what it is given; its group 1 (or all of it) is the
    candidate, which `widen` may move and `check` may refuse. `context` near it raises the score.
    """

    entity: str
    anchor: Anchor
    pattern: re.Pattern[bytes]
    score: float
    check: Callable[[bytes], bool] | None = None
    context: re.Pattern[bytes] | None = None
    widen: Callable[[bytes, Span], Span | None] | None = None

    def span(self, data: bytes, match: re.Match[bytes]) -> Span | None:
        """Where the candidate is, or None if it is none after all."""
        span: Span | None = match.span(self.pattern.groups and 1)
        if self.widen is not None and span is not None:
            span = self.widen(data, span)
        if span is None or (self.check is not None and not self.check(data[span[0] : span[1]])):
            return None
        return span

    def confidence(self, data: bytes, span: Span, threshold: float) -> float:
        """Between 0 and 1. The words around a candidate are only asked where it is not sure enough without them."""
        if self.score >= threshold or self.context is None:
            return self.score
        near = self.context.search(data, max(0, span[0] - CONTEXT_BEFORE), span[1] + CONTEXT_AFTER)
        return min(1.0, self.score + CONTEXT_BONUS) if near else self.score


def words(expression: str) -> re.Pattern[bytes]:
    """Words of a context: in any letter case, and not the end of another word."""
    return re.compile(rb"(?i)(?<![a-z])(?:" + expression.encode() + rb")")
