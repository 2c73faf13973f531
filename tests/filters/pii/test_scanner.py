"""What is found, what is not, and that no text makes looking for it slow."""

import re
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc_filters.pii.anchors import Search
from extproc_filters.pii.findings import Finding, merge
from extproc_filters.pii.numbers import DIGITS
from extproc_filters.pii.scanner import ENTITIES, Pattern, Scanner, UnsupportedExpression, _ranges
from extproc_filters.pii.work import SLICE, done
from extproc_filters.pii_detector import scan_text
from tests.filters.pii.samples import CARD, EMAIL, IN_CONTEXT, ORDINARY, VALUES

SCANNER = Scanner()
EVERY = [(entity, value) for entity, values in VALUES.items() for value in values]
AROUND = {"URL_CREDENTIALS": ("https://", "@db.example.com/x")}


def found(text: str, scanner: Scanner = SCANNER, *, escaped: bool = False) -> list[tuple[str, str]]:
    return [
        (each.entity, text[each.start : each.end]) for each in done(merge(done(scanner.find(text, escaped=escaped))))
    ]


@pytest.mark.parametrize(("entity", "value"), EVERY)
def test_finds_exactly_the_value(entity: str, value: str) -> None:
    before, after = AROUND.get(entity, (" ", " "))
    assert found(f"It is{before}{value}{after}indeed") == [(entity, value)]


@pytest.mark.parametrize(("entity", "value"), EVERY)
@pytest.mark.parametrize("around", [("", ""), ("(", ")"), ('"', '"'), ("x: ", "."), ("\n", "\n"), ("你好", "你好")])
def test_whatever_stands_around_it(entity: str, value: str, around: tuple[str, str]) -> None:
    before, after = AROUND.get(entity, ("", ""))
    assert found(around[0] + before + value + after + around[1]) == [(entity, value)]


@pytest.mark.parametrize(("entity", "told"), IN_CONTEXT.items())
def test_finds_what_only_its_context_gives_away(entity: str, told: tuple[str, str]) -> None:
    topic, value = told
    assert found(topic + value) == [(entity, value)]
    assert found("the number of things is " + value) == []


def test_every_entity_has_a_sample() -> None:
    assert {*VALUES, *IN_CONTEXT} == set(ENTITIES)


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_texts_have_nothing(text: str) -> None:
    assert found(text) == []


def test_a_card_number_among_other_numbers() -> None:
    assert found("2024 4111 1111 1111 1111 123") == [("CREDIT_CARD", "4111 1111 1111 1111")]
    assert found("1234 5678 4111 1111 1111 1111") == [("CREDIT_CARD", "4111 1111 1111 1111")]


def test_an_iban_ends_where_its_country_says() -> None:
    assert found("DE89 3704 0044 0532 0130 00 or later") == [("IBAN_CODE", "DE89 3704 0044 0532 0130 00")]


@pytest.mark.parametrize(
    ("text", "entity"),
    [
        ("４１１１ １１１１ １１１１ １１１１", "CREDIT_CARD"),
        ("٤١١١١١١١١١١١١١١١", "CREDIT_CARD"),
        ("4111\u200b1111\u200d1111\u200c1111", "CREDIT_CARD"),
        ("4111\u00a01111\u20131111\u20111111", "CREDIT_CARD"),
        ("jo\u00adhn@exam\ufeffple.com", "EMAIL_ADDRESS"),
        ("ｊｏｈｎ＠ｅｘａｍｐｌｅ．ｃｏｍ", "EMAIL_ADDRESS"),
        ("john%40example.com", "EMAIL_ADDRESS"),
        ("john%2540example%252Ecom", "EMAIL_ADDRESS"),
        ("%6a%6f%68%6e%40%65%78%61%6d%70%6c%65%2e%63%6f%6d", "EMAIL_ADDRESS"),
        ("john&#64;example&#x2e;com", "EMAIL_ADDRESS"),
        ("john&commat;example&period;com", "EMAIL_ADDRESS"),
        (r"john\u0040example.com", "EMAIL_ADDRESS"),
        (r"john\x40example.com", "EMAIL_ADDRESS"),
        ("j\0o\0h\0n\0@\0e\0x\0a\0m\0p\0l\0e\0.\0c\0o\0m", "EMAIL_ADDRESS"),
        ("j\u0301ohn@example.com", "EMAIL_ADDRESS"),
        ("%EF%BC%94111111111111111", "CREDIT_CARD"),
    ],
)
def test_disguises(text: str, entity: str) -> None:
    assert found(text) == [(entity, text)]


def test_an_escape_before_a_value_is_left_alone() -> None:
    assert found(r"one\njohn@example.com\nthree") == [("EMAIL_ADDRESS", "john@example.com")]
    assert found("%20john%40example.com%20") == [("EMAIL_ADDRESS", "john%40example.com")]


def test_a_password_in_a_url_is_no_address() -> None:
    assert found("https://bob:s3cret@host.example.com/x") == [("URL_CREDENTIALS", "bob:s3cret")]
    assert found("contact:bob@host.example.com") == [("EMAIL_ADDRESS", "bob@host.example.com")]


@pytest.mark.parametrize("at", [SLICE - 30, SLICE - 9, SLICE - 1, SLICE, 2 * SLICE - 5])
@pytest.mark.parametrize(("entity", "value"), EVERY)
def test_a_value_does_not_hide_between_slices(entity: str, value: str, at: int) -> None:
    before, after = AROUND.get(entity, (" ", " "))
    text = "x " * ((at - len(before)) // 2) + before + value + after + "y " * 100
    assert found(text) == [(entity, value)]


@pytest.mark.parametrize("at", [SLICE - 130, SLICE - 70, SLICE - 20, SLICE - 5, SLICE, SLICE + 5, 2 * SLICE - 9])
def test_nor_in_a_text_that_is_looked_at_everywhere(at: int) -> None:
    assert found("1-1 " * (at // 4) + f"x {CARD} y") == [("CREDIT_CARD", CARD)]
    assert found("a@a " * (at // 4) + EMAIL + " a@a") == [("EMAIL_ADDRESS", EMAIL)]
    assert found("card " * (at // 5) + "41 1111 1111 1111 11") == [("CREDIT_CARD", "41 1111 1111 1111 11")]


def test_the_threshold() -> None:
    assert found("203.0.113.77", Scanner(threshold=0.9)) == []
    assert found("123-45-6789", Scanner(threshold=0.9)) == []
    assert found("SSN 123-45-6789", Scanner(threshold=0.9)) == [("US_SSN", "123-45-6789")]
    assert found(VALUES["EMAIL_ADDRESS"][0], Scanner(threshold=0.9)) != []


def test_only_the_entities_that_are_asked_for() -> None:
    text = "jane.roe@example.org 4111 1111 1111 1111"
    assert found(text, Scanner(["CREDIT_CARD"])) == [("CREDIT_CARD", "4111 1111 1111 1111")]
    assert found(text, Scanner([])) == []


def test_what_is_allowed_is_not_found() -> None:
    scanner = Scanner(allowed=["help@example.org"])
    assert found("help@example.org jane@example.org", scanner) == [("EMAIL_ADDRESS", "jane@example.org")]
    assert found("xhelp@example.org", scanner) != []


def test_own_patterns() -> None:
    own = [Pattern("EMPLOYEE", r"EMP-\d{6}", 0.8), Pattern("STREET", "(?i)straße \\d+", 0.8)]
    scanner = Scanner([], own)
    assert found("an EMP-123456, EMP-12", scanner) == [("EMPLOYEE", "EMP-123456")]
    assert found("ＥＭＰ-１２３４５６", scanner) == [("EMPLOYEE", "ＥＭＰ-１２３４５６")]
    assert found("Grüße aus der Straße 12, ja", scanner) == [("STREET", "Straße 12")]
    assert found("日本 EMP-123456 日本", scanner) == [("EMPLOYEE", "EMP-123456")]


def test_an_own_pattern_takes_its_longest_match_across_slices() -> None:
    text = "z" * (SLICE - 3) + "EMP-123456789"
    assert found(text, Scanner([], [Pattern("EMPLOYEE", r"EMP-\d+", 0.8)])) == [("EMPLOYEE", "EMP-123456789")]


def test_the_context_of_an_own_pattern() -> None:
    scanner = Scanner([], [Pattern("BADGE", r"\b\d{5}\b", 0.4, ["badge", "a+b"])])
    assert found("the Badge 12345", scanner) == [("BADGE", "12345")]
    assert found("the number 12345", scanner) == []


@pytest.mark.parametrize("expression", [r"(a)\1", "(?=x)a", "a*", "(a"])
def test_an_expression_that_hyperscan_refuses(expression: str) -> None:
    with pytest.raises(UnsupportedExpression, match=r"\w"):
        Pattern("X", expression, 0.8)


HOSTILE = [
    "a", "a@a.", "1", "1-", "4-", "4444-", "4444 ", "@", "@a.", "deadbeef0", "eyJ", ".eyJaaaaaa", "eyJ.", "a:", "1.",
    "1.1.1.1 ", "://", "://a:b@c ", "://u:", "DE89 ", "-----BEGIN PRIVATE KEY-----", "-----BEGIN PRIVATE KEY", "a@b.co ",
    "call me ", "born ", "\\", "\\\\n", "%41", "%2525", "&#64;", "&", "\u200b", "é", "é\u200b", "１", "+1", "0x", "passport ",
    "secret key ", "sk-", "[", " ",
]  # fmt: skip


def cost(text: str) -> float:
    """CPU seconds, the best of three."""
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        done(SCANNER.find(text))
        best = min(best, time.process_time() - start)
    return best


@pytest.mark.parametrize("unit", HOSTILE)
def test_the_cost_is_linear(unit: str) -> None:
    size = 16 * 1024
    small, large = unit * (size // len(unit)), unit * (8 * size // len(unit))
    assert cost(large) < 24 * cost(small) + 0.05  # eight times the text; a quadratic search takes 64 times as long


DIGITS_AND_MORE = st.text(st.sampled_from("0123456789 .-/()\t4a@+x"), max_size=400)


@settings(max_examples=150)
@given(st.lists(st.one_of(DIGITS_AND_MORE, st.sampled_from([CARD, "x" * 90, " 123-45-6789 ", "+1 555 123 4567"]))))
def test_no_place_is_looked_at_twice(pieces: list[str]) -> None:
    data = "".join(pieces).encode()
    places = done(Search([DIGITS]).places(data)).get(0, [])
    ranges = list(_ranges(DIGITS, places, 0, data))
    assert all(0 <= start <= end <= len(data) for start, end in ranges)
    assert all(before[1] <= after[0] for before, after in pairwise(ranges))
    for place in places:
        assert all(
            any(start <= position < end for start, end in ranges)
            for position in (max(0, place - DIGITS.before), min(len(data), place + DIGITS.after) - 1)
        )


@settings(max_examples=150)
@given(
    st.lists(
        st.builds(
            lambda entity, start, size, score: Finding(entity, start, start + size, score),
            st.sampled_from("ABC"),
            st.integers(0, 40),
            st.integers(1, 12),
            st.sampled_from([0.6, 0.8]),
        )
    )
)
def test_merged_findings_cover_the_same_and_do_not_overlap(findings: list[Finding]) -> None:
    merged = done(merge(findings))
    assert merged == done(merge(reversed(findings)))
    assert all(before.end <= after.start for before, after in pairwise(merged))
    covered = {position for each in findings for position in range(each.start, each.end)}
    assert {position for each in merged for position in range(each.start, each.end)} == covered


def test_the_longest_gives_the_name() -> None:
    findings = [Finding("SHORT", 0, 4, 0.9), Finding("LONG", 2, 9, 0.6)]
    assert done(merge(findings)) == [Finding("LONG", 0, 9, 0.6)]
    assert done(merge([Finding("B", 0, 4, 0.9), Finding("A", 0, 4, 0.9)]))[0].entity == "A"
    assert done(merge([Finding("B", 0, 4, 0.9), Finding("A", 0, 4, 0.8)]))[0].entity == "B"


def test_a_finding_does_not_show_the_text() -> None:
    text = "jane.roe@example.org"
    assert not re.search("jane|roe", repr(done(SCANNER.find(text))))


@pytest.mark.parametrize("behind", ["-", "--", "-foo", "- x", "_", ".", "+"])
def test_what_stands_right_behind_an_address_does_not_hide_it(behind: str) -> None:
    text = f"jane.roe@example.org{behind}"
    assert [text[each.start : each.end] for each in scan_text(text)] == ["jane.roe@example.org"]
