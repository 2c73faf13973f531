"""`extproc scan --against`: precision and recall of a corpus."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Ran

Run = Callable[..., Ran]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    lines = [
        {"text": "jane@example.org", "spans": [{"entity": "EMAIL_ADDRESS", "start": 0, "end": 16}], "style": "bare"},
        {"text": "é 203.0.113.9 and Jane", "spans": [{"entity": "PERSON", "start": 18, "end": 22}]},
    ]
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    return path


TABLE = """| EMAIL_ADDRESS | 1 | 1 | 1 | 1.000 | 1.000 | 0 |
| IP_ADDRESS | 0 | 1 | 0 | 0.000 | - | 0 |
| PERSON | 1 | 0 | 0 | - | 0.000 | 1 |
| all | 2 | 2 | 1 | 0.500 | 0.500 | 1 |
"""


def test_a_table_is_printed(extproc: Run, corpus: Path) -> None:
    ran = extproc("scan", "--against", corpus)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.endswith(TABLE)


def test_from_standard_input(extproc: Run, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(corpus.read_bytes())))
    assert extproc("scan", "--against", "-").out.endswith(TABLE)


def test_a_line_separator_in_a_text_ends_no_line(extproc: Run, tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text(json.dumps({"text": "a\u2028b\x85c", "spans": []}, ensure_ascii=False))
    assert extproc("scan", "--against", path).code == 0


def test_what_cannot_be_read_is_told_with_its_line(extproc: Run, corpus: Path) -> None:
    corpus.write_text(corpus.read_text() + "jane\n")
    ran = extproc("scan", "--against", corpus)
    assert ran.code == 2
    assert f"{corpus}: line 3: not JSON" in ran.err
    assert "jane" not in ran.err


def test_it_stands_alone(extproc: Run, corpus: Path) -> None:
    for more in ((corpus,), ("--redact", "mask")):
        ran = extproc("scan", "--against", corpus, *more)
        assert ran.code == 2
        assert "leave FILE and --redact out" in ran.err
    assert "No such file" in extproc("scan", "--against", "nowhere.jsonl").err
