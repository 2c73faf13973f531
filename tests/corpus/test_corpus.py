"""The corpus is what its page says it is, and so is the page."""

import re
from collections import Counter

import pytest

from extproc_filters.pii.measure import Example
from extproc_filters.pii.scanner import ENTITIES
from tests.corpus.detection import PAGE, page
from tests.corpus.make import EACH, NEGATIVES, corpus
from tests.corpus.texts import FRAMES, LOOKALIKES

LINES = list(corpus())


def test_it_is_the_same_each_time() -> None:
    assert list(corpus()) == LINES


def test_every_line_can_be_read_and_every_entity_is_there() -> None:
    examples = [Example.model_validate(line) for line in LINES]
    there = Counter(span.entity for example in examples for span in example.spans)
    assert there == dict.fromkeys(ENTITIES, EACH)
    assert sum(not example.spans for example in examples) == NEGATIVES * len(LOOKALIKES)


def test_spans_are_where_the_values_are() -> None:
    for line in LINES:
        for span in line["spans"]:
            value = line["text"][span["start"] : span["end"]]
            assert value == value.strip()
            assert not line["text"][span["start"] - 1 : span["start"]].isalnum()


def test_the_page_is_the_one_that_the_code_makes() -> None:
    text = PAGE.read_text()
    assert text == page(text), "run python -m tests.corpus.detection"


@pytest.mark.parametrize(
    ("sentence", "number"),
    [(r"there are (\d+)\svalues", EACH), (r"of (\d+) frames", len(FRAMES)), (r"(\d+) texts for each of", NEGATIVES),
     (r"for each of (\d+) kinds", len(LOOKALIKES))],
)  # fmt: skip
def test_the_numbers_in_its_sentences(sentence: str, number: int) -> None:
    [told] = re.findall(sentence, PAGE.read_text().replace("\n", " "))
    assert int(told) == number


def test_the_page_has_the_cost_of_every_entity() -> None:
    rows = re.findall(r"^\| ([A-Z_]+) \| [\d.]+ \(`.*`\) \| [\d.]+ \| [\d.]+ \|$", PAGE.read_text(), re.MULTILINE)
    assert rows == list(ENTITIES)
