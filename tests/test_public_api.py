"""What other people's filters rely on changes on purpose, or not at all."""

import ast
import difflib
import re
import sys
import warnings
from importlib import import_module
from pathlib import Path

import pytest

import extproc
import extproc.testing
from extproc.deprecation import deprecated
from tests.public_api import MODULES, RECORD, described

DOCS = Path(__file__).parents[1] / "docs" / "filters.md"


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the record is written as Python 3.11 shows signatures")
def test_the_public_names_are_those_of_the_record() -> None:
    """If this is meant: `python -m tests.public_api`, and a line in CHANGELOG.md; docs/filters.md says what may change when."""
    changes = difflib.unified_diff(
        RECORD.read_text().splitlines(), described().splitlines(), "record", "now", lineterm=""
    )
    assert list(changes) == []


def test_the_record_holds_nothing_that_differs_from_run_to_run() -> None:
    assert " at 0x" not in RECORD.read_text()
    assert [line for line in RECORD.read_text().splitlines() if line.startswith("#")] == [
        f"# {name}" for name in MODULES
    ]


@pytest.mark.parametrize("module", [extproc, extproc.testing], ids=["extproc", "testing"])
def test_every_public_name_is_documented(module: object) -> None:
    words = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`\n]+)`", DOCS.read_text()))))
    assert set(module.__all__) - words == set()  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", MODULES)
def test_public_names_are_there_and_typed(name: str) -> None:
    module = import_module(name)
    assert len(set(getattr(module, "__all__", []))) == len(getattr(module, "__all__", []))
    assert all(hasattr(module, each) for each in getattr(module, "__all__", []))
    assert (Path(extproc.__file__).parent / "py.typed").exists()


def test_the_record_reads_as_a_list_of_names() -> None:
    heads = [line for line in RECORD.read_text().splitlines() if line.startswith(("def ", "async def "))]
    for line in heads:
        ast.parse(f"{re.sub(r'<[^>]*>', 'None', line)}: ...")
    assert heads


def old_name() -> int:
    """What a function does that is on its way out."""
    deprecated("tests.old_name", since="0.2", until="0.4", instead="new_name")
    return 1


def test_a_name_that_goes_says_so_once_and_where() -> None:
    with pytest.warns(
        DeprecationWarning, match=r"tests.old_name is deprecated since extproc 0.2, and is gone in 0.4: use new_name"
    ) as told:
        assert old_name() == 1
    assert (len(told), told[0].filename) == (1, __file__)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert old_name() == 1
