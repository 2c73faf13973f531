"""Secret files and variables: nothing leaves the root, and a rotated value is seen. The rest is in `contract/`."""

import os
from pathlib import Path
from typing import Any

import pytest

from extproc.adapters.secrets import CACHE_SECONDS, MOST_BYTES, EnvSecrets, FileSecrets
from extproc.core.secret import Secret, unseal
from extproc.errors import ConfigError, Unavailable
from extproc.testing import Clock

OUT = "sk-out-of-the-root"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "outside").write_text(OUT)
    folder = tmp_path / "secrets"
    (folder / "team").mkdir(parents=True)
    (folder / "team" / "key").write_text("sk-1")
    return folder


def store(root: Path, clock: Clock | None = None) -> FileSecrets:
    return FileSecrets(root, ["egress/openai"], clock or Clock())


def shown(secret: Secret | None) -> str | None:
    return None if secret is None else unseal(secret).decode()


async def test_a_path_alone_and_a_path_with_a_field(root: Path) -> None:
    secrets = store(root)
    assert shown(await secrets.read(["team"], "key")) == "sk-1"
    assert shown(await secrets.read(["team", "key"], "")) == "sk-1"


@pytest.mark.parametrize("target", ["../../outside", "/etc/hostname", "../team/../../outside"])
async def test_a_link_out_of_the_root_leads_nowhere(root: Path, target: str) -> None:
    (root / "team" / "link").symlink_to(target)
    assert await store(root).read(["team"], "link") is None


async def test_a_linked_folder_out_of_the_root_leads_nowhere(root: Path) -> None:
    (root / "up").symlink_to("..")
    assert await store(root).read(["up"], "outside") is None


async def test_a_neighbour_whose_name_begins_like_the_root_is_outside(root: Path) -> None:
    (root.parent / "secrets-of-others").mkdir()
    (root.parent / "secrets-of-others" / "key").write_text(OUT)
    (root / "link").symlink_to("../secrets-of-others/key")
    assert await store(root).read(["link"], "") is None


async def test_links_below_the_root_are_followed_as_kubernetes_mounts_them(root: Path) -> None:
    (root / "..2026_01").mkdir()
    (root / "..2026_01" / "api_key").write_text("sk-mounted")
    (root / "..data").symlink_to("..2026_01")
    (root / "api_key").symlink_to("..data/api_key")
    secrets = store(root)
    assert shown(await secrets.read([], "api_key")) == "sk-mounted"
    assert await secrets.read(["..data"], "api_key") is None


async def test_a_root_that_is_a_link_itself_is_a_root(root: Path) -> None:
    (root.parent / "linked").symlink_to("secrets")
    assert shown(await store(root.parent / "linked").read(["team"], "key")) == "sk-1"


async def test_a_mounted_secret_that_is_swapped_while_it_is_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "old").mkdir()
    (root / "old" / "key").write_text("sk-old")
    (root / "new").mkdir()
    (root / "new" / "key").write_text("sk-new")
    (root / "..data").symlink_to("old")
    (root / "key").symlink_to("..data/key")
    real = os.open

    def swap(*arguments: Any) -> int:
        monkeypatch.setattr(os, "open", real)
        (root / "..data").unlink()
        (root / "..data").symlink_to("new")
        (root / "old" / "key").unlink()
        return real(*arguments)

    monkeypatch.setattr(os, "open", swap)
    assert shown(await store(root).read(["key"], "")) == "sk-new"


async def test_what_is_no_small_regular_file_is_unavailable(root: Path) -> None:
    (root / "large").write_bytes(b"x" * (MOST_BYTES + 1))
    os.mkfifo(root / "pipe")
    (root / "loop").symlink_to("loop")
    for name in ("large", "pipe", "loop", "team"):
        with pytest.raises(Unavailable, match=name):
            await store(root).read([name], "")


async def test_the_largest_value(root: Path) -> None:
    (root / "large").write_bytes(b"x" * MOST_BYTES)
    assert len(shown(await store(root).read(["large"], "")) or "") == MOST_BYTES


async def test_a_rotated_value_is_seen_within_ten_seconds(root: Path) -> None:
    clock = Clock()
    secrets = store(root, clock)
    first = await secrets.read(["team"], "key")
    (root / "team" / "key").write_text("sk-2")
    clock.advance(CACHE_SECONDS - 0.1)
    assert await secrets.read(["team"], "key") is first
    clock.advance(0.1)
    assert shown(await secrets.read(["team"], "key")) == "sk-2"


async def test_a_missing_value_is_missing_for_ten_seconds(root: Path) -> None:
    clock = Clock()
    secrets = store(root, clock)
    assert await secrets.read(["new"], "") is None
    (root / "new").write_text("sk-new")
    assert await secrets.read(["new"], "") is None
    clock.advance(CACHE_SECONDS)
    assert shown(await secrets.read(["new"], "")) == "sk-new"


async def test_a_clock_that_is_set_back_keeps_no_old_value(root: Path) -> None:
    clock = Clock()
    secrets = store(root, clock)
    await secrets.read(["team"], "key")
    (root / "team" / "key").write_text("sk-2")
    clock.advance(-3600)
    assert shown(await secrets.read(["team"], "key")) == "sk-2"


async def test_what_is_remembered_is_bounded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extproc.adapters.secrets.CACHED", 3)
    secrets = store(root)
    first = await secrets.read(["team"], "key")
    for number in range(3):
        await secrets.read([f"n{number}"], "")
    again = await secrets.read(["team"], "key")
    assert first is not again
    assert shown(again) == "sk-1"


def test_a_root_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a directory"):
        store(tmp_path / "nowhere")


async def test_a_variable_has_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTED", "sk-1")
    monkeypatch.setenv("UNLISTED", "sk-2")
    secrets = EnvSecrets(["LISTED", "ABSENT"], [])
    assert shown(await secrets.read(["LISTED"], "any")) == "sk-1"
    for path in (["UNLISTED"], ["ABSENT"], ["LISTED", "LISTED"], ["listed"], []):
        assert await secrets.read(path, "") is None
