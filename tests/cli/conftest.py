"""Run the command line as a user would, in this process."""

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from extproc.cli.main import main

QUICKSTART = Path("examples/quickstart")


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


@pytest.fixture
def extproc(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    def run(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["extproc", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        return Ran(code if isinstance(code, int) else int(code is not None), *capfd.readouterr())

    return run


@pytest.fixture
def quickstart(tmp_path: Path) -> Path:
    """A copy of the quickstart that a test may spoil."""
    return Path(shutil.copytree(QUICKSTART, tmp_path / "quickstart"))


def edited(folder: Path, old: str, new: str) -> Path:
    """`folder` with its configuration changed in one place."""
    file = folder / "extproc.yaml"
    text = file.read_text()
    assert text.count(old) == 1, f"{old!r} is there {text.count(old)} times"
    file.write_text(text.replace(old, new))
    return file
