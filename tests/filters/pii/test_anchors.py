"""An anchor only saves work: what its recognizer would find in the whole text is found with it as well."""

from random import Random

import hyperscan
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc_filters.pii.anchors import Search, UnsupportedExpression, compiled
from extproc_filters.pii.recognizer import Anchor, Recognizer, Span
from extproc_filters.pii.scanner import RECOGNIZERS, Scanner
from extproc_filters.pii.work import SLICE, done
from tests.corpus.texts import LABELS
from tests.corpus.values import VALUES
from tests.filters.pii.samples import NEAR_MISSES

SCANNER = Scanner(threshold=0.0)
JOINTS = [
    "",
    " ",
    ".",
    ",",
    ": ",
    "-",
    "/",
    "+",
    "(",
    ")",
    "\n",
    "\t",
    '"',
    "=",
    "0",
    "4",
    "1",
    "a",
    "A",
    "x",
    "_",
    "@",
    "://",
    "]",
    "  ",
    " - ",
]
WORDS = sorted({word for each in RECOGNIZERS if each.topic for word in each.topic.words})


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Values, halves of values, near misses, topics and what may stand between them."""
    rng = draw(st.randoms(use_true_random=False))
    pieces = []
    for entity in draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=4)):
        value = VALUES[entity](Random(rng.random()))
        cut = draw(st.sampled_from([0, 0, 0, 1, len(value) // 2]))
        pieces += [
            draw(st.sampled_from(JOINTS)),
            draw(st.sampled_from([*LABELS.get(entity, ("",)), *WORDS])),
            draw(st.sampled_from(JOINTS)),
        ]
        pieces += [value[cut:], draw(st.sampled_from(JOINTS))]
        pieces += [draw(st.sampled_from([*NEAR_MISSES[entity], ""]))]
    return "".join(pieces)


def everywhere(recognizer: Recognizer, data: bytes) -> set[Span]:
    """What a recognizer finds if it looks at all of `data`, a check that takes long included."""
    spans = set()
    for match in recognizer.pattern.finditer(data.lower() if recognizer.lower else data):
        span = match.span(recognizer.group)
        moved = recognizer.widen(data, span) if recognizer.widen else span
        if moved is not None and (recognizer.check is None or recognizer.check(data[moved[0] : moved[1]])):
            spans.add(moved)
    return spans


@settings(max_examples=200, deadline=None)
@given(texts())
def test_nothing_is_lost_by_looking_only_near_the_anchors(text: str) -> None:
    data = text.encode("ascii", "replace")
    found = {(each.entity, each.start, each.end) for each in done(SCANNER.find(data.decode()))}
    for recognizer in RECOGNIZERS:
        for start, end in everywhere(recognizer, data):
            assert any(
                entity == recognizer.entity and first <= start and end <= last for entity, first, last in found
            ), f"{recognizer.entity} ({recognizer.form}) at {start} to {end}"


@pytest.mark.parametrize("size", [0, 1, 40, SLICE, SLICE + 1, 3 * SLICE])
def test_places_are_the_same_whether_a_text_is_short_or_long(size: int) -> None:
    search = Search([Anchor("ab", 1, 1), Anchor("c{3}", 0, 0)])
    data = b" ab ccc " + b"." * size + b"ab" + b"." * 200 + b"abab"
    end = 8 + size
    far = [end + 2, end + 2] if size > 200 else []
    places = done(search.places(data))
    assert places[1] == [7, 7]
    assert places[0][0] == 3
    assert places[0][-1] == len(data)
    assert not far or places[0] == [3, 3, *far, len(data) - 2, len(data)]


def test_an_expression_is_compiled_once() -> None:
    assert compiled(("abc",)) is compiled(("abc",))
    with pytest.raises(UnsupportedExpression):
        compiled(("a(",))


@pytest.mark.parametrize(
    "unit", ["a", "1", "-", "1-", "a.", "a@", "A1", "eyJ", "a:", "ab:", "4 ", "+1", "\x7f", "=", "sk"]
)
def test_an_anchor_reports_few_places_of_a_long_run(unit: str) -> None:
    """Each place costs as much as a hundred bytes."""
    reported = 0

    def note(*_: object) -> None:
        nonlocal reported
        reported += 1

    data = (unit * 4000).encode()
    for recognizer in RECOGNIZERS:
        if recognizer.anchor.inside is None:
            compiled((recognizer.anchor.expression,), 0, hyperscan.HS_MODE_BLOCK).scan(data, match_event_handler=note)
    assert reported < 40
