"""The embedded outside: what it has, and a clear refusal of what it has not."""

from pathlib import Path
from typing import Any

import pytest

from extproc.adapters.memory import Counters
from extproc.adapters.outside import Embedded, steady
from extproc.core.secret import unseal
from extproc.errors import ConfigError
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


def embedded(directory: Path = Path(), **fields: Any) -> Embedded:
    return Embedded(settings(**fields), directory, Clock())


async def test_secret_files_lie_beside_the_document(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "key").write_text("sk-1")
    store = embedded(tmp_path, secretSources=source(file={"root": "secrets"})).secrets("provider-keys")
    secret = await store.read(["key"], "")
    assert secret is not None
    assert unseal(secret) == b"sk-1"
    assert store.backends == {"egress/openai"}


def test_one_source_is_one_store() -> None:
    outside = embedded(secretSources=source(env={"names": ["KEY"]}))
    assert outside.secrets("provider-keys") is outside.secrets("provider-keys")


def test_a_source_that_nobody_configured() -> None:
    with pytest.raises(ConfigError, match="known: provider-keys") as caught:
        embedded(secretSources=source(env={"names": ["KEY"]})).secrets("other")
    assert caught.value.place.field == "config.source"


@pytest.mark.parametrize(
    ("kind", "place", "text"),
    [
        ({"vault": {"mount": "secret"}}, "secretSources.provider-keys.vault", "not served by this version"),
        ({"file": {"root": "nowhere"}}, "secretSources.provider-keys.file.root", "not a directory"),
        ({"file": {"root": "x" * 300}}, "secretSources.provider-keys.file.root", "not a directory"),
    ],
)
def test_a_source_that_cannot_be_had(kind: dict[str, Any], place: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=text) as caught:
        embedded(tmp_path, secretSources=source(**kind))
    assert caught.value.place.field == place


@pytest.mark.parametrize("store", ["memory", None])
def test_all_extensions_count_in_one_memory(store: str | None) -> None:
    outside = embedded()
    assert outside.counters(store) is outside.counters("memory") is outside.memory


def test_counters_outlive_a_configuration() -> None:
    memory = Counters(Clock())
    assert Embedded(settings(), Path(), Clock(), memory).counters(None) is memory


@pytest.mark.parametrize(
    ("store", "fields"),
    [("redis", {}), (None, {"connections": {"redis": {"url": "redis://x"}}}), ("memory", {"workers": 2})],
)
def test_counters_that_cannot_be_had(store: str | None, fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        embedded(**fields).counters(store)
    assert caught.value.place.field == "config.store"


async def test_static_tokens_lie_beside_their_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    (tmp_path / "tokens.yaml").write_text("tokens: [{token: good, username: alice}]")
    reviewer = embedded().reviewer({"static": {"path": "tokens.yaml"}}, tmp_path)
    assert (await reviewer.review("good", [])).peer is not None


def test_the_api_server_is_not_served() -> None:
    with pytest.raises(ConfigError, match="'kubernetes' is not served by this version; served is"):
        embedded().reviewer({"kubernetes": {}}, Path())


def test_expressions_are_cel() -> None:
    assert embedded().expression("1 + 1 == 2")({}) is True


def test_time_is_the_one_it_was_given() -> None:
    clock = Clock(5.0)
    assert Embedded(settings(), Path(), clock).now() == 5.0


def test_a_steady_clock_is_not_set() -> None:
    wall, ticks = Clock(1_000_000.0), Clock(50.0)
    clock = steady(wall, ticks)
    wall.advance(-3600)
    ticks.advance(2)
    assert clock() == 1_000_002.0
