"""What one recognizer is: an anchor that says where to look, a pattern that says what is there, and how sure that is."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

CONTEXT_BEFORE: Final = 48
CONTEXT_AFTER: Final = 16
"""How far from a candidate a word still speaks of it, in characters."""

CONTEXT_BONUS: Final = 0.35
"""What such a word adds to the score."""

GAP: Final = rb"[^0-9\n\]]{0,32}"
DIGIT_GAP: Final = rb"(?![ _-]?ids?(?![a-z]))" + GAP + b"+"
LETTER_GAP: Final = GAP + b"?"
"""What lies between a topic and its value: one that begins with a digit, and one that may begin with a letter. The words of
`[PHONE_NUMBER]`, written here before, are no topic, and a `card_id` is no card."""

Span = tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Anchor:
    """A regular expression for Hyperscan that reports the places where somebody has to look closer: as few as can be, never
    one for each byte of a long run, for each costs as much as a hundred bytes do.

    Looked at is from `before` characters before that place to `after` characters behind it, and on from there for as long
    as `run` matches. No candidate is longer than `longest` characters, unless that is 0. An anchor that is only looked for
    where another one was found says so with `inside`. Anchors are compiled together, but those that have no letters to
    look for, and begin anywhere, `apart`: Hyperscan is twice as fast then.
    """

    expression: str
    before: int
    after: int
    run: re.Pattern[bytes] | None = None
    longest: int = 1024
    inside: "Anchor | None" = None
    apart: bool = False


@dataclass(frozen=True, slots=True)
class Topic:
    """Words that speak of an entity, in ASCII and lower case: `within` longer words too (`cardNumber`), or only `alone`. A
    space in them stands for a space, a hyphen, an underscore, or nothing.
    """

    within: tuple[str, ...] = ()
    alone: tuple[str, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        return self.within + self.alone

    @property
    def expression(self) -> str:
        """For Hyperscan, on text in lower case."""
        alone = (rf"\b{_spelled(word)}{_ended(word)}" for word in self.alone)
        return f"(?:{'|'.join([*map(_spelled, self.within), *alone])})"

    @property
    def strict(self) -> bytes:
        """For Python: no word behind a stop, as in `10.1016/j.cell.2020.03`. Each alternative begins with its letter: that is
        what `re` looks for before anything else.
        """
        alone = (
            rf"{word[0]}(?<!\w{word[0]})(?<!\w\.{word[0]}){_spelled(word)[1:]}{_ended(word)}" for word in self.alone
        )
        return f"(?:{'|'.join([*map(_spelled, self.within), *alone])})".encode()

    @property
    def pattern(self) -> re.Pattern[bytes]:
        """For a context: not the end of another word."""
        return re.compile(self.strict)


def _ended(word: str) -> str:
    return r"\b" * word[-1].isalnum()


def _spelled(word: str) -> str:
    return "[ _-]?".join(map(re.escape, word.split()))


@dataclass(frozen=True, slots=True, eq=False)
class Recognizer:
    """One way in which an entity is written, `form` in words. `pattern` is linear in what it is given, which is in lower case
    if `lower` says so; its group 1 (or all of it) is the candidate, which `widen` may move and `check` may refuse. If that
    takes long it is asked for the first `checked` candidates of a text only; the others are believed.

    Words of `topic` near it raise the score; if it is `told`, the pattern asks for one itself.
    """

    entity: str
    form: str
    anchor: Anchor
    pattern: re.Pattern[bytes]
    score: float
    check: Callable[[bytes], bool] | None = None
    topic: Topic | None = None
    told: bool = False
    widen: Callable[[bytes, Span], Span | None] | None = None
    lower: bool = False
    checked: int = 0
    context: re.Pattern[bytes] = field(init=False)
    group: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "context", (self.topic or Topic()).pattern)
        object.__setattr__(self, "group", min(1, self.pattern.groups))

    @property
    def surest(self) -> float:
        """The score with a word of its topic near it."""
        return self.score if self.topic is None or self.told else min(1.0, self.score + CONTEXT_BONUS)


def told(
    entity: str,
    form: str,
    topic: Topic,
    value: bytes,
    check: Callable[[bytes], bool] | None = None,
    *,
    gap: bytes = DIGIT_GAP,
    letters: int = 0,
) -> Recognizer:
    """A value that only the words before it give away; at most 32 characters, and no digit, lie between. `value` is matched
    in lower case; its first digit comes after at most so many `letters`.
    """
    longest = max(map(len, topic.words))
    anchor = Anchor(
        f"(?i){topic.expression}[^0-9\\n\\]]{{0,{32 + letters}}}[0-9]", before=longest + 48 + letters, after=120
    )
    pattern = re.compile(topic.strict + gap + rb"(?<![a-z0-9])(" + value + rb")(?![a-z0-9])")
    return Recognizer(entity, form, anchor, pattern, 0.65, check, topic, told=True, lower=True)
