"""Other people's filters: named in the configuration, or installed."""

from collections.abc import Callable
from importlib.metadata import EntryPoints, entry_points
from pathlib import Path

import pytest
from pydantic import BaseModel, Field, field_validator

from extproc.core.exchange import Exchange
from extproc.core.link import Degraded
from extproc.core.phase import Phase
from extproc.core.verdict import Verdict
from extproc.policy.catalog import installed
from extproc.schema import Model
from tests.policy.samples import AUTHN, BACKEND, SETTINGS, Base, marked_line, refused, resolved

KIND = "acme.example.com/Detector:v1"
USE = f'  - {{name: acme, type: "{KIND}", phase: request-headers, priority: 10}} #!\n'


class Blocking(Base):
    """Its body would run outside the engine's timeout and its nets."""

    def decide(self, phase: Phase, exchange: Exchange) -> Verdict:  # type: ignore[override]  # that is the mistake
        raise SystemExit


def named(reference: str) -> str:
    return f'{SETTINGS}filters:\n  "{KIND}": "{reference}" #!\n'


def install(directory: Path, name: str, value: str, kind: str = KIND) -> None:
    """A distribution with that entry point, as pip would leave it."""
    info = directory / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[extproc.filters]\n{kind} = {value}\n")


def test_a_filter_that_the_configuration_names(tmp_path: Path) -> None:
    found = resolved(tmp_path, named("tests.policy.samples:Base").replace(" #!", ""), AUTHN + USE, BACKEND)
    assert type(found.gateway_chain.links[1].filter).__name__ == "Base"
    assert found.findings == ()


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        ("no_such_module:X", "'no_such_module:X' cannot be imported: ModuleNotFoundError"),
        ("tests.policy.samples:Nothing", "cannot be imported: AttributeError"),
        ("tests.policy.samples:write", "is no filter: a filter is a class with `async def decide"),
        ("pathlib:Path", "is no filter: a filter is a class with `async def decide"),
        ("tests.policy.test_catalog:Blocking", "is no filter: a filter is a class with `async def decide"),
        ("extproc.core.filter:Filter", "is no filter: it has no `Config`"),
    ],
)
def test_what_is_no_filter_is_refused(tmp_path: Path, reference: str, sentence: str) -> None:
    documents = named(reference), AUTHN, BACKEND
    error = refused(tmp_path, *documents)[0]
    assert sentence in error.message
    assert (error.place.line, error.place.document) == (marked_line(*documents), 1)
    assert error.place.field == f'filters["{KIND}"]'


def test_a_built_in_kind_cannot_be_replaced(tmp_path: Path) -> None:
    text = f'{SETTINGS}filters: {{"Authn:v1": "tests.policy.samples:Base"}}\n'
    (error,) = refused(tmp_path, text, AUTHN, BACKEND)
    assert "the built-in kinds cannot be replaced" in error.message


def test_a_filter_that_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    install(site, "acme_detector", "tests.policy.samples:Base")
    monkeypatch.syspath_prepend(str(site))
    found = resolved(tmp_path, SETTINGS, AUTHN + USE, BACKEND)
    assert type(found.gateway_chain.links[1].filter).__name__ == "Base"


def test_an_installed_filter_that_breaks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    install(site, "acme_detector", "no_such_module:X")
    monkeypatch.syspath_prepend(str(site))
    documents = SETTINGS, AUTHN + USE, BACKEND
    (error,) = refused(tmp_path, *documents)
    assert "'no_such_module:X' cannot be imported" in error.message
    assert (error.place.line, error.place.field) == (marked_line(*documents), "spec.extensions[1].type")


def test_two_packages_for_one_type_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("acme_one", "tests.policy.samples:Base"), ("acme_two", "tests.policy.samples:Limit")):
        install(tmp_path / "site", name, value)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    (error,) = refused(tmp_path, SETTINGS, AUTHN + USE, BACKEND)
    assert "several packages are installed" in error.message
    assert resolved(tmp_path, named("tests.policy.samples:Base"), AUTHN + USE, BACKEND).findings == ()


def test_what_is_not_installed_is_degraded_and_looked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look reads all that is installed: with a thousand extensions that was five seconds."""
    looks: list[str] = []

    def look(group: str) -> EntryPoints:
        looks.append(group)
        return entry_points(group=group)

    monkeypatch.setattr("extproc.policy.catalog.entry_points", look)
    more = USE.replace("acme, ", "more, ").replace("Detector", "Other")
    found = resolved(tmp_path, SETTINGS, AUTHN + USE + more, BACKEND)
    assert [isinstance(link.filter, Degraded) for link in found.gateway_chain.links] == [False, True, True]
    assert looks == ["extproc.filters"]


class Lenient(Base):
    """A misspelt field would mean nothing, and nobody would know."""

    class Config(BaseModel):
        a: int = 1


class Unshowable(Base):
    class Config(Model):
        call: Callable[[], int] | None = None


class Phaseless(Base):
    phases = 5  # type: ignore[assignment]


class Worded(Base):
    phases = frozenset({"request-headers"})  # type: ignore[arg-type]


class Endless(Base):
    max_body_bytes = "1 MiB"


class Shouting(Base):
    reroutes = frozenset({"X-Team"})


class Wandering(Base):
    follow_ups = ("settle",)


class Careless(Base):
    class Config(Model):
        name: str = Field(default="s3cret", validate_default=True)

        @field_validator("name")
        @classmethod
        def _known(cls, name: str) -> str:
            return {"": ""}[name]


class Odd(Base):
    def __init__(self) -> None:
        super().__init__(None, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("Lenient", "its `Config` would ignore a misspelt field: derive it from extproc.schema.Model"),
        ("Unshowable", "its `Config` has no JSON Schema"),
        ("Phaseless", "its `phases` are no set of Phase"),
        ("Worded", "its `phases` are no set of Phase"),
    ],
)
def test_a_class_that_could_not_be_served_is_refused(tmp_path: Path, name: str, sentence: str) -> None:
    error = refused(tmp_path, named(f"tests.policy.test_catalog:{name}"), AUTHN, BACKEND)[0]
    assert sentence in error.message


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("Endless", "its `max_body_bytes` is no number of bytes"),
        ("Shouting", "its `reroutes` are no set of header names in lower case"),
        ("Wandering", "its `follow_ups` are no set of Phase"),
        ("Odd", "could not be built: TypeError in its constructor"),
        ("Careless", "could not be built: KeyError in its constructor or its Config"),
    ],
)
def test_a_filter_that_could_not_run_is_refused(tmp_path: Path, name: str, sentence: str) -> None:
    settings = named(f"tests.policy.test_catalog:{name}").replace(" #!", "")
    [error] = refused(tmp_path, settings, AUTHN + USE, BACKEND)
    assert (sentence in error.message, error.place.field) == (True, "spec.extensions[1].config"), error
    assert "s3cret" not in error.message


@pytest.mark.parametrize(
    "ends", ["raise SystemExit(0)", "raise RuntimeError('a\\nb')", "import nothing_like_it", "1 +"]
)
def test_a_module_that_ends_everything_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str) -> None:
    (tmp_path / "acme_ends.py").write_text(f"{ends}\n")
    install(tmp_path, "acme_ends", "acme_ends:X")
    monkeypatch.syspath_prepend(str(tmp_path))
    [error] = refused(tmp_path, SETTINGS, AUTHN + USE, BACKEND)
    assert "'acme_ends:X' cannot be imported" in error.message
    assert "\n" not in error.message


def test_all_that_is_installed_is_told_with_what_is_wrong_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "acme_good", "tests.policy.samples:Base")
    install(tmp_path, "acme_bad", "no_such_module:X", "acme.example.com/Bad:v1")
    install(tmp_path, "acme_ours", "tests.policy.samples:Base", "TokenReview:v1")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = dict(installed())
    assert found[KIND] is Base
    assert "cannot be imported" in str(found["acme.example.com/Bad:v1"])
    assert "is no type of other people's" in str(found["TokenReview:v1"])
