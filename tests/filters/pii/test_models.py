"""Models of other people's: how they are found, what is believed of what they tell, and that they get bounded pieces."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.errors import ConfigError, Defect
from extproc_filters.pii.findings import Finding, merge
from extproc_filters.pii.models import GROUP, MOST, OVERLAP, WINDOW, NamedModel, load
from extproc_filters.pii.scanner import Scanner
from extproc_filters.pii.work import done

PACKAGE = """
class Names:
    def find(self, text):
        from extproc_filters.pii.findings import Finding
        return [Finding("PERSON", text.index("Jane"), text.index("Jane") + 4, 0.9)] if "Jane" in text else []

def made():
    return Names()

class Mute:
    pass

def broken():
    raise RuntimeError("no weights")
"""
POINTS = {
    "names": "acme_names:Names", "made": "acme_names:made", "mute": "acme_names:Mute", "broken": "acme_names:broken",
    "gone": "acme_names:Gone", "nowhere": "acme_nowhere:X",
}  # fmt: skip


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with entry points, as pip leaves it."""
    (tmp_path / "acme_names.py").write_text(PACKAGE)
    info = tmp_path / "acme_names-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-names\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[{GROUP}]\n" + "".join(f"{name} = {value}\n" for name, value in POINTS.items())
    )
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@dataclass
class Told:
    """A model that says what it was made to say, and remembers what it was asked."""

    entity: Any = "PERSON"
    start: Any = 0
    end: Any = 1
    score: Any = 0.9

    def find(self, text: str) -> Iterable[Any]:
        return [self]


class Words:
    """Finds every `Jane`, and remembers how much it was given."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def find(self, text: str) -> Iterator[Finding]:
        self.asked.append(text)
        at = text.find("Jane")
        while at >= 0:
            yield Finding("PERSON", at, at + 4, 0.85)
            at = text.find("Jane", at + 4)


def scanner(model: Any, **settings: Any) -> Scanner:
    return Scanner(models=[NamedModel("test", model)], **settings)


def found(scanner: Scanner, text: str, *, escaped: bool = False) -> list[tuple[str, str]]:
    return [
        (each.entity, text[each.start : each.end]) for each in done(merge(done(scanner.find(text, escaped=escaped))))
    ]


@pytest.mark.usefixtures("installed")
def test_a_model_is_found_by_its_name() -> None:
    for name in ("names", "made"):
        assert found(Scanner(models=[load(name)]), "Jane, jane@example.org") == [
            ("PERSON", "Jane"),
            ("EMAIL_ADDRESS", "jane@example.org"),
        ]


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nmaes", "did you mean 'names'"),
        ("zzz", "known are .*broken, gone, made, mute, names, nowhere"),
        ("mute", r"is no model: it has no method `find\(text\)`"),
        ("broken", "cannot be made: RuntimeError: no weights"),
        ("gone", "cannot be made: AttributeError"),
        ("nowhere", "cannot be made: ModuleNotFoundError"),
    ],
)
def test_a_model_that_cannot_be_used(name: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        load(name)


def test_two_packages_with_a_model_of_one_name(installed: Path) -> None:
    other = installed / "other-1.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (other / "entry_points.txt").write_text(f"[{GROUP}]\nnames = other:Names\n")
    with pytest.raises(ConfigError, match=r"several packages .*acme_names:Names, other:Names"):
        load("names")


@pytest.mark.parametrize(
    "told",
    [
        Told(start=-1), Told(end=99), Told(start=3, end=3), Told(start=4, end=2), Told(start="0"), Told(start=0.0),
        Told(end=True), Told(end=None), Told(score=float("nan")), Told(score=float("inf")), Told(score=-0.1),
        Told(score=1.1), Told(score="0.9"), Told(score=None), Told(entity="person"), Told(entity=""), Told(entity=7),
        Told(entity="X" * 65), Told(entity="A]B"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_a_defect(told: Told) -> None:
    with pytest.raises(Defect, match="the model test") as raised:
        done(scanner(told).find("secret text"))
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("result", [None, [None], [object()], 5])
def test_another_shape_is_a_defect(result: Any) -> None:
    class Wrong:
        def find(self, text: str) -> Any:
            return result

    with pytest.raises(Defect, match=r"the model test failed: (TypeError|AttributeError)"):
        done(scanner(Wrong()).find("text"))


def test_the_error_of_a_model_is_not_quoted() -> None:
    class Broken:
        def find(self, text: str) -> Any:
            raise ValueError(text)

    with pytest.raises(Defect, match="ValueError") as raised:
        done(scanner(Broken()).find("secret text"))
    assert "secret" not in str(raised.value)
    assert raised.value.__suppress_context__


def test_a_model_that_never_ends() -> None:
    class Endless:
        def find(self, text: str) -> Iterator[Finding]:
            while True:
                yield Finding("X", 0, 1, 1.0)

    with pytest.raises(Defect, match=f"more than {MOST}"):
        done(scanner(Endless()).find("text"))


def test_its_findings_are_judged_like_all_others() -> None:
    assert found(scanner(Told(score=0.5)), "text") == []
    assert found(scanner(Told(score=1)), "text") == [("PERSON", "t")]
    assert found(scanner(Words(), allowed=["Jane"]), "Jane") == []
    assert found(scanner(Words()), "Ja\u200bne and %4aane") == [("PERSON", "Ja\u200bne"), ("PERSON", "%4aane")]
    assert found(scanner(Words()), r'{"a": "J\u0061ne"}', escaped=True) == [("PERSON", r"J\u0061ne")]
    assert found(scanner(Told(end=20)), "jane.roe@example.org, hello") == [("EMAIL_ADDRESS", "jane.roe@example.org")]


def test_a_long_text_is_handed_over_in_windows() -> None:
    words = Words()
    work = scanner(words).find("x" * (3 * WINDOW))
    pauses = sum(1 for _ in work)
    assert pauses >= len(words.asked) - 1
    assert max(map(len, words.asked)) == WINDOW
    assert sum(map(len, words.asked)) == 3 * WINDOW + OVERLAP * (len(words.asked) - 1)


@settings(max_examples=60)
@given(st.lists(st.integers(0, 3 * WINDOW), max_size=20, unique=True), st.sampled_from(["x", "é", "\U0001f600"]))
def test_no_border_hides_a_value(places: list[int], filler: str) -> None:
    text = list(filler * (3 * WINDOW))
    kept: list[int] = []
    for place in sorted(places):
        if place + 4 <= len(text) and (not kept or place >= kept[-1] + 5):
            text[place : place + 4] = "Jane"
            kept.append(place)
    found = done(merge(done(NamedModel("test", Words()).find("".join(text)))))
    assert [(each.start, each.end) for each in found] == [(place, place + 4) for place in kept]
