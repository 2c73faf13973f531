"""docs/start.md, as a newcomer follows it: each command is run, and answers what the page says."""

import re
import shlex
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import Ran
from tests.docs.pages import lines
from tests.e2e.processes import Stub
from tests.e2e.test_quickstart import running
from tools.docs.markdown import REPOSITORY, blocks

pytestmark = pytest.mark.e2e

OURS = ".venv/bin/extproc "
PAGE = REPOSITORY / "docs" / "start.md"


def steps() -> list[tuple[str, str]]:
    """Each command with the output that stands below it; `...` stands for anything."""
    found = []
    for block in blocks(PAGE):
        if block.language == "console":
            shown = re.split(r"^\$ .*\n?", block.text, flags=re.MULTILINE)[1:]
            found += list(zip(lines(block), shown, strict=True))
    return found


def says(shown: str, output: str) -> bool:
    parts = (re.escape(part) for part in shown.strip().split("..."))
    return re.fullmatch(".*".join(parts), output.strip(), re.DOTALL) is not None


def test_each_step_answers_what_the_page_says(stub: Stub, extproc: Callable[..., Ran], tmp_path: Path) -> None:
    with running(stub) as (process, url):
        folder = process.log.parent
        (settings, *_) = yaml.safe_load_all((folder / "example" / "extproc.yaml").read_text())
        here = {
            "http://localhost:10000": url,
            ":8001": f":{stub.port}",
            "/tmp/mine": f"{tmp_path}/mine",
            "/tmp/extproc-quickstart": f"{folder}/run",
            ".venv/bin/extproc doctor": f".venv/bin/extproc doctor --admin {settings['admin']}",
        }
        for command, shown in steps():
            answered = run(moved(command, here), extproc)
            assert says(moved(shown, here), answered), f"{command}\n{answered}"


def run(command: str, extproc: Callable[..., Ran]) -> str:
    """What it prints: ours without a process of its own, which takes a second to start."""
    if command.startswith(OURS):
        told = extproc(*shlex.split(command.removeprefix(OURS)))
        return told.out + told.err
    argv = ["bash", "-c", command]
    ran = subprocess.run(argv, capture_output=True, text=True, timeout=60, cwd=REPOSITORY, check=False)
    return ran.stdout + ran.stderr


def moved(text: str, here: Mapping[str, str]) -> str:
    """With the ports and folders of this run."""
    for there, instead in here.items():
        text = text.replace(there, instead)
    return text
