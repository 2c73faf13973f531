"""Secrets from a real OpenBao: what is read, how often, how soon a change is seen, and what cannot be asked for."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.adapters import vault
from extproc.adapters.vault import VaultSecrets
from extproc.adapters.vault_client import VaultClient
from extproc.adapters.vault_http import VaultServer
from extproc.adapters.vault_login import Auth, TokenAuth
from extproc.core.secret import Secret, may_reach, unseal
from extproc.errors import ConfigError, Unavailable
from tests.adapters.ticking import Time, until
from tests.servers.bao import MISSING, Bao, shared

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)


class Place:
    """A store with a prefix that no other test uses, and the server behind it. Unless a test wants it, no last good value
    stands in for an answer that a busy machine is late with.
    """

    def __init__(
        self, bao: Bao, auth: Auth | None = None, mount: str = "secret", stale_for: float = 0.0, **more: Any
    ) -> None:
        self.bao, self.clock, self.mount = bao, Time(), mount
        self.prefix = f"p-{uuid4()}"
        auth = auth or TokenAuth(env="T", environ={"T": bao.token})
        self.client = VaultClient(VaultServer(bao.address, timeout=5.0), auth, self.clock, self.clock.sleep)
        more |= {"stale_for": stale_for, "now": self.clock}
        self.store = VaultSecrets(self.client, mount, self.prefix, ["egress/openai"], **more)
        self._before = bao.asked()

    async def read(self, *path: str, field: str = "key") -> str | None:
        return shown(await self.store.read(path, field))

    async def becomes(self, value: str, path: str) -> None:
        """Read until it is so. Raises: TimeoutError."""
        async with asyncio.timeout(10):
            while await self.read(path) != value:  # noqa: ASYNC110 - what is waited for happens in another process
                await asyncio.sleep(0.01)

    def put(self, path: str, **values: object) -> None:
        if self.mount == "kv1":
            self.bao.call("POST", f"kv1/{self.prefix}/{path}", values)
        else:
            self.bao.put(f"{self.prefix}/{path}", self.mount, **values)

    def reads(self, path: str) -> int:
        """How often the server was asked for it."""
        data = "" if self.mount == "kv1" else "data/"
        written = 1 if data else 0
        return self.bao.asked()[f"{self.mount}/{data}{self.prefix}/{path}"] - written

    def asked(self, path: str) -> int:
        return (self.bao.asked() - self._before)[path]


def shown(secret: Secret | None) -> str | None:
    return None if secret is None else unseal(secret).decode()


@asynccontextmanager
async def place(bao: Bao | None = None, *, make: Callable[..., Place] = Place, **more: Any) -> AsyncIterator[Place]:
    found = make(bao or shared(), **more)
    try:
        yield found
    finally:
        await found.store.close()
        await found.client.close()


def role(bao: Bao, folder: Path) -> TokenAuth:
    """A token that may read everything in `secret`."""
    bao.policy("reader", "secret/data/*")
    made = bao.call("POST", "auth/token/create", {"policies": ["reader"], "ttl": "1h"})
    (folder / "token").write_text(made["auth"]["client_token"])
    return TokenAuth(folder / "token")


@pytest.mark.parametrize("mount", ["secret", "kv1"])
async def test_both_versions_are_found_out_once(mount: str) -> None:
    async with place(mount=mount) as it:
        it.put("ai/default", key="sk-1", other="sk-2\n")
        assert await it.read("ai", "default") == "sk-1"
        assert await it.read("ai", "default", field="other") == "sk-2"
        assert await it.read("ai", "nobody") is None
        assert it.asked(f"sys/internal/ui/mounts/{mount}") == 1
        assert it.client.calls["read", True] == 2
        assert await it.store.probe() is None


async def test_a_version_that_is_configured_is_not_asked_for() -> None:
    async with place(mount="kv1", version=1) as it:
        it.put("team", key="sk-1")
        assert await it.read("team") == "sk-1"
        assert it.asked("sys/internal/ui/mounts/kv1") == 0


async def test_a_namespace_of_the_server() -> None:
    bao = shared()
    bao.call("POST", "sys/namespaces/team-a")
    bao.call("POST", "team-a/sys/mounts/keys", {"type": "kv", "options": {"version": "2"}})
    bao.put("egress/team", "team-a/keys", key="sk-1")
    clock = Time()
    server = VaultServer(bao.address, namespace="team-a", timeout=5.0)
    client = VaultClient(server, TokenAuth(env="T", environ={"T": bao.token}), clock, clock.sleep)
    store = VaultSecrets(client, "keys", "egress", [], now=clock)
    assert await store.probe() is None
    assert shown(await store.read(["team"], "key")) == "sk-1"
    await store.close()
    await client.close()


async def test_a_value_is_for_the_backends_of_its_source() -> None:
    async with place() as it:
        it.put("team", key="sk-1")
        secret = await it.store.read(["team"], "key")
        assert secret is not None
        assert may_reach(secret, "egress/openai")
        assert not may_reach(secret, "egress/other")


@pytest.mark.parametrize(
    ("mount", "said"),
    [("sys", "no KV secrets engine"), ("cubbyhole", "no KV"), ("nowhere", "shows no mount 'nowhere'")],
)
async def test_a_mount_that_is_none_is_said(mount: str, said: str) -> None:
    async with place(mount=mount) as it:
        with pytest.raises(Unavailable, match=said):
            await it.read("team")
        assert said in (await it.store.probe() or "")


async def test_a_hundred_thousand_reads_are_one_login_and_one_read_for_each_path(tmp_path: Path) -> None:
    bao = shared()
    async with place(bao, auth=role(bao, tmp_path)) as it:
        paths = [f"team-{number}" for number in range(10)]
        for path in paths:
            it.put(path, key=f"sk-{path}")
        for _ in range(100):
            found = await asyncio.gather(*(it.store.read([path], "key") for _ in range(100) for path in paths))
            assert [shown(secret) for secret in found[:10]] == [f"sk-{path}" for path in paths]
            it.clock.advance(0.5)
        assert [it.reads(path) for path in paths] == [1] * 10
        assert it.asked("auth/token/lookup-self") == 1
        assert it.client.calls == {("login", True): 1, ("mount", True): 1, ("read", True): 10}


async def test_a_value_in_use_is_read_once_for_each_time_to_live_in_the_background() -> None:
    async with place(cache_ttl=60.0) as it:
        it.put("team", key="sk-1")
        await it.read("team")
        for minute in range(1, 6):
            it.clock.advance(53.9)
            await it.read("team")
            assert it.client.calls["read", True] == minute
            it.clock.advance(0.1)
            assert await it.read("team") == "sk-1"  # nobody waits: the old value is still good
            await until(lambda minute=minute: it.client.calls["read", True] == minute + 1 and not it.store._flights)


async def test_a_rotated_value_is_picked_up_within_its_time_to_live() -> None:
    async with place(cache_ttl=60.0) as it:
        it.put("team", key="sk-1")
        await it.read("team")
        it.put("team", key="sk-2")
        it.clock.advance(30)
        assert await it.read("team") == "sk-1"
        it.clock.advance(30)
        assert await it.read("team") == "sk-2"


async def test_a_deleted_and_a_destroyed_value_are_gone_within_their_time_to_live() -> None:
    async with place() as it:
        it.put("team", key="sk-1")
        assert await it.read("team") == "sk-1"
        it.bao.call("DELETE", f"secret/data/{it.prefix}/team")
        it.clock.advance(60)
        assert await it.read("team") is None
        it.bao.call("PUT", f"secret/destroy/{it.prefix}/team", {"versions": [1]})
        it.clock.advance(60)
        assert await it.read("team") is None


async def test_a_lease_that_is_shorter_counts() -> None:
    async with place(mount="kv1") as it:
        it.put("team", key="sk-1", ttl="5s")
        assert await it.read("team") == "sk-1"
        it.put("team", key="sk-2", ttl="5s")
        it.clock.advance(4.4)
        assert await it.read("team") == "sk-1"
        it.clock.advance(0.6)
        assert await it.read("team") == "sk-2"


async def test_what_is_missing_is_missing_for_ten_seconds() -> None:
    async with place() as it:
        assert [await it.read("team") for _ in range(50)] == [None] * 50
        assert it.client.calls["read", True] == 1
        it.put("team", other="sk-0")
        it.clock.advance(10)
        assert await it.read("team") is None
        it.put("team", key="sk-1")
        it.clock.advance(9.9)
        assert await it.read("team") is None
        it.clock.advance(0.1)
        assert await it.read("team") == "sk-1"


async def test_one_read_for_all_who_wait_and_none_of_them_ends_it() -> None:
    async with place() as it:
        it.put("team", key="sk-1")
        readers = [asyncio.create_task(it.read("team")) for _ in range(100)]
        await asyncio.sleep(0)
        for reader in readers[:99]:
            reader.cancel()
        assert await readers[99] == "sk-1"
        assert all(reader.cancelled() for reader in readers[:99])
        assert it.client.calls["read", True] == it.client.calls["login", True] == 1


async def test_who_waited_for_nothing_finds_it_later() -> None:
    async with place() as it:
        it.put("team", key="sk-1")
        reader = asyncio.create_task(it.read("team"))
        await asyncio.sleep(0)
        reader.cancel()
        await until(lambda: it.client.calls["read", True] == 1)
        assert await it.read("team") == "sk-1"
        assert it.client.calls["read", True] == 1


@pytest.mark.parametrize(
    "value",
    [
        17,
        True,
        None,
        ["canary"],
        {"a": "canary"},
        "canary\nx: y",
        " canary",
        "canary\x7f",
        "k\u00e4-canary",
        "c" * 65537,
    ],
)
async def test_what_is_no_header_value_is_unavailable_and_unseen(value: object) -> None:
    async with place() as it:
        it.put("team", key=value, good="sk-1")
        with pytest.raises(Unavailable, match="team/key") as caught:
            await it.read("team")
        assert "canary" not in str(caught.value)
        assert await it.read("team", field="good") == "sk-1"


@pytest.mark.parametrize(
    "path",
    [
        (), ("",), ("..",), (".",), ("team", ".."), ("..", "other"), ("../other",), ("team/../../other",), ("%2e%2e", "x"),
        ("..%2fother",), ("team%2fother",), ("team\x00",), ("team\n",), ("/team",), ("team/",), ("te am",), ("team?x=1",),
        ("team#",), ("te\u00e4m",), ("\u2024\u2024",), ("\uff0e\uff0e",), ("te\u0430m",), (".hidden",), ("a" * 254,), ("~",),
        ("team", "", "x"), ("*",), ("+",), ("team;x",), ("..;", "x"), ("\\..\\x",),
    ],
)  # fmt: skip
async def test_what_is_no_name_is_none_and_vault_is_not_asked(path: tuple[str, ...]) -> None:
    async with place() as it:
        it.bao.put("other", key="sk-of-others")
        assert await it.read(*path) is None
        assert not it.client.calls


@settings(max_examples=150, deadline=None)
@given(
    path=st.lists(
        st.one_of(st.text(max_size=8), st.sampled_from(["..", ".", "%2e%2e", "a/b", "data", "a"])), max_size=4
    ),
    field=st.text(max_size=6),
)
async def test_nothing_leaves_the_prefix(path: list[str], field: str) -> None:
    """Whatever is asked for, the path that the library would make of it lies below the prefix, segment for segment."""
    asked = []

    class Client:
        async def ask(self, kind: str, question: Callable[[Any], Any]) -> Any:
            return question(self)

        @property
        def secrets(self) -> Any:
            return self

        kv = v2 = secrets

        def read_secret_version(self, path: str, **more: Any) -> Any:
            asked.append(path)
            return {"data": {"data": {}}}

    store = VaultSecrets(Client(), "secret", "egress/keys", [], version=2, now=Time())  # type: ignore[arg-type]
    assert await store.read(path, field) is None
    for found in asked:
        assert found == "/".join(("egress", "keys", *path))
        assert found.count("/") == 1 + len(path)
        assert found.isascii()
        assert not {"", ".", ".."} & set(found.split("/"))


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vault, "CACHED", 3)
    async with place() as it:
        for number in range(6):
            await it.read(f"n{number}")
        assert list(it.store._cache) == [("n3",), ("n4",), ("n5",)]
        await it.read("n3")
        assert it.client.calls["read", True] == 6
        await it.read("n0")
        assert list(it.store._cache) == [("n5",), ("n3",), ("n0",)]


async def test_reads_in_flight_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vault, "MOST_READS", 4)
    async with place(version=2) as it:
        readers = [asyncio.create_task(it.read(f"n{number}")) for number in range(6)]
        found = await asyncio.gather(*readers, return_exceptions=True)
        assert found[:4] == [None] * 4
        assert all(isinstance(error, Unavailable) and "too many" in str(error) for error in found[4:])


@pytest.mark.parametrize("wrong", ["..", "a/../b", "a//b", "%2e", "a b", ".a", "\u00e4"])
async def test_a_mount_or_a_prefix_that_is_no_path_is_refused(wrong: str) -> None:
    with pytest.raises(ConfigError, match="is no path"):
        VaultSecrets(None, "secret", wrong, [])  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="is no path"):
        VaultSecrets(None, wrong, "", [])  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="is no path"):
        VaultSecrets(None, "", "", [])  # type: ignore[arg-type]


async def test_after_the_end_nothing_is_asked_and_the_old_value_counts_until_it_is_old() -> None:
    it = Place(shared(), stale_for=100.0)
    it.put("team", key="sk-1")
    await it.read("team")
    await it.store.close()
    await it.client.close()
    await it.client.close()
    assert await it.read("team") == "sk-1"
    it.clock.advance(161)
    with pytest.raises(Unavailable, match="was closed"):
        await it.read("team")
    assert "closed" in (await it.client.probe() or "")
