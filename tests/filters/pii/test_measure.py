"""Precision and recall are what a person would count."""

import json

import pytest

from extproc.errors import ConfigError
from extproc_filters.pii.findings import Finding
from extproc_filters.pii.measure import Example, Span, Tally, compare, read_corpus, table


def example(text: str, *spans: tuple[str, int, int]) -> Example:
    return Example(text=text, spans=[Span(entity=entity, start=start, end=end) for entity, start, end in spans])


def measured(findings: list[Finding], *spans: tuple[str, int, int]) -> dict[str, Tally]:
    return compare([example("0123456789", *spans)], lambda _text: findings)


def test_found_from_the_first_to_the_last_character() -> None:
    assert measured([Finding("A", 2, 5, 1)], ("A", 2, 5)) == {"A": Tally(there=1, found=1, exactly=1, told=1, right=1)}


def test_found_in_part_leaves_something() -> None:
    assert measured([Finding("A", 3, 9, 1)], ("A", 2, 5)) == {"A": Tally(there=1, found=1, left=1, told=1, right=1)}


def test_found_under_another_name_does_not_leave() -> None:
    assert measured([Finding("B", 0, 9, 1)], ("A", 2, 5)) == {"A": Tally(there=1), "B": Tally(told=1)}


def test_two_findings_over_one_value() -> None:
    findings = [Finding("A", 4, 6, 1), Finding("A", 2, 4, 1)]
    assert measured(findings, ("A", 2, 6)) == {"A": Tally(there=1, found=1, told=2, right=2)}


def test_missed_and_made_up() -> None:
    assert measured([], ("A", 2, 5)) == {"A": Tally(there=1, left=1)}
    assert measured([Finding("A", 5, 6, 1)], ("A", 2, 5)) == {"A": Tally(there=1, left=1, told=1)}
    assert measured([]) == {}


def test_the_table() -> None:
    rows = table({"B": Tally(4, 3, 2, 1, 5, 4), "A": Tally(there=1, left=1), "C": Tally(told=2)}).splitlines()
    assert rows[2:] == [
        "| A | 1 | 0 | 0 | - | 0.000 | 1 |",
        "| B | 4 | 5 | 2 | 0.800 | 0.750 | 1 |",
        "| C | 0 | 2 | 0 | 0.000 | - | 0 |",
        "| all | 5 | 7 | 2 | 0.571 | 0.600 | 2 |",
    ]


def test_a_corpus_is_read() -> None:
    lines = [
        b'{"text": "abc", "spans": [], "style": "x"}',
        b"",
        b'{"text": "abc", "spans": [{"entity":"A","start":0,"end":3}]}',
    ]
    assert [len(each.spans) for each in read_corpus(lines)] == [0, 1]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("secret", "line 2: not JSON"),
        ("[]", "line 2: "),
        ('{"text": "secret"}', "line 2: spans: Field required"),
        ('{"text": "secret", "spans": [{"entity": "A", "start": 0}]}', "line 2: spans.0.end: Field required"),
        (
            '{"text": "secret", "spans": [{"entity": "A", "start": 4, "end": 9}]}',
            "A is said to be from 4 to 9 of 6 characters",
        ),
        ('{"text": "secret", "spans": [{"entity": "A", "start": 2, "end": 2}]}', "from 2 to 2"),
        ('{"text": "secret", "spans": [], "span": 1}', "line 2: span: "),
    ],
)
def test_a_line_that_cannot_be_read(line: str, sentence: str) -> None:
    good = json.dumps({"text": "a", "spans": []})
    with pytest.raises(ConfigError) as raised:
        list(read_corpus([good.encode(), line.encode()]))
    assert sentence in str(raised.value)
    assert "secret" not in str(raised.value)
    assert 'each line is {"text"' in str(raised.value)
