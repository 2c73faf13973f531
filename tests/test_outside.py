"""The outside of a process: what its configuration connects it to, and a clear refusal of what is not there."""

from pathlib import Path
from typing import Any

import pytest

from extproc.core.secret import unseal
from extproc.errors import ConfigError, Unavailable
from extproc.kept import Kept, steady
from extproc.outside import Connected, Offline
from extproc.policy.documents import ExtProcConfiguration
from extproc.testing import Clock


def settings(**fields: Any) -> ExtProcConfiguration:
    return ExtProcConfiguration.model_validate(
        {
            "apiVersion": "egress.extproc.dev/v1alpha1",
            "kind": "ExtProcConfiguration",
            "gateway": "egress/egress",
            **fields,
        }
    )


def source(**fields: Any) -> dict[str, Any]:
    return {"provider-keys": {"backends": ["egress/openai"], **fields}}


def connected(directory: Path = Path(), **fields: Any) -> Connected:
    return Connected(settings(**fields), directory, Clock())


async def test_secret_files_lie_beside_the_document(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "key").write_text("sk-1")
    store = connected(tmp_path, secretSources=source(file={"root": "secrets"})).secrets("provider-keys")
    secret = await store.read(["key"], "")
    assert secret is not None
    assert unseal(secret) == b"sk-1"
    assert store.backends == {"egress/openai"}


def test_one_source_is_one_store() -> None:
    outside = connected(secretSources=source(env={"names": ["KEY"]}))
    assert outside.secrets("provider-keys") is outside.secrets("provider-keys")


def test_a_source_that_nobody_configured() -> None:
    with pytest.raises(ConfigError, match="known: provider-keys") as caught:
        connected(secretSources=source(env={"names": ["KEY"]})).secrets("other")
    assert caught.value.place.field == "config.source"


@pytest.mark.parametrize(
    ("kind", "place", "text"),
    [
        ({"vault": {"mount": "secret"}}, "secretSources.provider-keys.vault", "set `connections.vault`"),
        ({"file": {"root": "nowhere"}}, "secretSources.provider-keys.file.root", "not a directory"),
        ({"file": {"root": "x" * 300}}, "secretSources.provider-keys.file.root", "not a directory"),
    ],
)
def test_a_source_that_cannot_be_had(kind: dict[str, Any], place: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=text) as caught:
        connected(tmp_path, secretSources=source(**kind))
    assert caught.value.place.field == place


@pytest.mark.parametrize("store", ["memory", None])
def test_all_extensions_count_in_one_memory(store: str | None) -> None:
    outside = connected()
    assert outside.counters(store) is outside.counters("memory") is outside.memory


def test_counters_outlive_a_configuration() -> None:
    kept = Kept(Clock())
    first, second = (Connected(settings(), Path(), Clock(), kept.lease()) for _ in range(2))
    assert first.counters(None) is second.counters(None) is kept.memory


@pytest.mark.parametrize(
    ("store", "fields"),
    [("redis", {}), ("memory", {"workers": 2}), (None, {"workers": 2})],
)
def test_counters_that_cannot_be_had(store: str | None, fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        connected(**fields).counters(store)
    assert caught.value.place.field == "config.store"


async def test_static_tokens_lie_beside_their_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    (tmp_path / "tokens.yaml").write_text("tokens: [{token: good, username: alice}]")
    reviewer = connected().reviewer({"static": {"path": "tokens.yaml"}}, tmp_path)
    assert (await reviewer.review("good", [])).peer is not None


REDIS = {"connections": {"redis": {"url": "redis://127.0.0.1:1"}}}
VAULT = {"address": "http://127.0.0.1:1", "auth": {"token": {"env": "VAULT_TOKEN"}}}


def test_each_dependency_has_one_client_and_is_known() -> None:
    outside = connected(
        connections={**REDIS["connections"], "vault": VAULT, "kubernetes": {}},
        secretSources=source(vault={"mount": "secret", "prefix": "egress"}),
    )
    assert outside.counters(None) is outside.counters("redis")
    assert outside.reviewer({"kubernetes": {}}, Path()) is outside.reviewer({"kubernetes": {}}, Path())
    assert set(outside.dependencies) == {"redis", "kubernetes", "vault", "vault:secret/egress"}


def test_what_nobody_uses_is_no_dependency() -> None:
    assert not connected(connections={**REDIS["connections"], "vault": VAULT, "kubernetes": {}}).dependencies


def test_redis_is_the_default_where_it_is_connected() -> None:
    assert connected(**REDIS).counters(None) is not connected(**REDIS).memory
    outside = connected(**REDIS)
    assert outside.counters("memory") is outside.memory


def test_a_fallback_is_for_redis() -> None:
    with pytest.raises(ConfigError, match="memory is local already"):
        connected().counters(None, "local")
    outside = connected(**REDIS)
    assert outside.counters(None, "local") is not outside.counters(None)
    assert set(outside.dependencies) == {"redis"}


async def test_nothing_is_opened_before_it_is_asked_and_closing_is_no_question() -> None:
    outside = connected(
        connections={**REDIS["connections"], "vault": VAULT}, secretSources=source(vault={"mount": "secret"})
    )
    outside.counters(None)
    await outside.close()


async def test_offline_nothing_is_asked() -> None:
    outside = Offline(
        settings(connections={**REDIS["connections"], "vault": VAULT}, secretSources=source(vault={"mount": "secret"})),
        Path(),
        Clock(),
    )
    assert outside.counters("redis", "local") is outside.memory
    secret = await outside.secrets("provider-keys").read(["any"], "field")
    assert secret is not None
    with pytest.raises(Unavailable, match="--as"):
        await outside.reviewer({"kubernetes": {}}, Path()).review("t", [])


def test_expressions_are_cel() -> None:
    assert connected().expression("1 + 1 == 2")({}) is True


def test_time_is_the_one_it_was_given() -> None:
    clock = Clock(5.0)
    assert Connected(settings(), Path(), clock).now() == 5.0


def test_a_steady_clock_is_not_set() -> None:
    wall, ticks = Clock(1_000_000.0), Clock(50.0)
    clock = steady(wall, ticks)
    wall.advance(-3600)
    ticks.advance(2)
    assert clock() == 1_000_002.0


@pytest.mark.parametrize(
    "auth", [{"kubernetes": {"role": "r"}}, {"jwt": {"role": "r"}}, {"approle": {"roleIDPath": "x"}}]
)
def test_every_way_to_log_in_can_be_configured(auth: dict[str, Any]) -> None:
    vault = {"address": "http://127.0.0.1:1", "auth": auth}
    outside = connected(connections={"vault": vault}, secretSources=source(vault={"mount": "secret"}))
    assert "vault" in outside.dependencies


def test_a_vault_that_cannot_be_asked_is_refused_though_nobody_uses_it() -> None:
    with pytest.raises(ConfigError) as caught:
        connected(connections={"vault": {"address": "http://vault.example.com", "auth": {"token": {"env": "X"}}}})
    assert caught.value.place.field == "connections.vault.address"


async def test_a_password_that_is_nowhere_is_an_outage_and_told_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDIS_PASSWORD", raising=False)
    redis = {"url": "redis://127.0.0.1:1", "password": {"env": "REDIS_PASSWORD"}}
    outside = connected(connections={"redis": redis})
    outside.counters(None)
    assert await outside.dependencies["redis"].probe()
    await outside.close()
