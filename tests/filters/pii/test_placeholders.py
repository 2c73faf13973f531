"""Which placeholder stands for which value."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc_filters.pii.edits import bare, hashing, plain
from extproc_filters.pii.placeholders import IN_DOCUMENTS, LONGEST, WRITTEN, Placeholders, present
from extproc_filters.pii.restore import escaped
from extproc_filters.pii.work import done

SAME = [
    "jane@example.org", "jane%40example.org", "jane&#64;example.org", "ｊane@example.org", "jane@exam\u200bple.org",
    r"jane\u0040example.org",
]  # fmt: skip


@pytest.mark.parametrize("other", SAME)
def test_one_value_has_one_placeholder_and_one_hash(other: str) -> None:
    made = Placeholders()
    assert made.write("EMAIL_ADDRESS", SAME[0], 0) == made.write("EMAIL_ADDRESS", other, 0) == "[EMAIL_ADDRESS_1]"
    assert made.original("[EMAIL_ADDRESS_1]") == SAME[0]
    write = hashing(lambda message: message.ljust(32))
    assert write("EMAIL_ADDRESS", SAME[0], 0) == write("EMAIL_ADDRESS", other, 0)


def test_numbers_go_by_entity_and_appearance() -> None:
    made = Placeholders(frozenset({"[A_2]", "[B_1]"}))
    given = [
        made.write(entity, value, 0) for entity, value in (("A", "x"), ("B", "x"), ("A", "y"), ("A", "x"), ("A", "Y"))
    ]
    assert given == ["[A_1]", "[B_2]", "[A_3]", "[A_1]", "[A_4]"]
    assert [made.original(each) for each in given] == ["x", "x", "y", "x", "Y"]
    assert (made.original("[A_2]"), len(made)) == (None, 4)


def test_others_are_others() -> None:
    values = [
        "jané@example.org",
        "jane@example.org",
        "jane\u0301@example.org",
        "Jane@example.org",
        "李@example.org",
        "张@example.org",
    ]
    assert len({Placeholders().write("E", value, 0) for value in values}) == 1
    made = Placeholders()
    assert len({made.write("E", value, 0) for value in values}) == 5
    assert plain("jane\u0301") == plain("jané")


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), st.integers(0, 5), st.booleans())
def test_escapes_come_off_as_they_went_on(value: str, depth: int, ascii_only: bool) -> None:
    assert bare(escaped(value, depth), depth) == value
    written = value
    for _ in range(depth):
        written = json.dumps(written, ensure_ascii=ascii_only)[1:-1]
    assert bare(written, depth) == value


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=30).filter(lambda text: "[" not in text), st.integers(0, 6))
def test_a_placeholder_is_seen_however_deep_it_lies(around: str, depth: int) -> None:
    text = f"{around} [EMAIL_ADDRESS_7] {around}"
    for _ in range(depth):
        text = json.dumps({"a": text})
    assert "[EMAIL_ADDRESS_7]" in done(present(text, escaped=depth > 0))


def test_the_longest_placeholder_fits() -> None:
    for name, mark in (("E" * 64, ""), ("E" + "_" * 63, "\\")):
        longest = f"{mark}[{name}_{'9' * 9}{mark}]".replace("_", f"{mark}_")
        assert WRITTEN.fullmatch(longest)
        assert IN_DOCUMENTS.search(longest)
        assert len(longest) <= LONGEST
    assert len(longest) == LONGEST
    assert "E" * 10 not in repr(Placeholders())
