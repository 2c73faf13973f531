"""Each code is explained, with its severity, in the documentation, and some test brings it about."""

import re
from pathlib import Path

import pytest

from extproc.doctor.finding import Code, Finding
from tests.doctor.cases import CASES

PAGE = Path("docs/doctor.md").read_text()
ROWS = re.findall(r"(?m)^\| `([a-z0-9.-]+)` \| (error|warning) \| ([^|]+) \| ([^|]+) \|$", PAGE)
HERE = "".join(
    path.read_text() for folder in ("doctor", "cli", "e2e") for path in Path("tests", folder).glob("test_*.py")
)


def test_the_documentation_has_every_code_once_with_its_severity() -> None:
    severities = {code.value: Finding(code, "", "", "").severity for code in Code}
    assert {code: severity for code, severity, _, _ in ROWS} == severities
    assert len(ROWS) == len(Code)


@pytest.mark.parametrize("code", Code)
def test_some_test_brings_it_about(code: Code) -> None:
    assert code in {case.code for case in CASES} or f"Code.{code.name}" in HERE


def test_a_code_says_what_it_is_about_and_what_is_wrong() -> None:
    assert all(re.fullmatch(r"[a-z]+\.[a-z0-9-]+", code) for code in Code)
