"""The generated pages are as the program is, and no code that a client may see is missing."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from extproc.core.verdict import DENIALS
from extproc.envoy.replies import OTHERS, REPLIES
from extproc_filters import FILTERS
from tools.docs.codes import STATUSES
from tools.docs.markdown import REPOSITORY, anchors
from tools.docs.reference import DOCS, MARKED, PARTS, stale

RULES = REPOSITORY / "deploy" / "prometheus" / "rules.yaml"
TROUBLE = anchors(DOCS / "troubleshooting.md")


def test_what_is_generated_is_current() -> None:
    pages = [page.name for page, _ in stale()]
    assert pages == [], "run `make reference`"


def test_every_part_stands_somewhere() -> None:
    shown = {part["name"] for page in DOCS.rglob("*.md") for part in MARKED.finditer(page.read_text())}
    assert shown == set(PARTS)
    assert set(FILTERS) <= shown


def test_every_code_is_in_a_table_that_the_program_reads() -> None:
    """Whoever denies takes the code from DENIALS or OTHERS: so the page that is made of these has them all."""
    codes = {code for file in sources() for code in denials(file)}
    assert codes <= DENIALS.keys() | OTHERS.keys()
    assert {reply.code for reply in REPLIES} <= DENIALS.keys() | OTHERS.keys()
    assert STATUSES.keys() == OTHERS.keys()


def sources() -> Iterator[Path]:
    for folder in ("src/extproc", "filters"):
        yield from (REPOSITORY / folder).rglob("*.py")


def denials(file: Path) -> Iterator[str]:
    """The codes that are written where something is denied: `deny("forbidden")`, `Respond(403, "...")`."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("deny", "Respond"):
            words = node.args[1:2] if node.func.id == "Respond" else node.args[:1]
            yield from (one.value for one in words if isinstance(one, ast.Constant))


def test_denials_are_found_in_the_source() -> None:
    """The test above would be content if it found none."""
    assert len({code for file in sources() for code in denials(file)}) >= 8


@pytest.mark.parametrize("code", [*DENIALS, *OTHERS])
def test_every_code_has_its_remedy(code: str) -> None:
    assert code in TROUBLE


def test_every_alert_has_its_remedy() -> None:
    """The name of an alert is the name of its section. Where its annotation leads is looked at in tests/deploy."""
    alerts = {rule["alert"].lower() for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]}
    assert alerts
    assert alerts - TROUBLE == set()


def test_every_line_of_the_log_has_its_meaning() -> None:
    told = {name for row in rows() for name in re.findall(r"`(\w+)`", row[0])}
    assert {event for file in sources() for event in logged(file)} - told == set()


def rows() -> Iterator[list[str]]:
    """Of the table of events."""
    _, _, section = (DOCS / "troubleshooting.md").read_text().partition("\n## A line in the log\n")
    for line in section.partition("\n## ")[0].splitlines():
        if line.startswith("| `"):
            yield [cell.strip() for cell in line.strip("| ").split("|")]


def logged(file: Path) -> Iterator[str]:
    """What is written as `log.warning("event", ...)`."""
    for node in ast.walk(ast.parse(file.read_text())):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and ast.unparse(node.func.value) == "log"
        ):
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and re.fullmatch(r"[a-z_]+", str(first.value)):
                yield str(first.value)
