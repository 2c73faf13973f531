"""Whose token is this: asked of a real API server, and of a small server that speaks its API."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from types import SimpleNamespace
from typing import Self
from uuid import uuid4

import pytest

from extproc.adapters.kubernetes import NO_RIGHT, KubernetesReviewer
from extproc.adapters.kubernetes_client import RENEWAL
from extproc.errors import Unavailable
from extproc.testing import Clock
from extproc_filters.reviews import Reviews
from tests.certificates import Authority
from tests.servers.kubernetes import MISSING, ApiServer, shared
from tests.servers.token_reviews import TokenReviews, serving

Cluster = ApiServer | TokenReviews


@pytest.fixture(params=["api-server", "http-server"])
async def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Cluster]:
    if request.param == "http-server":
        async with serving(tmp_path) as server:
            yield server
    elif MISSING:
        pytest.skip(MISSING)
    else:
        yield shared()


@pytest.fixture
async def closing() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def reviewer(cluster: Cluster, tmp_path: Path, closing: AsyncExitStack) -> KubernetesReviewer:
    made = cluster.reviewer(tmp_path)
    closing.push_async_callback(made.close)
    return made


@pytest.fixture
def account(cluster: Cluster) -> str:
    name = f"w-{uuid4().hex[:8]}"
    cluster.account(name)
    return name


async def test_a_token_of_an_account_is_its_peer(cluster: Cluster, reviewer: KubernetesReviewer, account: str) -> None:
    review = await reviewer.review(cluster.token(account, "egress"), ["egress"])
    assert review.peer is not None
    assert review.peer.username == f"system:serviceaccount:ai:{account}"
    assert review.peer.uid
    assert {"system:serviceaccounts", "system:serviceaccounts:ai"} <= set(review.peer.groups)
    assert (review.peer.pod, review.audiences, review.expires) == ("", ("egress",), None)


async def test_a_token_that_is_bound_to_a_pod_names_it(
    cluster: Cluster, reviewer: KubernetesReviewer, account: str
) -> None:
    review = await reviewer.review(cluster.token(account, "egress", pod=f"pod-of-{account}"), ["egress"])
    assert review.peer is not None
    assert review.peer.pod == f"pod-of-{account}"


@pytest.mark.parametrize(
    ("mint", "asked", "good_for"),
    [
        (["elsewhere"], ["egress"], None),
        (["egress"], ["elsewhere"], None),
        (["egress", "elsewhere"], ["egress", "vault"], ("egress",)),
        (["vault", "egress"], ["egress", "vault"], ("egress", "vault")),
    ],
)
async def test_a_token_is_good_for_its_audiences(
    cluster: Cluster,
    reviewer: KubernetesReviewer,
    account: str,
    mint: Sequence[str],
    asked: Sequence[str],
    good_for: tuple[str, ...] | None,
) -> None:
    review = await reviewer.review(cluster.token(account, *mint), asked)
    assert (review.peer is not None) == (good_for is not None)
    assert set(review.audiences) == set(good_for or ())


@pytest.mark.parametrize(("lifetime", "known"), [(600, True), (-60, False)])
async def test_an_expired_token_is_nobodys(
    cluster: Cluster, reviewer: KubernetesReviewer, account: str, lifetime: int, known: bool
) -> None:
    review = await reviewer.review(cluster.signed(account, "egress", lifetime=lifetime), ["egress"])
    assert (review.peer is not None) == known


async def test_a_token_is_nobodys_when_its_account_is_gone(
    cluster: Cluster, reviewer: KubernetesReviewer, account: str
) -> None:
    before, after = (cluster.token(account, "egress") for _ in range(2))
    assert (await reviewer.review(before, ["egress"])).peer is not None
    cluster.delete(account)
    assert (await reviewer.review(after, ["egress"])).peer is None


async def test_an_altered_token_is_nobodys(cluster: Cluster, reviewer: KubernetesReviewer, account: str) -> None:
    head, body, signature = cluster.token(account, "egress").split(".")
    other = cluster.signed(account, "egress", lifetime=-60).split(".")[1]
    for altered in (f"{head}.{body}.", f"{head}.{body}", f"{head}.{other}.{signature}", f"e30.{body}.{signature}"):
        assert (await reviewer.review(altered, ["egress"])).peer is None


@pytest.mark.parametrize("token", ["", "a b", "a,b", "g\u00f6", "x\n", '{"spec": 1}'])
async def test_what_is_no_token_is_not_asked_about(token: str, tmp_path: Path) -> None:
    nowhere = KubernetesReviewer(tmp_path / "none")
    assert (await nowhere.review(token, ["egress"])).peer is None


async def test_its_cached_peer_ends_with_the_token(
    cluster: Cluster, reviewer: KubernetesReviewer, account: str
) -> None:
    clock = Clock(time.time())
    reviews = Reviews(reviewer, "kubernetes", ["egress"], 3600.0, clock)
    token = cluster.signed(account, "egress", lifetime=60)
    peer = await reviews.peer(token, "192.0.2.1")
    assert peer is not None
    assert (peer.namespace, peer.service_account) == ("ai", account)
    clock.advance(61)
    assert await reviews.peer(token, "192.0.2.1") is None


async def test_the_probe_is_content(reviewer: KubernetesReviewer) -> None:
    assert await reviewer.probe() is None
    assert reviewer.name == "kubernetes"


async def test_without_the_right_to_ask(
    cluster: Cluster, account: str, tmp_path: Path, closing: AsyncExitStack
) -> None:
    reviewer = cluster.reviewer(tmp_path, account)
    closing.push_async_callback(reviewer.close)
    assert await reviewer.probe() == NO_RIGHT
    with pytest.raises(Unavailable, match="system:auth-delegator"):
        await reviewer.review(cluster.token(account, "egress"), ["egress"])


async def test_a_credential_of_yesterday_is_replaced(cluster: Cluster, tmp_path: Path, closing: AsyncExitStack) -> None:
    clock = Clock()
    reviewer = cluster.reviewer(tmp_path, ticks=clock)
    closing.push_async_callback(reviewer.close)
    good = (tmp_path / "token").read_text()
    (tmp_path / "token").write_text("of-yesterday")
    assert await reviewer.probe() == NO_RIGHT
    (tmp_path / "token").write_text(good)
    assert await reviewer.probe() == NO_RIGHT
    clock.advance(RENEWAL)
    assert await reviewer.probe() == NO_RIGHT  # it is this answer that shows the credential is old
    assert await reviewer.probe() is None


async def test_a_token_file_is_read_anew(
    cluster: Cluster, reviewer: KubernetesReviewer, account: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Later(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + timedelta(seconds=61)

    assert await reviewer.probe() is None
    (tmp_path / "token").write_text(cluster.token(account))
    assert await reviewer.probe() is None
    clock = SimpleNamespace(datetime=Later, timedelta=timedelta)
    monkeypatch.setattr("kubernetes.aio.config.incluster_config.datetime", clock)
    assert await reviewer.probe() == NO_RIGHT


async def test_an_authority_of_yesterday_is_replaced(cluster: Cluster, tmp_path: Path, closing: AsyncExitStack) -> None:
    clock = Clock()
    reviewer = cluster.reviewer(tmp_path, ticks=clock)
    closing.push_async_callback(reviewer.close)
    good = (tmp_path / "ca.crt").read_bytes()
    (tmp_path / "ca.crt").write_bytes(Authority(tmp_path, "another").file.read_bytes())
    assert await reviewer.probe() == (
        "there is no trusted TLS connection with the API server: unable to get local issuer certificate"
    )
    (tmp_path / "ca.crt").write_bytes(good)
    clock.advance(RENEWAL)
    await reviewer.probe()
    assert await reviewer.probe() is None


async def test_a_kubeconfig_and_its_context(cluster: Cluster, tmp_path: Path, closing: AsyncExitStack) -> None:
    path = cluster.kubeconfig(tmp_path)
    there, nowhere = KubernetesReviewer(path, "there"), KubernetesReviewer(path)
    for each in (there, nowhere):
        closing.push_async_callback(each.close)
    assert await there.probe() is None
    assert await nowhere.probe() == "the API server cannot be reached"


async def test_the_environment_leads_nowhere_else(
    reviewer: KubernetesReviewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert await reviewer.probe() is None


async def test_a_closed_one_asks_nobody(cluster: Cluster, reviewer: KubernetesReviewer) -> None:
    assert await reviewer.probe() is None
    before = cluster.reviews()
    await reviewer.close()
    await reviewer.close()
    assert await reviewer.probe() == "the Kubernetes client is closed"
    assert cluster.reviews() == before
