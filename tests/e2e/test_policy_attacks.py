"""Attacks by those who write policies: another namespace, another's name, a feeder of the authenticator."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from extproc.compose import configure
from extproc.errors import Refused
from extproc.policy.findings import FindingKind
from tests.e2e.gateway import AUTHN, INJECT, Gateway, backend, gateway, policy, tokens, write
from tests.e2e.processes import Stub, short_directory

pytestmark = pytest.mark.e2e

FEEDER = "test.example/Feeder:v1"
FEED = {"name": "feed", "type": FEEDER, "phase": "request-headers", "priority": -10, "preAuth": True}
COVERED = ["unavailable", "timeout", "unsupported", "defect"]
OVERRIDE = {**AUTHN, "config": {**AUTHN["config"], "allow": {}}}
ELSEWHERE = policy({**INJECT, "name": "theirs"}, name="theirs", namespace="other")


@pytest.fixture(scope="module")
def environ() -> dict[str, str]:
    return {"PYTHONPATH": str(Path(__file__).parents[2])}


@pytest.fixture(scope="module")
def filters() -> dict[str, str]:
    return {FEEDER: "tests.e2e.hostile:Feeder"}


@pytest.fixture(scope="module", params=[False, True], ids=["closed", "open"])
def fed(stub: Stub, environ: dict, filters: dict, request: pytest.FixtureRequest) -> Iterator[tuple[Gateway, bool]]:
    feed = {**FEED, "failOpen": True, "failOpenOn": COVERED} if request.param else FEED
    with gateway(policy(AUTHN, feed), ELSEWHERE, backend(stub.port), environ=environ, filters=filters) as running:
        yield running, request.param


@pytest.mark.parametrize("token", [None, "wrong"])
def test_an_extension_cannot_feed_the_authenticator(fed: tuple[Gateway, bool], stub: Stub, token: str | None) -> None:
    gate, fail_open = fed
    answer = gate.get("/policies/fed", token=token)
    assert (answer.status, answer.code) == ((401, "unauthenticated") if fail_open else (500, "policy_error"))
    assert not stub.received("/policies/fed")


def test_a_policy_of_another_namespace_attaches_to_nothing(fed: tuple[Gateway, bool]) -> None:
    resolved = configure(fed[0].config)
    assert "theirs" not in {extension.name for extension in resolved.extensions}
    assert FindingKind.NOT_SERVED_HERE in {finding.kind for finding in resolved.findings}


CEL_BOMB = "[1, 2].all(a, [1, 2].all(b, [1, 2].all(c, true)))"
OUT = {**INJECT, "config": {**INJECT["config"], "path": "../outside"}}
ROUTER = {"name": "model", "type": "ModelRouter:v1", "phase": "request-body", "config": {"header": "authorization"}}
NAMELESS = {**INJECT, "config": {**INJECT["config"], "source": "nobodys-keys"}}


def theirs(*extensions: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """A Backend of another namespace."""
    return {**backend(1, *extensions, **spec), "metadata": {"name": "theirs", "namespace": "other"}}


@pytest.mark.parametrize(
    ("documents", "sentence"),
    [
        ([policy(AUTHN), theirs(hostname="127.0.0.1")], "for Backends of the Gateway's namespace alone"),
        ([policy(AUTHN), theirs(ROUTER, hostname="api.test", allowInternal=False)], "taken from all callers"),
        ([policy(AUTHN), backend(1, OVERRIDE)], "authenticator"),
        ([policy(AUTHN), backend(1, INJECT, allowInternal=False)], "allowInternal: true"),
        ([policy(AUTHN), backend(1, INJECT, hostname="169.254.169.254", allowInternal=False)], "allowInternal: true"),
        ([policy(AUTHN), backend(1, INJECT, hostname="0x7f.1")], "reads as an IP address"),
        ([policy(AUTHN), backend(1, OUT)], "no segment of a path"),
        ([policy(AUTHN), backend(1, NAMELESS)], "nobodys-keys"),
        ([policy(AUTHN), backend(1, {**INJECT, "preAuth": True})], "preAuth"),
        ([policy(AUTHN), backend(1, {**INJECT, "failOpen": True})], "allowUnsafeFailOpen"),
        ([policy(AUTHN), backend(1, {**INJECT, "when": CEL_BOMB})], "macro"),
        ([policy(AUTHN), backend(1, {**INJECT, "priority": -1})], "runs before the authenticator"),
        ([backend(1, INJECT)], "no EgressPolicy attaches"),
        ([ELSEWHERE, backend(1, INJECT)], "no EgressPolicy attaches"),
    ],
)
def test_what_is_refused_is_refused_with_its_place(documents: list[dict[str, Any]], sentence: str) -> None:
    with short_directory() as directory:
        (directory / "tokens").write_text(tokens())
        (directory / "secrets").mkdir()
        config = write(directory, documents, {})
        with pytest.raises(Refused, match=sentence) as caught:
            configure(config)
    assert all(error.place.file == str(config) and error.place.line for error in caught.value.errors)


def test_a_refused_configuration_opens_no_port() -> None:
    with short_directory() as directory:
        config = write(directory, [backend(1, INJECT)], {})
        argv = [sys.executable, "-m", "extproc", "serve", "--config", str(config)]
        ran = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        assert not (directory / "extproc.sock").exists()
    assert ran.returncode == 2
    assert ran.stderr.startswith(f"error: {config}:")
