"""A filter package to begin with: it works as it was written, and nothing is overwritten."""

import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Ran
from tests.packages import install

Run = Callable[..., Ran]
TYPE = "acme.example.com/Members:v2"
TOOLS = ("ruff check --no-cache .", "ruff format --no-cache --check .", "mypy")


def run(*argv: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", *argv)
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=100, check=False)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that was just made."""
    into = tmp_path_factory.mktemp("made")
    made = run("extproc", "new-filter", "acme-members", "--type", TYPE, "--into", str(into), cwd=into)
    assert made.returncode == 0, made.stderr
    return into / "acme-members"


def test_what_comes_next_is_said_for_this_very_python(tmp_path: Path) -> None:
    made = run("extproc", "new-filter", "acme-next", "--into", str(tmp_path / "a folder"), cwd=tmp_path)
    _, install, catalog = made.stdout.splitlines()
    folder, python = shlex.quote(str(tmp_path / "a folder" / "acme-next")), sys.executable
    assert install.strip() == f"cd {folder} && {python} -m pip install -e . && {python} -m pytest"
    assert catalog.strip() == f"{python} -m extproc catalog --schema example.com/AcmeNext:v1"


def test_its_tests_pass(package: Path) -> None:
    ran = run("pytest", "-q", "-p", "no:cacheprovider", cwd=package)
    assert (ran.returncode, "11 passed" in ran.stdout) == (0, True), ran.stdout


@pytest.mark.parametrize("tool", TOOLS)
def test_its_code_is_clean(package: Path, tool: str) -> None:
    ran = run(*tool.split(), cwd=package)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_it_is_found_by_its_entry_point(
    package: Path, tmp_path: Path, extproc: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = install(package, tmp_path / "site")
    monkeypatch.syspath_prepend(str(site))
    found = extproc("catalog")
    assert (found.code, f"{TYPE} request-body" in " ".join(found.out.split())) == (0, True), found.err
    assert '"forbidden"' in extproc("catalog", "--schema", TYPE).out
    assert (site / "acme_members" / "py.typed").exists()


def test_a_package_that_is_broken_is_told(extproc: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "acme_broken-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-broken\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[extproc.filters]\nacme.example.com/Broken:v1 = nowhere_at_all:X\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    ran = extproc("catalog")
    assert (ran.code, "PIIDetector:v1" in ran.out) == (1, True)
    assert "warning: acme.example.com/Broken:v1: 'nowhere_at_all:X' cannot be imported: ModuleNotFoundError" in ran.err
    schema = extproc("catalog", "--schema", "acme.example.com/Broken:v1")
    assert (schema.code, "cannot be imported" in schema.err) == (2, True)


def test_its_metadata_are_those_of_the_name(package: Path) -> None:
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    assert (project["name"], project["entry-points"]["extproc.filters"]) == (
        "acme-members",
        {TYPE: "acme_members.filter:Members"},
    )
    assert not [
        path for path in package.rglob("*.*") if path.suffix in (".py", ".md", ".toml") and "$" in path.read_text()
    ]


def test_nothing_is_overwritten(extproc: Run, tmp_path: Path) -> None:
    (tmp_path / "acme-x").mkdir()
    ran = extproc("new-filter", "acme-x", "--into", tmp_path)
    assert (ran.code, "is already there, and nothing is overwritten" in ran.err) == (2, True)
    assert list((tmp_path / "acme-x").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("Acme",), "is no name for a package"),
        (("../acme",), "is no name for a package"),
        (("a_b",), "is no name for a package"),
        (("a" * 65,), "is no name for a package"),
        (("-x",), "No such option"),
        (("class",), "already means something in Python"),
        (("json",), "already means something in Python"),
        (("extproc-filters",), "already means something in Python or here"),
        (("acme", "--type", "Acme:v1"), "is no type of other people's"),
        (("acme", "--type", "acme.example.com/acme:v1"), "is no type of other people's"),
        (("acme", "--type", "acme.example.com/None:v1"), "already means something in Python"),
        (("acme", "--type", "acme.example.com/ValueError:v1"), "already means something in Python"),
        (("acme", "--type", "acme.example.com/JSON:v1"), "already means something in Python or here"),
        (("exchange",), "call the kind otherwise, with --type"),
    ],
)
def test_a_bad_name_gets_a_sentence(extproc: Run, tmp_path: Path, arguments: tuple[str, ...], sentence: str) -> None:
    ran = extproc("new-filter", *arguments, "--into", tmp_path)
    assert (ran.code, sentence in ran.err) == (2, True), ran
    assert list(tmp_path.iterdir()) == []


def test_a_long_name_is_cut_where_it_can_end(extproc: Run, tmp_path: Path) -> None:
    name = "a" * 62 + "-b"
    assert extproc("new-filter", name, "--into", tmp_path).code == 0
    assert f"{'a' * 62}-\n" not in (tmp_path / name / "README.md").read_text()


def test_a_folder_that_cannot_be_made(extproc: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ran = extproc("new-filter", "acme", "--into", tmp_path / "file")
    assert (ran.code, "cannot be made (Not a directory)" in ran.err) == (2, True)
