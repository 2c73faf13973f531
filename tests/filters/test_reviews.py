"""Reviews: cached, one in flight for a token, and bounded."""

import asyncio
import base64
import gc
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from extproc.core.peer import Peer
from extproc.errors import Unavailable
from extproc.ports import Review
from extproc.testing import Clock
from extproc_filters.claims import unverified
from extproc_filters.keys import Keys
from extproc_filters.reviews import NEGATIVE_SECONDS, PER_PROCESS, PER_SOURCE, Recent, Reviews, workload

PEER = Peer("system:serviceaccount:ai:default", namespace="ai", service_account="default")


@dataclass
class Gate:
    """Knows every token that begins with `good`, and answers when the gate is open."""

    asked: list[str] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    expires: float | None = None
    audiences: tuple[str, ...] = ("egress",)
    error: Exception | None = None

    async def review(self, token: str, audiences: Sequence[str]) -> Review:
        self.asked.append(token)
        await self.open.wait()
        if self.error:
            raise self.error
        return Review(PEER if token.startswith("good") else None, self.audiences, self.expires)


def reviews(gate: Gate, clock: Clock | None = None, *, open_: bool = True, **more: Any) -> Reviews:
    if open_:
        gate.open.set()
    return Reviews(gate, "gate", more.pop("audiences", ("egress",)), 60.0, clock or Clock(), **more)


def jwt(**claims: Any) -> str:
    parts = [json.dumps(part).encode() for part in ({"alg": "none"}, claims)]
    head, body = (base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
    return f"{head}.{body}.c2ln"


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_good_token_is_asked_about_once_in_a_ttl() -> None:
    gate, clock = Gate(), Clock()
    asked = reviews(gate, clock)
    assert [await asked.peer("good", "a") for _ in range(3)] == [PEER] * 3
    clock.advance(59.9)
    assert await asked.peer("good", "a") == PEER
    assert len(gate.asked) == 1
    clock.advance(0.1)
    assert await asked.peer("good", "a") == PEER
    assert len(gate.asked) == 2


async def test_never_past_what_the_reviewer_says() -> None:
    clock = Clock()
    gate = Gate(expires=clock() + 5)
    asked = reviews(gate, clock)
    await asked.peer("good", "a")
    clock.advance(5)
    assert await asked.peer("good", "a") is None
    assert len(gate.asked) == 2


async def test_never_past_the_expiry_of_the_token_itself() -> None:
    class Anybody(Gate):
        async def review(self, token: str, audiences: Sequence[str]) -> Review:
            self.asked.append(token)
            return Review(PEER, ("egress",))

    gate, clock = Anybody(), Clock()
    asked, token = reviews(gate, clock), jwt(exp=clock() + 5)
    assert await asked.peer(token, "a") == PEER
    clock.advance(5)
    assert await asked.peer(token, "a") is None
    assert len(gate.asked) == 1


async def test_a_bad_token_is_remembered_for_ten_seconds() -> None:
    gate, clock = Gate(), Clock()
    asked = reviews(gate, clock)
    assert [await asked.peer("bad", "a") for _ in range(3)] == [None] * 3
    assert len(gate.asked) == 1
    clock.advance(NEGATIVE_SECONDS)
    await asked.peer("bad", "a")
    assert len(gate.asked) == 2


@pytest.mark.parametrize(
    ("wanted", "good_for", "known"),
    [(("egress",), (), False), (("egress",), ("other",), False), (("a", "b"), ("b",), True), ((), (), True)],
)
async def test_one_of_the_audiences_is_needed(wanted: tuple[str, ...], good_for: tuple[str, ...], known: bool) -> None:
    asked = reviews(Gate(audiences=good_for), audiences=wanted)
    assert (await asked.peer("good", "a") is not None) == known


async def test_bad_tokens_push_out_no_good_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extproc_filters.reviews.REMEMBERED", 4)
    gate = Gate()
    asked = reviews(gate)
    await asked.peer("good", "a")
    for number in range(20):
        await asked.peer(f"bad-{number}", "a")
    await asked.peer("good", "a")
    assert gate.asked.count("good") == 1
    await asked.peer("bad-0", "a")
    assert gate.asked.count("bad-0") == 2


async def test_many_callers_with_one_token_are_one_question() -> None:
    gate = Gate()
    asked = reviews(gate, open_=False)
    waiters = [asyncio.create_task(asked.peer("good", f"10.0.0.{number}")) for number in range(100)]
    await settle()
    gate.open.set()
    assert await asyncio.gather(*waiters) == [PEER] * 100
    assert gate.asked == ["good"]


async def test_a_waiter_that_leaves_takes_nobody_with_it() -> None:
    gate = Gate()
    asked = reviews(gate, open_=False)
    first, second = (asyncio.create_task(asked.peer("good", "a")) for _ in range(2))
    await settle()
    first.cancel()
    await settle()
    gate.open.set()
    assert await second == PEER
    assert first.cancelled()


async def test_an_answer_is_remembered_though_every_waiter_left() -> None:
    gate = Gate()
    asked = reviews(gate, open_=False)
    waiter = asyncio.create_task(asked.peer("good", "a"))
    await settle()
    waiter.cancel()
    gate.open.set()
    await settle()
    assert await asked.peer("good", "a") == PEER
    assert gate.asked == ["good"]


async def test_a_failure_that_nobody_waits_for_is_no_noise() -> None:
    noise: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: noise.append(told))
    gate = Gate(error=Unavailable("down"))
    waiter = asyncio.create_task(reviews(gate, open_=False).peer("good", "a"))
    await settle()
    waiter.cancel()
    gate.open.set()
    await settle()
    assert waiter.cancelled()
    del waiter  # it holds the frame that holds the review
    gc.collect()
    assert not noise


async def test_so_many_at_once_for_one_address() -> None:
    gate = Gate()
    asked = reviews(gate, open_=False)
    waiters = [asyncio.create_task(asked.peer(f"good-{number}", "a")) for number in range(PER_SOURCE)]
    await settle()
    with pytest.raises(Unavailable, match="one address"):
        await asked.peer("good-more", "a")
    other = asyncio.create_task(asked.peer("good-more", "b"))
    shared = asyncio.create_task(asked.peer("good-0", "a"))
    await settle()
    gate.open.set()
    assert await asyncio.gather(*waiters, other, shared) == [PEER] * (PER_SOURCE + 2)
    assert await asked.peer("good-again", "a") == PEER


async def test_so_many_at_once_for_the_process() -> None:
    gate = Gate()
    asked = reviews(gate, open_=False)
    waiters = [asyncio.create_task(asked.peer(f"good-{number}", str(number))) for number in range(PER_PROCESS)]
    await settle()
    with pytest.raises(Unavailable, match=str(PER_PROCESS)):
        await asked.peer("good-more", "somebody else")
    gate.open.set()
    await asyncio.gather(*waiters)
    assert await asked.peer("good-0", "full") == PEER


async def test_places_are_free_again_after_failures() -> None:
    gate = Gate(error=Unavailable("down"))
    asked = reviews(gate)
    for number in range(3 * PER_PROCESS):
        with pytest.raises(Unavailable, match="down"):
            await asked.peer(f"good-{number}", "a")
    gate.error = None
    assert await asked.peer("good-0", "a") == PEER


async def test_a_failure_is_everybodys_and_is_not_remembered() -> None:
    gate = Gate(error=Unavailable("down"))
    asked = reviews(gate, open_=False)
    waiters = [asyncio.create_task(asked.peer("good", "a")) for _ in range(3)]
    await settle()
    gate.open.set()
    found = await asyncio.gather(*waiters, return_exceptions=True)
    assert [type(each) for each in found] == [Unavailable] * 3
    gate.error = None
    assert await asked.peer("good", "a") == PEER


async def test_a_reviewer_that_hangs_gives_its_places_back() -> None:
    gate = Gate()
    asked = reviews(gate, open_=False, patience=0.0)
    for number in range(2 * PER_PROCESS):
        with pytest.raises(Unavailable, match="did not answer"):
            await asked.peer(f"good-{number}", "a")


@pytest.mark.parametrize(
    ("claims", "asked"),
    [
        ({}, True),
        ({"exp": 2_000_000, "aud": ["egress"]}, True),
        ({"exp": 999_999}, False),
        ({"exp": 1_000_000}, False),
        ({"exp": "soon"}, True),
        ({"exp": True}, True),
        ({"aud": "egress"}, True),
        ({"aud": "other"}, False),
        ({"aud": ["other", "api"]}, False),
        ({"aud": []}, False),
        ({"aud": [1, "other"]}, True),
    ],
)
async def test_a_token_that_condemns_itself_is_not_asked_about(claims: dict[str, Any], asked: bool) -> None:
    gate = Gate()
    assert await reviews(gate).peer(jwt(**claims), "a") is None
    assert bool(gate.asked) == asked


async def test_no_claim_makes_a_peer() -> None:
    assert await reviews(Gate()).peer(jwt(exp=9e9, aud=["egress"], sub=PEER.username), "a") is None


@pytest.mark.parametrize(
    "token",
    [
        "",
        "..",
        "a.b",
        "a.b.c",
        "a.!!!.c",
        "a.W10.c",
        "a.bnVsbA.c",
        "a." + base64.b64encode(b"[" * 9000).decode() + ".c",
    ],
)
def test_what_is_no_jwt_claims_nothing(token: str) -> None:
    claims = unverified(token)
    assert (claims.expires, claims.audiences) == (None, None)


def test_keys_are_length_prefixed() -> None:
    same = {Keys("a", "bc").key(), Keys("a").key("bc"), Keys().key("a", "bc")}
    lists = [("ab", "c"), ("abc",), ("a", "b", "c"), ("", "abc"), ("a2:bc",), ("1:a2:bc",), ()]
    assert len(same) == 1
    assert len(same | {Keys().key(*parts) for parts in lists}) == 1 + len(lists)


def test_what_was_used_last_stays() -> None:
    recent: Recent[int] = Recent(2, 60)
    recent.put(b"a", 1, 10)
    recent.put(b"b", 2, 10)
    recent.get(b"a", 0)
    recent.put(b"c", 3, 10)
    assert [recent.get(key, 0) for key in (b"a", b"b", b"c")] == [1, None, 3]
    assert recent.get(b"a", 10) is None


async def test_a_clock_that_is_set_back_keeps_no_token_alive() -> None:
    gate, clock = Gate(), Clock()
    asking = reviews(gate, clock)
    await asking.peer("good", "192.0.2.1")
    await asking.peer("bad", "192.0.2.1")
    clock.advance(-3600.0)
    await asking.peer("good", "192.0.2.1")
    await asking.peer("bad", "192.0.2.1")
    assert gate.asked == ["good", "bad", "good", "bad"]


@pytest.mark.parametrize(
    "username",
    [
        "alice",
        "",
        "serviceaccount:ai:default",
        "system:serviceaccount:",
        "system:serviceaccount:ai",
        "system:serviceaccount:ai:",
        "system:serviceaccount::default",
        "system:serviceaccount:ai:default:",
        "system:serviceaccount:ai:default:x",
        "system:serviceaccount:ai/x:default",
        "system:serviceaccount:ai/default",
        "system:serviceaccount:..:default",
        "system:serviceaccount:ai:..",
        "system:serviceaccount:AI:default",
        "system:serviceaccount:ai.x:default",
        "system:serviceaccount:ai:default\n",
        f"system:serviceaccount:{'a' * 64}:default",
        f"system:serviceaccount:ai:{'a.' * 127}a",
        "System:ServiceAccount:ai:default",
    ],
)
def test_no_other_username_names_a_workload(username: str) -> None:
    claimed = Peer(username, namespace="kube-system", service_account="admin")
    assert (workload(claimed).namespace, workload(claimed).service_account) == ("", "")


def test_a_service_account_may_have_dots() -> None:
    peer = workload(Peer("system:serviceaccount:ai-1:my.robot"))
    assert (peer.namespace, peer.service_account) == ("ai-1", "my.robot")
