"""What every `SecretStore` keeps. A new one is a row in STORES: how to make it with these values under `team/key`."""

import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path
from uuid import uuid4

import pytest

from extproc.adapters.secrets import EnvSecrets, FileSecrets
from extproc.adapters.vault import VaultSecrets
from extproc.adapters.vault_client import VaultClient
from extproc.adapters.vault_http import VaultServer
from extproc.adapters.vault_login import TokenAuth
from extproc.core.headers import FIELD_VALUE
from extproc.core.secret import may_reach, unseal
from extproc.errors import Unavailable
from extproc.ports import SecretStore
from extproc.testing import Clock
from tests.servers.bao import MISSING, shared

CANARY = b"sk-canary-1234"
BACKENDS = ("egress/openai",)
Make = Callable[[Path, bytes], tuple[SecretStore, tuple[str, ...], str]]


def files(root: Path, value: bytes) -> tuple[SecretStore, tuple[str, ...], str]:
    (root / "team").mkdir()
    (root / "team" / "key").write_bytes(value)
    return FileSecrets(root, BACKENDS, Clock()), ("team",), "key"


def env(root: Path, value: bytes) -> tuple[SecretStore, tuple[str, ...], str]:
    environ = {"KEY": value.decode("utf-8", "surrogateescape"), "OTHER": "not for anybody"}
    return EnvSecrets(["KEY"], BACKENDS, environ), ("KEY",), ""


@cache
def vault_client() -> VaultClient:
    """One for all rows: a root token has nothing that would have to be renewed, or ended."""
    return VaultClient(VaultServer(shared().address, timeout=5.0), TokenAuth(env="T", environ={"T": shared().token}))


def vault(mount: str, value: bytes) -> tuple[SecretStore, tuple[str, ...], str]:
    prefix, fields = f"contract/{uuid4()}", {"key": value.decode("utf-8", "replace")}
    written = (
        (f"{mount}/{prefix}/team", fields) if mount == "kv1" else (f"{mount}/data/{prefix}/team", {"data": fields})
    )
    shared().call("POST", *written)
    return VaultSecrets(vault_client(), mount, prefix, BACKENDS, now=Clock()), ("team",), "key"


def vault_v1(root: Path, value: bytes) -> tuple[SecretStore, tuple[str, ...], str]:
    return vault("kv1", value)


def vault_v2(root: Path, value: bytes) -> tuple[SecretStore, tuple[str, ...], str]:
    return vault("secret", value)


with_bao = pytest.mark.skipif(bool(MISSING), reason=MISSING)
every_store = pytest.mark.parametrize(
    "make", [files, env, pytest.param(vault_v1, marks=with_bao), pytest.param(vault_v2, marks=with_bao)]
)


@every_store
@pytest.mark.parametrize("written", [CANARY, CANARY + b"\n", CANARY + b"\r\n"])
async def test_the_value_without_its_newline(make: Make, written: bytes, tmp_path: Path) -> None:
    store, path, field = make(tmp_path, written)
    secret = await store.read(path, field)
    assert secret is not None
    assert unseal(secret) == CANARY
    assert FIELD_VALUE.fullmatch(unseal(secret))
    assert store.backends == {"egress/openai"}
    assert may_reach(secret, "egress/openai")
    assert not may_reach(secret, "egress/other")


@every_store
async def test_an_empty_value_is_none(make: Make, tmp_path: Path) -> None:
    store, path, field = make(tmp_path, b"\n")
    assert await store.read(path, field) is None


@every_store
@pytest.mark.parametrize(
    "bad",
    [
        CANARY + b"\n\n",
        CANARY + b"\r\nx-admin: true",
        CANARY + b"\x01",
        b"\xff\xfe" + CANARY,
        b" " + CANARY,
        CANARY + b" ",
        CANARY + b"\x7f",
        "schlüssel".encode(),
    ],
)
async def test_what_is_no_header_value_is_unavailable_and_unseen(make: Make, bad: bytes, tmp_path: Path) -> None:
    store, path, field = make(tmp_path, bad)
    with pytest.raises(Unavailable) as caught:
        await store.read(path, field)
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert "/".join(filter(None, (*path, field))) in told
    assert "canary" not in told


@every_store
@pytest.mark.parametrize(
    "path",
    [
        (),
        ("",),
        ("nobody",),
        ("nobody", "at", "home"),
        ("..",),
        ("team", ".."),
        ("../team",),
        ("team/key",),
        ("/etc/passwd",),
        ("", "etc", "passwd"),
        ("%2e%2e",),
        ("team\x00",),
        ("OTHER",),
        ("PATH",),
        ("~",),
    ],
)
async def test_no_other_path_leads_anywhere(make: Make, path: tuple[str, ...], tmp_path: Path) -> None:
    store, _, field = make(tmp_path, CANARY)
    assert await store.read(path, field) is None


@every_store
async def test_nothing_shows_the_value(make: Make, tmp_path: Path) -> None:
    store, path, field = make(tmp_path, CANARY)
    secret = await store.read(path, field)
    assert "canary" not in f"{store!r} {store} {secret!r} {secret}"
