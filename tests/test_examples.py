"""The filter package of somebody else's: installed into a folder of its own, it is found, checked and served."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.conftest import Ran, extproc
from tests.e2e.gateway import AUTHN, INJECT, KEY, STRANGER, Gateway, backend, gateway, policy, received, tokens, write
from tests.e2e.processes import Stub
from tests.packages import install

ACME = Path(__file__).parents[1] / "examples" / "acme-filter"
TYPE = "acme.example.com/ModelAllowList:v1"
MODELS: dict[str, Any] = {
    "name": "models",
    "type": TYPE,
    "phase": "request-body",
    "priority": 5,
    "config": {"models": {"ai-workloads": ["gpt-4o-mini"]}, "maxOutputTokens": 100},
}
__all__ = ["extproc"]  # the fixture

CLEAN = ("ruff check --no-cache .", "ruff format --no-cache --check .", "mypy")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where it is installed."""
    return install(ACME, tmp_path_factory.mktemp("acme") / "site")


@pytest.fixture(scope="module")
def command(site: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `python -m` where the package is installed."""

    def run(*argv: str, cwd: Path = site) -> subprocess.CompletedProcess[str]:
        environ = {**os.environ, "PYTHONPATH": str(site)}
        return subprocess.run(
            (sys.executable, "-m", *argv),
            cwd=cwd,
            env=environ,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    return run


Command = Callable[..., subprocess.CompletedProcess[str]]


def test_its_own_tests_pass_where_it_is_installed(command: Command, tmp_path: Path) -> None:
    arguments = ("-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(ACME / "tests"))
    ran = command("pytest", "-c", "/dev/null", "-o", "asyncio_default_fixture_loop_scope=function", *arguments)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("tool", CLEAN)
def test_its_code_is_clean(command: Command, site: Path, tool: str) -> None:
    ran = command(*tool.split(), cwd=site.with_name("site-source"))
    assert ran.returncode == 0, ran.stdout + ran.stderr


Run = Callable[..., Ran]


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch, extproc: Run) -> Run:
    """The command line, in this process, where the package is installed."""
    monkeypatch.syspath_prepend(str(site))
    return extproc


def test_the_catalog_has_it(installed: Run) -> None:
    found = json.loads(installed("catalog", "--json").out)
    assert found[TYPE]["phases"] == ["request-body"]
    assert set(found[TYPE]["schema"]["properties"]) == {"models", "maxOutputTokens"}


def checked(command: Run, directory: Path, **config: Any) -> Ran:
    used = {**MODELS, "config": {**MODELS["config"], **config}}
    (directory / "tokens").write_text(tokens())
    (directory / "secrets").mkdir()
    return command("check", "--config", write(directory, [policy(AUTHN, used), backend(1)], {}))


def test_check_shows_it_in_its_chain(installed: Run, tmp_path: Path) -> None:
    ran = checked(installed, tmp_path)
    assert (ran.code, f"models  {TYPE}" in ran.out) == (0, True), ran


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"maxOutputTokens": 0}, "spec.extensions[1].config.maxOutputTokens: this must be at least 1"),
        ({"model": []}, "spec.extensions[1].config.model: there is no field 'model': did you mean 'models'?"),
        ({"models": {"a": ["*x"]}}, "spec.extensions[1].config.models.a[0]: '*x' is no model"),
    ],
)
def test_check_says_what_is_wrong_with_its_config(installed: Run, tmp_path: Path, config: Any, field: str) -> None:
    ran = checked(installed, tmp_path, **config)
    assert (ran.code, field in ran.err) == (2, True), ran.err


def test_the_configuration_of_its_readme_is_accepted(installed: Run, tmp_path: Path) -> None:
    text = (ACME / "README.md").read_text().partition("```yaml\n")[2].partition("```")[0]
    [extension] = yaml.safe_load(text)["extensions"]
    assert checked(installed, tmp_path, **extension["config"]).code == 0


@pytest.fixture(scope="module")
def gate(site: Path, stub: Stub) -> Iterator[Gateway]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        environ = {"PYTHONPATH": str(site)}
        documents = policy(AUTHN, MODELS), backend(stub.port, INJECT)
        with gateway(*documents, environ=environ) as running:
            yield running


@pytest.fixture(scope="module")
def stub() -> Iterator[Stub]:
    stub = Stub()
    yield stub
    stub.stop()


def send(gate: Gateway, body: dict[str, Any], **options: Any) -> Any:
    fields = [("content-type", "application/json")]
    return gate.send("POST", "/v1/chat/completions", body=json.dumps(body).encode(), headers=fields, **options)


@pytest.mark.e2e
def test_it_serves_through_a_real_envoy(gate: Gateway, stub: Stub) -> None:
    asked = {"model": "gpt-4o-mini", "max_tokens": 10, "messages": [{"role": "user", "content": "hello"}]}
    assert send(gate, asked).status == 200
    assert received(stub, "/v1/chat/completions")["authorization"] == [f"Bearer {KEY}"]
    for wrong, code in (({"model": "o9"}, "model_forbidden"), ({"max_tokens": 101}, "answer_too_long")):
        answer = send(gate, {**asked, **wrong})
        assert (answer.status, answer.code) == (403, code)
    assert send(gate, asked, token=STRANGER).status == 403
    assert len(stub.received("/v1/chat/completions")) == 1
