"""What every `TokenReviewer` keeps. A new one is a row in REVIEWERS: how to make it so that it knows the token `good`, of
`ai/default`, for the audiences egress and vault.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from extproc.adapters.static_tokens import StaticTokens
from extproc.ports import TokenReviewer
from tests.servers import kubernetes as real
from tests.servers.token_reviews import serving

USERNAME = "system:serviceaccount:ai:default"
GOOD = real.STATIC


@asynccontextmanager
async def static(folder: Path) -> AsyncIterator[TokenReviewer]:
    path = folder / "tokens.yaml"
    path.write_text(
        f"tokens: [{{token: {GOOD}, username: '{USERNAME}', uid: u-1, groups: [g], audiences: [egress, vault]}}]"
    )
    yield StaticTokens(path, {})


@asynccontextmanager
async def kubernetes(folder: Path) -> AsyncIterator[TokenReviewer]:
    """Of a real API server, which knows the token from a file of its own."""
    if real.MISSING:
        pytest.skip(real.MISSING)
    reviewer = real.shared().reviewer(folder)
    yield reviewer
    await reviewer.close()


@asynccontextmanager
async def kubernetes_api(folder: Path) -> AsyncIterator[TokenReviewer]:
    """Of a server that speaks the API server's language."""
    async with serving(folder) as server:
        reviewer = server.reviewer(folder)
        yield reviewer
        await reviewer.close()


REVIEWERS: list[Callable[[Path], AbstractAsyncContextManager[TokenReviewer]]] = [static, kubernetes, kubernetes_api]


@pytest.fixture(params=REVIEWERS)
async def reviewer(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[TokenReviewer]:
    async with request.param(tmp_path) as made:
        yield made


async def test_a_known_token_is_its_peer(reviewer: TokenReviewer) -> None:
    review = await reviewer.review(GOOD, ["egress"])
    assert review.peer is not None
    assert (review.peer.username, review.peer.uid) == (USERNAME, "u-1")
    assert "g" in review.peer.groups
    assert review.audiences == ("egress",)


async def test_only_the_audiences_that_were_asked_for_and_are_its(reviewer: TokenReviewer) -> None:
    assert set((await reviewer.review(GOOD, ["vault", "other", "egress"])).audiences) == {"egress", "vault"}
    assert (await reviewer.review(GOOD, ["other"])).audiences == ()


@pytest.mark.parametrize("token", ["", "good", GOOD.upper(), GOOD + " ", GOOD + "\n", "g\u00f6\udc80", "x" * 20_000])
async def test_any_other_token_is_nobody(reviewer: TokenReviewer, token: str) -> None:
    assert (await reviewer.review(token, ["egress"])).peer is None


async def test_nothing_shows_a_token(reviewer: TokenReviewer) -> None:
    shown = f"{reviewer!r} {reviewer} {vars(reviewer)} {await reviewer.review(GOOD, ['egress'])!r}"
    assert "canary" not in shown
