"""CredentialInjector: the caller's own credentials go, ours comes, and nobody sees it."""

import re
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from extproc import Continue, Exchange, Phase, Respond, Verdict
from extproc.adapters.secrets import FileSecrets
from extproc.core.peer import Backend, Peer
from extproc.core.secret import Secret, unseal
from extproc.errors import ConfigError, Unavailable
from extproc.testing import (
    Clock,
    Conversation,
    Secrets,
    caller,
    chain,
    context,
    exchange,
    go_on,
    headers,
    immediate,
    link,
    play,
    run,
)
from extproc_filters.credential_injector import OWN_HEADERS, OWN_QUERY, CredentialInjector, CredentialInjectorConfig

CANARY = "sk-canary-1234"
PEER = Peer("system:serviceaccount:ai:default", namespace="ai", service_account="default")
OPENAI = Backend("egress", "openai", "api.openai.com", 443, frozenset({"egress/openai"}))
OTHER = Backend("egress", "other", "api.other.com", 443, frozenset({"egress/other"}))
BASE = {"source": "keys", "path": "{peer.namespace}/{peer.serviceAccount}", "field": "api_key"}
KEYS = Secrets({"ai/default/api_key": CANARY}, frozenset({"egress/openai", "egress/anthropic"}))


def build(
    store: Any = KEYS, /, place: Mapping[str, Any] | None = None, drop: tuple[str, ...] = (), **config: Any
) -> CredentialInjector:
    given = context(**{"scope": "Backend/egress/openai", "secrets": {"keys": store}, **(place or {})})
    whole = {name: value for name, value in {**BASE, **config}.items() if name not in drop}
    return CredentialInjector(CredentialInjectorConfig.model_validate(whole), given)


def ask(
    filter_: CredentialInjector, peer: Peer | None = PEER, backend: Backend | None = OPENAI, **more: Any
) -> Verdict:
    return run(filter_.decide(Phase.REQUEST_HEADERS, exchange(peer=peer, backend=backend, **more)))


def injected(verdict: Verdict) -> dict[str, str]:
    assert isinstance(verdict, Continue)
    values = {**verdict.set_headers, **verdict.set_query}
    assert all(isinstance(value, Secret) for value in values.values())
    return {name: unseal(value).decode() for name, value in values.items() if isinstance(value, Secret)}


def refused(verdict: Verdict) -> Respond:
    assert isinstance(verdict, Respond)
    assert (verdict.status, verdict.code) == (403, "no_credential")
    return verdict


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, {"authorization": f"Bearer {CANARY}"}),
        ({"header": "X-API-Key", "template": "{value}"}, {"x-api-key": CANARY}),
        ({"template": "token={value}; v=1"}, {"authorization": f"token={CANARY}; v=1"}),
        ({"headers": {"a": "{value}", "B": "k {value}"}}, {"a": CANARY, "b": f"k {CANARY}"}),
        ({"query": "key"}, {"key": CANARY}),
        ({"query": "token", "template": "v1.{value}"}, {"token": f"v1.{CANARY}"}),
    ],
)
def test_where_the_value_goes(config: dict[str, Any], expected: dict[str, str]) -> None:
    assert injected(ask(build(**config))) == expected


async def ask_through(filter_: CredentialInjector, event: Any) -> Any:
    whole = chain(caller(PEER), link(filter_, priority=1))
    return await Conversation(whole, backend=OPENAI).ask(event)


@pytest.mark.parametrize("name", sorted(OWN_HEADERS))
async def test_every_credential_of_the_caller_is_removed(name: str) -> None:
    answer = await ask_through(build(header="x-target", template="{value}"), headers({name: ["own-1", "own-2"]}))
    assert answer == go_on(set={"x-target": "***"}, removed=[name])


async def test_its_own_target_is_replaced_whole() -> None:
    event = headers(authorization=["own-1", "own-2"], x_other="stays")
    assert await ask_through(build(), event) == go_on(set={"authorization": "***"})


@pytest.mark.parametrize(
    "query",
    [
        "key=own",
        "KEY=own",
        "Api_Key=own",
        "access%5Ftoken=own",
        "%6bey=own",
        "k%65y=own&key=own",
        "key",
        "key=",
        "token=own",
        "TOKEN=own",
        "access_token=own;key=own",
        "%61pi%5fkey=own",
        "$key=own",
        "%24KEY=own",
        "oauth_token=own",
        "$httpHeaders=authorization:Bearer%20own%0d%0a",
        "%24httpHeaders=own",
        "subscription-key=own&api-key=own",
    ],
)
async def test_every_credential_in_the_query_is_removed_whatever_its_spelling(query: str) -> None:
    answer = await ask_through(build(query="token"), headers(path=f"/v1?a=1&{query}&b=2"))
    assert set(re.split("[?&;]", answer.path)) - {""} == {"/v1", "a=1", "b=2", "token=***"}


async def test_what_keep_lists_stays() -> None:
    filter_ = build(header="x-target", keep=["cookie", "key"])
    event = headers(cookie="a=b", x_api_key="own", path="/v1?key=own&api_key=own")
    assert await ask_through(filter_, event) == go_on(
        set={"x-target": "***"}, removed=["x-api-key"], path="/v1?key=own"
    )


async def test_a_second_injector_leaves_what_the_first_has_set() -> None:
    first, second = build(query="key"), build(header="x-second", template="{value}")
    third = build()
    links = [link(each, f"n{number}", priority=number) for number, each in enumerate((first, third, second), 1)]
    whole = chain(caller(PEER), *links)
    answer = await Conversation(whole, backend=OPENAI).ask(headers(authorization="own", path="/v1?key=own"))
    assert answer == go_on(set={"authorization": "***", "x-second": "***"}, path="/v1?key=***")


@pytest.mark.parametrize(
    "peer",
    [
        None,
        Peer("alice"),
        Peer("x", namespace="ai"),
        Peer("x", namespace="", service_account="default"),
        Peer("x", namespace="..", service_account="default"),
        Peer("x", namespace="ai", service_account=".."),
        Peer("x", namespace="ai", service_account="."),
        Peer("x", namespace="ai/default", service_account="api_key"),
        Peer("x", namespace="ai%2fdefault", service_account="default"),
        Peer("x", namespace="AI", service_account="default"),
        Peer("x", namespace="ai\n", service_account="default"),
        Peer("x", namespace="ai", service_account="default\x00"),
        Peer("x", namespace="ai", service_account="a" * 254),
        Peer("x", namespace="ai", service_account="other"),
    ],
)
def test_a_caller_without_a_secret_of_its_own_is_refused(peer: Peer | None) -> None:
    refused(ask(build(), peer))


def test_paths_of_every_variable() -> None:
    store = Secrets({"teams/ai/default/egress/openai/v1.key": CANARY}, frozenset({"egress/openai"}))
    filter_ = build(
        store,
        path="teams/{peer.namespace}/{peer.serviceAccount}/{backend.namespace}/{backend.name}/v1.key",
        drop=("field",),
    )
    plain = Secrets({"one/key": CANARY}, frozenset({"egress/openai"}))
    with_field = build(plain, path="one", field="key")
    assert injected(ask(with_field, None)) == {"authorization": f"Bearer {CANARY}"}
    verdict = ask(filter_)
    assert isinstance(verdict, Respond)  # this store has no value without a field; the path is in the reason
    assert "teams/ai/default/egress/openai/v1.key" in verdict.reason


async def test_from_a_real_file_by_caller(tmp_path: Path) -> None:
    (tmp_path / "ai" / "default").mkdir(parents=True)
    (tmp_path / "ai" / "default" / "api_key").write_text(CANARY + "\n")
    (tmp_path / "ai" / "evil").symlink_to("/etc")
    store = FileSecrets(tmp_path, ["egress/openai"], Clock())
    assert injected(ask(build(store))) == {"authorization": f"Bearer {CANARY}"}
    refused(ask(build(store), replace(PEER, service_account="evil")))
    refused(ask(build(store, field="hostname"), replace(PEER, service_account="evil")))


def test_other_backends_and_no_backend_never_receive_it() -> None:
    filter_ = build(place={"scope": "Gateway/egress/egress"}, backends=["egress/openai"])
    assert injected(ask(filter_))
    assert ask(filter_, backend=OTHER, headers={"authorization": "own"}) == Continue()
    assert ask(filter_, backend=None, headers={"authorization": "own"}) == Continue()
    assert ask(build(), backend=OTHER) == Continue()


def test_one_injector_for_each_provider_at_the_gateway() -> None:
    gateway = {"scope": "Gateway/egress/egress"}
    whole = chain(
        caller(PEER),
        link(build(place=gateway, backends=["egress/openai"]), "a", priority=1),
        link(build(place=gateway, backends=["egress/anthropic"], header="x-api-key"), "b", priority=2),
    )
    anthropic = Backend("egress", "anthropic", "api.anthropic.com", 443, frozenset({"egress/anthropic"}))
    assert play(whole, headers(), backend=OPENAI) == [go_on(set={"authorization": "***"})]
    assert play(whole, headers(), backend=anthropic) == [go_on(set={"x-api-key": "***"})]


@pytest.mark.parametrize("scope", ["Gateway/egress/egress", "HTTPRoute/egress/chat"])
def test_a_wider_scope_must_list_its_backends(scope: str) -> None:
    with pytest.raises(ConfigError, match="required") as caught:
        build(place={"scope": scope})
    assert caught.value.place.field == "config.backends"


@pytest.mark.parametrize(
    ("place", "config", "field"),
    [
        ({"pre_auth": True}, {}, "preAuth"),
        ({"fail_open": True}, {}, "failOpen"),
        ({"scope": "Backend/egress/other"}, {}, "config.source"),
        ({"scope": "Gateway/egress/egress"}, {"backends": ["egress/openai", "egress/other"]}, "config.backends"),
        ({}, {"backends": ["egress/anthropic"]}, "config.backends"),
    ],
)
def test_places_where_no_credential_may_be_released(place: dict[str, Any], config: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(place=place, **config)
    assert caught.value.place.field == field


def test_fail_open_may_be_called_unsafe() -> None:
    assert build(place={"fail_open": True}, allowUnsafeFailOpen=True)


def test_an_unknown_source() -> None:
    with pytest.raises(ConfigError, match="keys"):
        build(source="nowhere")


def test_what_the_policy_asks_of_it() -> None:
    assert CredentialInjector.releases_credentials
    assert not build().allow_plaintext
    assert build(allowPlaintext=True).allow_plaintext


@pytest.mark.parametrize(
    ("config", "sets_headers", "sets_query"),
    [
        ({}, {"authorization"}, set()),
        ({"headers": {"A": "{value}", "B": "{value}"}}, {"a", "b"}, set()),
        ({"query": "Key"}, set(), {"Key"}),
    ],
)
def test_it_says_where_a_try_may_leave_a_credential(
    config: dict[str, Any], sets_headers: set[str], sets_query: set[str]
) -> None:
    filter_ = build(place={"phase": Phase.BACKEND_REQUEST}, **config)
    assert (filter_.sets_headers, filter_.sets_query) == (sets_headers, sets_query)


def test_each_try_asks_the_source_anew() -> None:
    keys = {"ai/default/api_key": "first"}
    filter_ = build(Secrets(keys, frozenset({"egress/openai"})), place={"phase": Phase.BACKEND_REQUEST})
    tried = exchange(peer=PEER, backend=OPENAI)
    for value in ("first", "second"):
        keys["ai/default/api_key"] = value
        verdict = run(filter_.decide(Phase.BACKEND_REQUEST, tried))
        assert injected(verdict) == {"authorization": f"Bearer {value}"}


@pytest.mark.parametrize(
    "config",
    [
        {"path": ""},
        {"path": "/a"},
        {"path": "a/"},
        {"path": "a//b"},
        {"path": ".."},
        {"path": "a/../b"},
        {"path": "a/./b"},
        {"path": ".hidden"},
        {"path": "a%2fb"},
        {"path": "a\\b"},
        {"path": "a b"},
        {"path": "a\x00"},
        {"path": "{peer.namespace}-key"},
        {"path": "{peer.username}"},
        {"path": "{peer}"},
        {"path": "{request.host}"},
        {"path": "{PEER.namespace}"},
        {"field": "../key"},
        {"field": ""},
        {"field": ".."},
        {"field": "a/b"},
        {"header": "bad name"},
        {"header": "host"},
        {"header": ":path"},
        {"header": "content-length"},
        {"header": "x-envoy-original-path"},
        {"header": "x-extproc-token"},
        {"headers": {}},
        {"headers": {"host": "{value}"}},
        {"headers": {"A": "{value}", "a": "k {value}"}},
        {"headers": {"a": "no value"}},
        {"headers": {"a": "{value}"}, "template": "{value}"},
        {"header": "a", "headers": {"a": "{value}"}},
        {"header": "a", "query": "b"},
        {"headers": {"a": "{value}"}, "query": "b"},
        {"query": ""},
        {"query": "a&b"},
        {"query": "a=b"},
        {"template": "Bearer"},
        {"template": "{value}{value}"},
        {"template": "{value}\r\nx-admin: 1"},
        {"template": " {value}"},
        {"template": "ü{value}"},
        {"keep": ["x-unknown"]},
        {"keep": ["authorization"]},
        {"query": "key", "keep": ["key"]},
        {"backends": []},
        {"backends": ["openai"]},
        {"backends": ["*/*"]},
        {"extra": 1},
    ],
)
def test_bad_configurations(config: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        build(**config)


class Down(Secrets):
    async def read(self, path: object, field: object) -> Any:
        raise Unavailable("the store is down")


async def test_a_store_that_is_down_is_unavailable() -> None:
    filter_ = build(Down({}, frozenset({"egress/openai"})))
    assert await ask_through(filter_, headers(authorization="own")) == immediate(503, "policy_unavailable")


async def test_an_envoy_that_goes_elsewhere_gets_nothing() -> None:
    event = headers(authorization="own", attributes={"xds.cluster_name": "attacker"})
    assert await ask_through(build(), event) == immediate(403, "backend_mismatch")


class Later:
    """An extension that tries to see what was injected."""

    phases = frozenset({Phase.REQUEST_HEADERS})

    def __init__(self) -> None:
        self.seen = ""

    async def decide(self, phase: Phase, exchange: Exchange) -> Verdict:
        values = exchange.request.headers.values("authorization")
        self.seen = f"{exchange!r} {exchange.request!r} {values!r} {dict(exchange.variables)!r} {vars(self)!r}"
        raise ValueError(f"{exchange.request.headers.get('authorization')} {exchange.request.hidden_query!r}")


async def test_nothing_later_sees_the_value() -> None:
    later = Later()
    whole = chain(caller(PEER), link(build(), "inject", priority=1), link(later, "later", priority=2))
    conversation = Conversation(whole, backend=OPENAI)
    answer = await conversation.ask(headers(authorization="own"))
    shown = f"{answer!r} {answer.outcome!r} {conversation.end()!r} {later.seen}"
    assert "***" in shown
    assert "canary" not in shown


def test_no_repr_and_no_traceback_shows_the_value() -> None:
    filter_ = build()
    verdict = ask(filter_)
    try:
        raise RuntimeError(verdict, filter_, vars(filter_))
    except RuntimeError:
        assert "canary" not in traceback.format_exc()


def test_own_names_are_those_of_the_contract() -> None:
    assert {
        "authorization",
        "proxy-authorization",
        "x-api-key",
        "api-key",
        "x-goog-api-key",
        "ocp-apim-subscription-key",
        "cookie",
    } == OWN_HEADERS
    assert {
        "key",
        "api_key",
        "api-key",
        "access_token",
        "oauth_token",
        "subscription-key",
        "$key",
        "$httpheaders",
    } == OWN_QUERY
