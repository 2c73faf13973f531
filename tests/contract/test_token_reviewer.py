"""What every `TokenReviewer` keeps. A new one is a row in REVIEWERS: how to make it so that it knows the token `good`, of
`ai/default`, for the audiences egress and vault.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from extproc.adapters.static_tokens import StaticTokens
from extproc.ports import TokenReviewer

USERNAME = "system:serviceaccount:ai:default"
GOOD = "good-token-canary"


def static(folder: Path) -> TokenReviewer:
    path = folder / "tokens.yaml"
    path.write_text(
        f"tokens: [{{token: {GOOD}, username: '{USERNAME}', uid: u-1, groups: [g], audiences: [egress, vault]}}]"
    )
    return StaticTokens(path, {})


every_reviewer = pytest.mark.parametrize("make", [static])


@every_reviewer
async def test_a_known_token_is_its_peer(make: Callable[[Path], TokenReviewer], tmp_path: Path) -> None:
    review = await make(tmp_path).review(GOOD, ["egress"])
    assert review.peer is not None
    assert (review.peer.username, review.peer.uid) == (USERNAME, "u-1")
    assert "g" in review.peer.groups
    assert review.audiences == ("egress",)


@every_reviewer
async def test_only_the_audiences_that_were_asked_for_and_are_its(
    make: Callable[[Path], TokenReviewer], tmp_path: Path
) -> None:
    reviewer = make(tmp_path)
    assert set((await reviewer.review(GOOD, ["vault", "other", "egress"])).audiences) == {"egress", "vault"}
    assert (await reviewer.review(GOOD, ["other"])).audiences == ()


@every_reviewer
@pytest.mark.parametrize("token", ["", "good", GOOD.upper(), GOOD + " ", GOOD + "\n", "g\u00f6\udc80", "x" * 20_000])
async def test_any_other_token_is_nobody(make: Callable[[Path], TokenReviewer], token: str, tmp_path: Path) -> None:
    assert (await make(tmp_path).review(token, ["egress"])).peer is None


@every_reviewer
async def test_nothing_shows_a_token(make: Callable[[Path], TokenReviewer], tmp_path: Path) -> None:
    reviewer = make(tmp_path)
    shown = f"{reviewer!r} {reviewer} {vars(reviewer)} {await reviewer.review(GOOD, ['egress'])!r}"
    assert "canary" not in shown
