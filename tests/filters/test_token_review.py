"""TokenReview: one header with one token, or nobody; and who of them may go on."""

import traceback
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from extproc import Continue, Exchange, Phase, Respond, Verdict
from extproc.core.filter import Authenticator
from extproc.core.peer import Peer
from extproc.errors import Cause, ConfigError, Unavailable
from extproc.testing import (
    Conversation,
    PlainOutside,
    chain,
    context,
    exchange,
    go_on,
    headers,
    immediate,
    link,
)
from extproc_filters.token_review import TokenReview, TokenReviewConfig, address

CANARY = "token-canary"
PEER = Peer("system:serviceaccount:ai:default", "u-1", ("system:serviceaccounts", "team-a"))
STATIC = {"reviewer": {"static": {"path": "tokens.yaml"}}}


def build(peer: Peer = PEER, /, fail_open: bool = False, **config: Any) -> TokenReview:
    given = context(tokens={CANARY: peer}, fail_open=fail_open, pre_auth=True)
    return TokenReview(TokenReviewConfig.model_validate({**STATIC, **config}), given)


def asked(*fields: tuple[str, str | bytes]) -> Exchange:
    return exchange(headers=fields)


async def decide(filter_: TokenReview, *fields: tuple[str, str | bytes]) -> Verdict:
    return await filter_.decide(Phase.REQUEST_HEADERS, asked(*fields or [("authorization", f"Bearer {CANARY}")]))


def stated(verdict: Verdict) -> Peer:
    assert isinstance(verdict, Continue)
    (peer,) = verdict.facts
    assert isinstance(peer, Peer)
    return peer


def status(verdict: Verdict) -> int:
    return verdict.status if isinstance(verdict, Respond) else 200


async def test_a_good_token_states_the_peer() -> None:
    assert stated(await decide(build())) == replace(PEER, namespace="ai", service_account="default")


@pytest.mark.parametrize("value", [f"bearer {CANARY}", f"BEARER {CANARY}", f"Bearer   {CANARY}"])
async def test_the_prefix_in_any_case_with_any_spaces(value: str) -> None:
    assert stated(await decide(build(), ("authorization", value)))


GOOD = f"Bearer {CANARY}"
HOSTILE: Iterable[list[tuple[str, str | bytes]]] = [
    [("x-other", GOOD)],
    [("authorization", GOOD), ("authorization", GOOD)],
    [("authorization", GOOD), ("authorization", "Bearer other")],
    [("authorization", f"{GOOD}, {GOOD}")],
    [("authorization", f"{GOOD},{GOOD}")],
    [("authorization", f"{GOOD} {CANARY}")],
    [("authorization", f"{GOOD}\t")],
    [("authorization", f"Bearer\t{CANARY}")],
    [("authorization", f"Bearer{CANARY}")],
    [("authorization", f" {GOOD}")],
    [("authorization", CANARY)],
    [("authorization", f"Basic {CANARY}")],
    [("authorization", "Bearer")],
    [("authorization", "Bearer ")],
    [("authorization", "")],
    [("authorization", f"{GOOD}\x00")],
    [("authorization", f"{GOOD}\n")],
    [("authorization", GOOD.encode() + b"\xff")],
    [("authorization", GOOD.encode() + "é".encode())],
    [("authorization", "Bearer =")],
    [("authorization", f"Bearer {CANARY}=a")],
    [("authorization", "Bearer other")],
    [("authorization", "Bearer " + "x" * 16_385)],
]


@pytest.mark.parametrize("fields", HOSTILE)
async def test_anything_else_is_unauthenticated(fields: list[tuple[str, str | bytes]]) -> None:
    verdict = await decide(build(), *fields)
    assert isinstance(verdict, Respond)
    assert (verdict.status, verdict.code) == (401, "unauthenticated")
    assert str(verdict.headers["www-authenticate"]).startswith("Bearer")
    assert "canary" not in repr(verdict)


async def test_a_bad_token_is_told_apart_from_none() -> None:
    bad, none = await decide(build(), ("authorization", "Bearer bad")), await decide(build(), ("x-other", "1"))
    assert isinstance(bad, Respond)
    assert isinstance(none, Respond)
    assert bad.headers == {"www-authenticate": 'Bearer error="invalid_token"'}
    assert none.headers == {"www-authenticate": "Bearer"}
    assert bad.message == none.message


async def test_another_header_and_prefix() -> None:
    filter_ = build(header="X-Workload-Token", prefix="")
    assert filter_.reads == {"x-workload-token"}
    assert stated(await decide(filter_, ("x-workload-token", CANARY), ("authorization", "Bearer other")))
    assert status(await decide(filter_, ("x-workload-token", GOOD))) == 401
    assert status(await decide(filter_, ("authorization", GOOD))) == 401


@pytest.mark.parametrize(
    ("allow", "expected"),
    [
        ({}, 200),
        ({"namespaces": ["ai", "other"]}, 200),
        ({"namespaces": ["other"]}, 403),
        ({"serviceAccounts": ["ai/default"]}, 200),
        ({"serviceAccounts": ["other/default"]}, 403),
        ({"groups": ["team-a"]}, 200),
        ({"groups": ["team-b"]}, 403),
        ({"namespaces": ["other"], "groups": ["team-a"]}, 200),
        ({"namespaces": ["other"], "serviceAccounts": ["ai/other"], "groups": ["x"]}, 403),
    ],
)
async def test_who_may_go_on(allow: dict[str, Any], expected: int) -> None:
    assert status(await decide(build(allow=allow))) == expected


@pytest.mark.parametrize(
    ("username", "config", "expected"),
    [
        ("alice", {}, 403),
        ("alice", {"allowUsers": True}, 200),
        ("alice", {"allowUsers": True, "allow": {"namespaces": ["ai"]}}, 403),
        ("alice", {"allowUsers": True, "allow": {"groups": ["team-a"]}}, 200),
        ("alice", {"allow": {"groups": ["team-a"]}}, 403),
        ("system:serviceaccount:ai", {"allowUsers": True}, 403),
        ("system:serviceaccount:ai:default:admin", {"allowUsers": True}, 403),
    ],
)
async def test_users_that_are_no_service_accounts(username: str, config: dict[str, Any], expected: int) -> None:
    assert status(await decide(build(replace(PEER, username=username), **config))) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("192.0.2.1:40000", "192.0.2.1"),
        ("[2001:db8::1]:40000", "[2001:db8::1]"),
        ("", ""),
        ("@/run/x.sock", "@/run/x.sock"),
    ],
)
def test_the_address_without_its_port(source: str, expected: str) -> None:
    assert address(source) == expected


@pytest.mark.parametrize(
    "config",
    [
        {"reviewer": {}},
        {"reviewer": {"static": {"path": "x"}, "kubernetes": {}}},
        {"reviewer": {"static": {"path": ""}}},
        {"header": "bad name"},
        {"header": ":path"},
        {"header": "host"},
        {"header": "x-envoy-token"},
        {"header": "x-extproc-token"},
        {"prefix": "Bearer "},
        {"prefix": "Bearer\n"},
        {"allow": {"namespaces": []}},
        {"allow": {"namespaces": ["*"]}},
        {"allow": {"serviceAccounts": ["default"]}},
        {"allow": {"serviceAccounts": ["ai/*"]}},
        {"allow": {"groups": [""]}},
        {"allow": {"users": ["alice"]}},
        {"audiences": [""]},
        {"audiences": "egress"},
        {"cacheTTL": "0s"},
        {"cacheTTL": 60},
        {"cacheTTL": "61m"},
        {"cacheTtl": "60s"},
        {"allowUsers": "yes"},
    ],
)
def test_bad_configurations(config: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TokenReviewConfig.model_validate({**STATIC, **config})


def test_the_api_server_needs_audiences() -> None:
    assert TokenReviewConfig().reviewer.kubernetes is not None
    with pytest.raises(ConfigError) as caught:
        build(reviewer={"kubernetes": {}})
    assert caught.value.place.field == "config.audiences"
    assert build(reviewer={"kubernetes": {}}, audiences=["egress"])


def test_fail_open_must_be_called_unsafe() -> None:
    with pytest.raises(ConfigError) as caught:
        build(fail_open=True)
    assert caught.value.place.field == "failOpen"
    assert build(fail_open=True, allowUnsafeFailOpen=True)


async def test_it_is_the_authenticator_of_a_chain() -> None:
    filter_ = build(allow={"namespaces": ["ai"]})
    assert isinstance(filter_, Authenticator)
    whole = chain(filter_, authentication=True)
    assert await Conversation(whole).ask(headers(authorization=GOOD)) == go_on(removed=["authorization"])
    spoofed = headers(authorization="Bearer bad", x_extproc_peer="ai/default")
    assert await Conversation(whole).ask(spoofed) == immediate(401, "unauthenticated")


class Down:
    async def review(self, token: str, audiences: object) -> Any:
        raise Unavailable("the API server is down")


def down(**config: Any) -> TokenReview:
    given = replace(context(fail_open=bool(config)), outside=PlainOutside(token_reviewer=Down()))
    return TokenReview(TokenReviewConfig.model_validate({**STATIC, **config}), given)


async def test_a_reviewer_that_is_down_is_unavailable_and_shows_no_token() -> None:
    filter_ = down()
    with pytest.raises(Unavailable) as caught:
        await decide(filter_)
    assert "canary" not in "".join(traceback.format_exception(caught.value))
    answer = await Conversation(chain(filter_, authentication=True)).ask(headers(authorization=GOOD))
    assert answer == immediate(503, "policy_unavailable")


class Passes:
    phases = frozenset({Phase.REQUEST_HEADERS})

    async def decide(self, phase: Phase, exchange: Exchange) -> Verdict:
        return Continue()


async def test_failing_open_never_makes_a_peer() -> None:
    authn = link(down(allowUnsafeFailOpen=True), fail_open=frozenset(Cause))
    whole = chain(authn, link(Passes(), priority=1), authentication=True)
    assert await Conversation(whole).ask(headers(authorization=GOOD)) == immediate(401, "unauthenticated")


def test_nothing_shows_the_token() -> None:
    assert "canary" not in f"{vars(build())} {build()!r}"
