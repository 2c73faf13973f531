"""The page of the matrix is what this run found out. Last of the folder, by its name."""

from pathlib import Path

import pytest

from tests.faults import (
    test_credential_injector,
    test_filters,
    test_pii_detector,
    test_qos_controller,
    test_token_review,
)
from tests.faults.matrix import Matrix, page
from tests.faults.observer import RECOVERY

PAGE = Path(__file__).parents[2] / "docs" / "failure-matrix.md"
TABLES = (
    test_token_review.TABLE,
    test_qos_controller.TABLE,
    test_credential_injector.TABLE,
    test_pii_detector.TABLE,
    test_filters.TABLE,
)


def test_no_cell_is_there_twice() -> None:
    cells = [cell for table in TABLES for cell in table.cells]
    assert len(set(cells)) == len(cells)


def test_the_page_is_what_was_seen(matrix: Matrix) -> None:
    """A whole run writes it. One that lacks a server compares the rows that it has; where there is no page yet, it writes one
    in which the others are skipped.
    """
    if untried := matrix.untried(TABLES):
        pytest.skip(f"{len(untried)} cells did not run, such as: {untried[0]}")
    committed = PAGE.read_text() if PAGE.exists() else ""
    if matrix.missing and committed:
        rows = [row for table in TABLES for row in matrix.lines(table) if "skipped: " not in row]
        assert [row for row in rows if row not in committed] == []
        return
    text = page(matrix, TABLES, RECOVERY)
    PAGE.write_text(text)
    assert text == committed, f"{PAGE.name} was out of date and is written anew: read the difference, and commit it"
