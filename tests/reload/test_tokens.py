"""The token file that a configuration refers to: what it said when that was made counts, and nothing that came and went."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from extproc.errors import ConfigError
from extproc.policy import read
from extproc.reload.following import Follower
from tests.e2e.gateway import quota, tokens
from tests.reload.making import following, offer, put, told, write


def _reviews(follower: Follower) -> Any:
    (found,) = [one for one in follower.worker.resolved.extensions if one.name == "authn"]
    reviews: Any = found.link.filter
    return reviews._reviews


async def test_what_is_known_of_tokens_stays_known(tmp_path: Path) -> None:
    """Else each reload would send every caller to the API server at once."""
    path = write(tmp_path)
    text = path.read_text()
    static = "static:\n          path: tokens"
    assert static in text
    put(path, text.replace(static, "kubernetes: {}"))
    async with following(path) as follower:
        first = _reviews(follower)
        put(path, path.read_text().replace("ai-workloads", "other-team"))
        await offer(follower)
        assert told(follower)["problem"] == []
        assert _reviews(follower) is first
        put(path, path.read_text().replace("audiences:\n      - egress", "audiences:\n      - elsewhere"))
        await offer(follower)
        assert _reviews(follower) is not first


async def test_a_token_that_was_taken_out_of_the_file_is_nobodys_at_once(tmp_path: Path) -> None:
    async with following(write(tmp_path)) as follower:
        assert await _reviews(follower).peer("token-of-ai-workloads", "") is not None
        before, engine = told(follower)["hash"], follower.worker.engine
        put(tmp_path / "tokens", tokens().replace("token-of-ai-workloads", "another-token"))
        await offer(follower)
        assert told(follower)["generation"] == 2
        assert follower.worker.engine.generation != engine.generation
        assert told(follower)["hash"] == before, "whoever knows the documents could try tokens until the hash fits"
        assert await _reviews(follower).peer("token-of-ai-workloads", "") is None


async def test_a_token_file_that_is_replaced_for_a_moment_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in force is what was looked at: otherwise a token that was there for a moment would be good until the next
    change, since the file looks as before.
    """
    path, contents = tmp_path / "tokens", read.content

    def swapped(shown: Path, real: Path) -> bytes | ConfigError:
        found = contents(shown, real)
        if real == path:
            put(path, tokens().replace("token-of-ai-workloads", "another-token"))
        return found

    async with following(write(tmp_path)) as follower:
        write(tmp_path, quota(5))
        seen = await follower.changes._look()
        monkeypatch.setattr(read, "content", swapped)
        await follower.offer(seen.snapshot, asked=False)
        monkeypatch.undo()
        assert told(follower)["problem"] == []
        assert await _reviews(follower).peer("another-token", "") is None
        assert await _reviews(follower).peer("token-of-ai-workloads", "") is not None
        assert follower.changes.name != (await follower.changes._look()).name, "the next look sees what came meanwhile"


async def test_a_token_file_that_was_not_there_a_moment_ago_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with following(write(tmp_path)) as follower:
        write(tmp_path, quota(5))
        seen = await follower.changes._look()
        gone = ConfigError("there is no such file")
        monkeypatch.setattr(read, "content", lambda _shown, _real: gone)
        await follower.offer(seen.snapshot, asked=False)
        monkeypatch.undo()
        assert "the token file was not there a moment ago" in told(follower)["problem"][0]


async def test_a_token_file_that_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    async with following(write(tmp_path)) as follower:
        (tmp_path / "tokens").unlink()
        os.mkfifo(tmp_path / "tokens")
        await asyncio.wait_for(offer(follower), 20)
        assert "it is no regular file" in told(follower)["problem"][0]
        (tmp_path / "tokens").unlink()
        (tmp_path / "tokens").write_text(tokens())
        await offer(follower)
        assert told(follower)["problem"] == []


async def test_secrets_are_in_no_sentence(tmp_path: Path) -> None:
    async with following(write(tmp_path)) as follower:
        (tmp_path / "tokens").write_text("tokens: [{token: canary-token, user: x}]")
        await offer(follower)
        assert told(follower)["problem"]
        assert "canary" not in str(told(follower))
