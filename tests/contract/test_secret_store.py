"""What every `SecretStore` keeps. A new one is a row in STORES: how to make it with these values under `team/key`."""

import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from extproc.adapters.secrets import EnvSecrets, FileSecrets
from extproc.core.headers import FIELD_VALUE
from extproc.core.secret import unseal
from extproc.errors import Unavailable
from extproc.ports import SecretStore
from extproc.testing import Clock

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


every_store = pytest.mark.parametrize("make", [files, env])


@every_store
@pytest.mark.parametrize("written", [CANARY, CANARY + b"\n", CANARY + b"\r\n"])
async def test_the_value_without_its_newline(make: Make, written: bytes, tmp_path: Path) -> None:
    store, path, field = make(tmp_path, written)
    secret = await store.read(path, field)
    assert secret is not None
    assert unseal(secret) == CANARY
    assert FIELD_VALUE.fullmatch(unseal(secret))
    assert store.backends == {"egress/openai"}


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
