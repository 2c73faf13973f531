"""What the pages show as YAML or JSON is accepted by what reads it."""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Collection
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from pydantic import ConfigDict

from extproc.core.phase import Phase
from extproc.core.verdict import Continue
from extproc.envoy.binary import find_envoy
from extproc.schema import Model
from tests.cli.conftest import Ran
from tests.docs.completing import STAND_IN, completed, is_ours
from tests.docs.pages import PAGES, SHELL, found, relative
from tools.docs.markdown import REPOSITORY, Block, blocks

Run = Callable[..., Ran]


def documents(block: Block) -> list[Any]:
    return [one for one in yaml.safe_load_all(block.text) if one is not None]


def kind_of(block: Block) -> str:
    """What reads it: nothing that is known is an empty word."""
    held = documents(block)
    if excerpt(block):
        return "excerpt"
    if held and all(map(is_ours, held)):
        return "extproc"
    return next(
        (kind for kind, is_one in KINDS.items() if all(isinstance(one, dict) and is_one(one) for one in held)), ""
    )


def excerpt(block: Block) -> Path | None:
    """The file of the repository that the first line names, as a comment."""
    named = re.match(r"# ([\w./-]+)", block.text)
    file = REPOSITORY / named[1] if named else None
    return file if file and file.is_file() else None


KINDS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "tokens": lambda one: set(one) == {"tokens"},
    "envoy": lambda one: bool(ENVOY & set(one)),
    "kubernetes": lambda one: {"apiVersion", "kind"} <= set(one),
    "kustomize": lambda one: set(one) <= {"resources", "components", "patches", "namespace", "images"},
}
ENVOY = frozenset({"typed_extension_protocol_options"})

SHOWN = [(block, kind_of(block)) for block in found("yaml")]


def of(kind: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("block", [pytest.param(b, id=b.place) for b, read_by in SHOWN if read_by == kind])


def test_every_configuration_is_read_by_something() -> None:
    assert [block.place for block, read_by in SHOWN if not read_by] == []


@of("extproc")
def test_check_takes_it(block: Block, extproc: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = documents(block)
    named = [path for one in shown if isinstance(one, dict) for path in one.get("filters", {}).values()]
    for path in [*named, STAND_IN]:
        other_peoples(path, monkeypatch)
    ran = extproc("check", "--config", completed(shown, tmp_path))
    assert ran.code == 0, ran.err + ran.out


class AnyConfig(Model):
    model_config = ConfigDict(extra="allow")


class Anything:
    """A filter of somebody else's that goes on, whatever its config says."""

    Config = AnyConfig
    phases = frozenset(Phase)

    def __init__(self, config: Model, context: object) -> None:
        pass

    async def decide(self, phase: Phase, exchange: object) -> Continue:
        return Continue()


def other_peoples(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that has the class which `filters` names."""
    name, _, attribute = path.partition(":")
    module = ModuleType(name)
    setattr(module, attribute, Anything)
    monkeypatch.setitem(sys.modules, name, module)


@of("excerpt")
def test_an_excerpt_stands_in_its_file(block: Block) -> None:
    file = excerpt(block)
    assert file
    assert block.text.partition("\n")[2] in file.read_text()


@of("tokens")
def test_the_tokens_are_read(block: Block, extproc: Run, tmp_path: Path) -> None:
    authn = {"reviewer": {"static": {"path": "tokens.yaml"}}, "audiences": ["egress"]}
    extension = {"name": "authn", "type": "TokenReview:v1", "phase": "request-headers", "config": authn}
    file = completed([extension], tmp_path)
    (tmp_path / "tokens.yaml").write_text(block.text)
    assert extproc("check", "--config", file).code == 0


@of("envoy")
def test_envoy_takes_it(block: Block, extproc: Run, tmp_path: Path) -> None:
    """In the place of what the generated configuration has there."""
    (upstream,) = documents(block)
    config = completed([{"upstreamPass": True}], tmp_path)
    bootstrap = yaml.safe_load(extproc("envoy", "--config", config).out)
    resources = bootstrap["static_resources"]
    (cluster,) = (one for one in resources["clusters"] if one["name"] == "egress/openai")
    cluster |= upstream
    file = tmp_path / "envoy.yaml"
    file.write_text(yaml.safe_dump(bootstrap))
    argv = [find_envoy(os.environ), "--mode", "validate", "-c", str(file)]
    ran = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert ran.returncode == 0, ran.stderr


@of("kubernetes")
def test_a_manifest_says_what_it_is(block: Block) -> None:
    for one in documents(block):
        assert one["kind"] == "Kustomization" or one["metadata"]["name"]
        assert re.fullmatch(r"([a-z0-9.-]+/)?v\d+((alpha|beta)\d+)?", one["apiVersion"])


@of("kustomize")
def test_a_kustomization_names_what_is_there(block: Block) -> None:
    named = re.findall(r"\bdeploy/[\w/.-]+", block.text)
    assert [one for one in named if not (REPOSITORY / one).exists()] == []


@pytest.mark.parametrize("block", [pytest.param(block, id=block.place) for block in found("json")])
def test_json_is_json(block: Block) -> None:
    """One document, or one in each line."""
    try:
        json.loads(block.text)
    except ValueError:
        assert [json.loads(line) for line in block.text.splitlines()]


@pytest.mark.parametrize("block", [pytest.param(block, id=block.place) for block in found("python")])
def test_python_is_python(block: Block) -> None:
    """Those of docs/filters.md are executed by tests/test_docs.py."""
    ast.parse(block.text)


@pytest.mark.parametrize("block", [pytest.param(block, id=block.place) for block in found("toml")])
def test_toml_is_toml(block: Block) -> None:
    assert tomllib.loads(block.text)


def test_every_block_is_of_a_language_that_something_reads() -> None:
    languages = {*SHELL, "yaml", "json", "python", "toml", "text", "http", "promql", "hcl", ""}
    assert [block.place for page in PAGES for block in blocks(page) if block.language not in languages] == []


def test_every_metric_that_a_page_names_is_one() -> None:
    """docs/observing.md lists them, and docs/reload.md those of its own; tests/test_docs.py holds the list to the program."""
    lists = [page.read_text() for page in PAGES if page.name in ("observing.md", "reload.md")]
    listed = {name for text in lists for name in re.findall(r"^\| `(extproc_\w+)`", text, re.MULTILINE)}
    series = {f"{name}{end}" for name in listed for end in ("", "_bucket", "_sum", "_count")}
    named = {(relative(page), word) for page in PAGES for word in metrics(page.read_text())}
    assert {(page, word) for page, word in named if not is_one(word, series)} == set()


def is_one(word: str, series: Collection[str]) -> bool:
    """`extproc_configuration_` stands for all that begin so."""
    return any(name.startswith(word) for name in series) if word.endswith("_") else word in series


def metrics(text: str) -> list[str]:
    """Words that look like one: not a package, and not the details of an answer, which have braces with words in them."""
    return re.findall(r"\bextproc_(?!filters\b)[a-z_]+\b(?!\{[a-z_.]*[a-z]_)", text)
