"""A resolved configuration in the engine: what its refusals, degradations and identity headers do to an exchange."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from extproc.core.exchange import Exchange
from extproc.core.peer import Peer
from extproc.core.phase import Phase
from extproc.core.verdict import Continue, Verdict, deny
from extproc.policy.read import load
from extproc.policy.resolve import resolve
from extproc.policy.resolved import Resolved
from extproc.testing import GoOn, headers, immediate, play
from tests.policy.samples import AUTHN, CATALOG, SETTINGS, Authn, Base, backend, outside, write

UPSTREAM = '  extensions:\n  - {name: inject, type: "Inject:v1", phase: backend-request, config: {source: keys}'
KEYS = "secretSources:\n  keys: {file: {root: secrets}, backends: [egress/openai]}\nidentityHeaders: [X-User]\n"


class Check(Authn):
    """Knows one token."""

    async def decide(self, phase: Phase, exchange: Exchange) -> Verdict:
        if exchange.request.headers.get("authorization") != "Bearer good":
            return deny("unauthenticated")
        return Continue(facts=(Peer("a", namespace="ns"),))


class Echo(Base):
    """Sets what it sees of the caller."""

    async def decide(self, phase: Phase, exchange: Exchange) -> Verdict:
        seen = ",".join(sorted(exchange.request.headers.names()))
        return Continue(set_headers={"x-seen": seen, "x-peer": exchange.peer.username if exchange.peer else "nobody"})


KINDS: Mapping[str, type[Any]] = {**CATALOG, "Authn:v1": Check, "Echo:v1": Echo}


def gateway(directory: Path, *documents: str) -> Resolved:
    return resolve(load(write(directory, SETTINGS + KEYS, *documents)), KINDS, outside)


@pytest.mark.parametrize(
    ("more", "status"),
    [("}\n", 503), (", failOpen: true}\n", None), (", failOpen: true, failOpenOn: [timeout]}\n", 503)],
)
def test_a_phase_that_is_not_served_is_never_silent(tmp_path: Path, more: str, status: int | None) -> None:
    found = gateway(tmp_path, AUTHN, backend("openai", "api.openai.com", UPSTREAM + more))
    assert play(found, headers(authorization="Bearer bad")) == [immediate(401)]
    (answer,) = play(found, headers(authorization="Bearer good"))
    if status:
        assert answer == immediate(status, "policy_unavailable")
    else:
        assert isinstance(answer, GoOn)
        assert answer.outcome is not None
        assert answer.outcome.metadata is not None
        assert [skip["extension"] for skip in answer.outcome.metadata["skipped"]] == ["inject"]


def test_an_unknown_authenticator_lets_nobody_in(tmp_path: Path) -> None:
    jwt = AUTHN.replace('"Authn:v1"', '"acme.example.com/JWT:v1"').replace(
        "priority: 0}", "preAuth: true, failOpen: true}"
    )
    echo = '  extensions:\n  - {name: echo, type: "Echo:v1", phase: request-headers, priority: 10}\n'
    found = gateway(tmp_path, jwt, backend("openai", "api.openai.com", echo))
    assert play(found, headers(authorization="Bearer good")) == [immediate(401)]


def test_identity_headers_and_ours_are_gone_before_anybody_looks(tmp_path: Path) -> None:
    echo = '  extensions:\n  - {name: echo, type: "Echo:v1", phase: request-headers, priority: 10}\n'
    found = gateway(tmp_path, AUTHN, backend("openai", "api.openai.com", echo))
    spoofed = headers(authorization="Bearer good", x_user="root", x_extproc_peer="root", x_fine="1")
    (answer,) = play(found, spoofed)
    assert isinstance(answer, GoOn)
    assert answer.set == {"x-seen": "x-fine", "x-peer": "a"}
    assert {"x-user", "x-extproc-peer", "authorization"} <= answer.removed


def test_a_pre_auth_extension_runs_first_and_knows_nobody(tmp_path: Path) -> None:
    echo = '  - {name: echo, type: "Echo:v1", phase: request-headers, priority: -1, preAuth: true}\n'
    found = gateway(tmp_path, AUTHN + echo, backend("openai", "api.openai.com"))
    (answer,) = play(found, headers(authorization="Bearer good"))
    assert isinstance(answer, GoOn)
    assert answer.set["x-peer"] == "nobody"


def test_an_error_of_when_is_closed_whatever_fail_open_says(tmp_path: Path) -> None:
    echo = (
        '  extensions:\n  - {name: echo, type: "Echo:v1", phase: request-headers, priority: 10, failOpen: true,'
        ' failOpenOn: [defect, unavailable], when: \'request.headers["x-none"] == "a"\'}\n'
    )
    found = gateway(tmp_path, AUTHN, backend("openai", "api.openai.com", echo))
    assert play(found, headers(authorization="Bearer good")) == [immediate(500, "policy_error")]
