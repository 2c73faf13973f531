"""The scan can be measured: every entity has inputs made against it, and the tables have their rows."""

import pytest

from bench import scan
from bench.scan import BEGINNINGS, Size, Worst, of_sizes, of_worst, ordinary, worst
from extproc_filters.pii.findings import merge
from extproc_filters.pii.scanner import ENTITIES, Scanner
from extproc_filters.pii.work import done


def test_every_entity_has_inputs_made_against_it() -> None:
    assert set(BEGINNINGS) == set(ENTITIES)


def test_ordinary_text_is_of_the_asked_size_and_has_nothing_to_find() -> None:
    assert [len(ordinary(size)) for size in (1, 1000, 30_000)] == [1, 1000, 30_000]
    assert done(merge(done(Scanner().find(ordinary(30_000))))) == []


@pytest.mark.parametrize("entity", ["CREDIT_CARD", "URL_CREDENTIALS", "PRIVATE_KEY"])
def test_a_worst_case_is_measured(entity: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "HOSTILE", 2000)
    row = worst(Scanner(), entity, 1e-9)
    assert min(row.values, row.near, row.beginnings) > 0
    assert row.which in BEGINNINGS[entity]


def test_texts_full_of_values_are_full_of_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "HOSTILE", 3000)
    for entity in ENTITIES:
        text = scan._filled(scan._values(entity))
        found = [each for each in done(merge(done(Scanner().find(text)))) if each.entity == entity]
        assert len(found) >= 3 or entity in ("GCP_API_KEY", "PRIVATE_KEY")


def test_the_tables() -> None:
    assert of_sizes([Size(1000, 1e-5)]).table().splitlines()[-1] == "| 1,000 | 100 | 10.0 |"
    assert of_worst([Worst("A", 3.0, 2.0, 1.0, "x ")]).table().splitlines()[-1] == "| A | 1.0 (`x `) | 2.0 | 3.0 |"
