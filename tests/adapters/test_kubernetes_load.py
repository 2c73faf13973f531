"""Crowds and floods: what reaches the API server of them is counted there."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from uuid import uuid4

import pytest

from extproc import Continue, Exchange, Phase, Verdict
from extproc.adapters.kubernetes import KubernetesReviewer
from extproc.errors import Unavailable
from extproc.ports import FilterContext
from extproc.testing import PlainOutside, exchange
from extproc_filters.reviews import PER_PROCESS, PER_SOURCE
from extproc_filters.token_review import TokenReview, TokenReviewConfig
from tests.adapters.test_kubernetes import Cluster
from tests.adapters.test_kubernetes import cluster as cluster
from tests.servers.token_reviews import serving

EXCHANGES, TOKENS, SOURCES = 1000, 50, 10


@pytest.fixture
async def reviewer(cluster: Cluster, tmp_path: Path) -> AsyncIterator[KubernetesReviewer]:
    made = cluster.reviewer(tmp_path)
    yield made
    await made.close()


def authenticator(reviewer: KubernetesReviewer) -> TokenReview:
    outside = PlainOutside(time.time, reviewer)
    scope, phase = "Gateway/egress/egress", Phase.REQUEST_HEADERS
    context = FilterContext("egress/egress", scope, "auth", "egress", phase, False, True, Path(), outside)
    return TokenReview(TokenReviewConfig(audiences=["egress"]), context)


def calling(token: str, source: int) -> Exchange:
    return exchange(headers={"authorization": f"Bearer {token}"}, source=f"192.0.2.{source}:40000")


async def decide(filter_: TokenReview, asked: Sequence[Exchange]) -> list[Verdict | BaseException]:
    decisions = (filter_.decide(Phase.REQUEST_HEADERS, each) for each in asked)
    return await asyncio.gather(*decisions, return_exceptions=True)


async def counted(cluster: Cluster, reviews: int) -> int:
    """How many reviews the server counts when it counts so many at least: its audit log is a moment behind its answers."""
    async with asyncio.timeout(20):
        while (found := cluster.reviews()) < reviews:  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.01)
    return found


def tokens(cluster: Cluster, number: int) -> list[str]:
    name = f"w-{uuid4().hex[:8]}"
    cluster.account(name)
    return [cluster.signed(name, "egress", lifetime=600 + each) for each in range(number)]


async def test_a_thousand_exchanges_with_fifty_tokens_are_fifty_reviews(
    cluster: Cluster, reviewer: KubernetesReviewer
) -> None:
    """All at once. Those that find every place taken are refused at once, and come again, as their callers would."""
    filter_, good = authenticator(reviewer), tokens(cluster, TOKENS)
    waiting = [calling(good[each % TOKENS], each % TOKENS % SOURCES) for each in range(EXCHANGES)]
    before, passed, rounds = cluster.reviews(), 0, 0
    while waiting:
        verdicts = await decide(filter_, waiting)
        refused = [each for each, verdict in zip(waiting, verdicts, strict=True) if isinstance(verdict, Unavailable)]
        passed += sum(isinstance(verdict, Continue) for verdict in verdicts)
        assert len(refused) <= EXCHANGES * (TOKENS - PER_PROCESS) / TOKENS
        waiting, rounds = refused, rounds + 1
    assert passed == EXCHANGES
    assert rounds <= 2
    assert await counted(cluster, before + TOKENS) == before + TOKENS
    await reviewer.probe()
    assert await counted(cluster, before + TOKENS + 1) == before + TOKENS + 1


async def test_a_flood_of_junk_pushes_out_no_good_token(
    cluster: Cluster, reviewer: KubernetesReviewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("extproc_filters.reviews.REMEMBERED", 60)
    filter_, good = authenticator(reviewer), tokens(cluster, 8)
    warm = [calling(token, 1) for token in good]
    assert all(isinstance(each, Continue) for each in await decide(filter_, warm))
    before = await counted(cluster, cluster.reviews())
    for number in range(25):  # one after the other, so that each is asked about: more than are remembered
        junk = [calling(f"junk-{number}-{each}", 2) for each in range(PER_SOURCE)]
        assert not any(isinstance(each, Continue) for each in await decide(filter_, junk))
    during = await counted(cluster, before + 25 * PER_SOURCE)
    assert all(isinstance(each, Continue) for each in await decide(filter_, warm))
    await reviewer.probe()
    assert await counted(cluster, during + 1) == during + 1


@pytest.mark.parametrize(("sources", "most"), [(1, PER_SOURCE), (100, PER_PROCESS)])
async def test_of_a_flood_only_so_much_is_before_the_server(tmp_path: Path, sources: int, most: int) -> None:
    async with serving(tmp_path) as server:
        reviewer = server.reviewer(tmp_path)
        filter_ = authenticator(reviewer)
        server.gate.clear()
        flood = [asyncio.create_task(decide(filter_, [calling(f"junk-{n}", n % sources)])) for n in range(5000)]
        await server.reached(most)
        server.gate.set()
        verdicts = [verdict for each in flood for verdict in await each]
        assert sum(isinstance(verdict, Unavailable) for verdict in verdicts) == 5000 - most
        assert (server.asked, server.most) == (most, most)
        await reviewer.close()


async def test_a_flood_of_tokens_that_condemn_themselves_asks_nothing(
    cluster: Cluster, reviewer: KubernetesReviewer
) -> None:
    filter_, name = authenticator(reviewer), f"w-{uuid4().hex[:8]}"
    cluster.account(name)
    ended = [cluster.signed(name, "egress", lifetime=-60 - each) for each in range(50)]
    elsewhere = [cluster.signed(name, "elsewhere", lifetime=600 + each) for each in range(50)]
    before = cluster.reviews()
    verdicts = await decide(filter_, [calling(token, 1) for token in [*ended, *elsewhere]])
    assert not any(isinstance(verdict, Continue | Exception) for verdict in verdicts)
    await reviewer.probe()
    assert await counted(cluster, before + 1) == before + 1


async def test_one_that_floods_takes_no_place_from_others(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        reviewer = server.reviewer(tmp_path)
        filter_, good = authenticator(reviewer), tokens(server, 1)
        server.gate.clear()
        flood = asyncio.create_task(decide(filter_, [calling(f"junk-{n}", 1) for n in range(200)]))
        await server.reached(PER_SOURCE)
        honest = asyncio.create_task(decide(filter_, [calling(good[0], 2)]))
        await server.reached(PER_SOURCE + 1)
        server.gate.set()
        assert isinstance((await honest)[0], Continue)
        assert not any(isinstance(verdict, Continue) for verdict in await flood)
        await reviewer.close()
