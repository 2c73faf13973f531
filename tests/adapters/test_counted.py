"""What adapters count of their calls and caches."""

import asyncio
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import pytest

from extproc.adapters.breaker import Unasked
from extproc.adapters.calls import counted
from extproc.adapters.redis import RedisCounters
from extproc.adapters.secrets import FileSecrets
from extproc.core.measure import CallOutcome, Times, calls
from extproc.errors import Unavailable
from extproc.ports import Algorithm, Demand
from extproc.testing import Clock
from tests.adapters.test_vault import place
from tests.servers.bao import MISSING

DEMAND = Demand(b"c", Algorithm.FIXED_WINDOW, 5, 60.0, 5)


def numbers(times: Mapping[CallOutcome, Times]) -> dict[str, int]:
    return {outcome.value: sum(found.counts) for outcome, found in times.items()}


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "answered"),
        (Unavailable("x"), "failed"),
        (Unasked("x"), "refused"),
        (asyncio.CancelledError(), "failed"),
        (ValueError("x"), "failed"),
    ],
)
async def test_a_call_is_counted_and_timed_however_it_ends(error: BaseException | None, outcome: str) -> None:
    clock, times = Clock(), calls()

    async def work() -> str:
        clock.advance(0.3)
        if error:
            raise error
        return "answer"

    with pytest.raises(type(error)) if error else nullcontext():
        assert await counted(times, work(), clock) == "answer"
    assert numbers(times) == {**dict.fromkeys(("answered", "failed", "refused"), 0), outcome: 1}
    assert times[CallOutcome(outcome)].total == pytest.approx(0.3)


async def test_takes_that_nobody_answers_fail_and_then_are_refused() -> None:
    counters = RedisCounters("unix:///nowhere/redis.sock", failures=2, cooldown=60)
    for _ in range(5):
        with pytest.raises(Unavailable):
            await counters.take([DEMAND])
    assert await counters.probe() is not None
    await counters.close()
    assert numbers(counters.times) == {"answered": 0, "failed": 2, "refused": 3}
    assert counters.state == "open"


async def test_reads_of_a_file_hit_until_their_time_is_over(tmp_path: Path) -> None:
    clock = Clock()
    (tmp_path / "key").write_text("sk-1")
    secrets = FileSecrets(tmp_path, ["egress/openai"], clock)
    for _ in range(3):
        await secrets.read(["key"], "")
    await secrets.read(["absent"], "")
    await secrets.read(["absent"], "")
    await secrets.read(["../key"], "")
    assert (secrets.cache.hits, secrets.cache.misses) == (3, 2)
    clock.advance(11)
    await secrets.read(["key"], "")
    assert (secrets.cache.hits, secrets.cache.misses, secrets.cache.stale) == (3, 3, 0)


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
async def test_reads_of_vault_hit_until_their_time_is_over_and_are_stale_while_it_is_down() -> None:
    async with place(stale_for=100.0) as it:
        it.put("team", key="sk-1")
        for _ in range(3):
            assert await it.read("team") == "sk-1"
        assert (it.store.cache.hits, it.store.cache.misses, it.store.cache.stale) == (2, 1, 0)
        asked = numbers(it.client.times)
        assert (asked["failed"], asked["refused"]) == (0, 0)
        assert asked["answered"] >= 2  # the mount's version, and the value
        await it.client.close()
        it.clock.advance(61)
        for _ in range(2):
            assert await it.read("team") == "sk-1"
        assert (it.store.cache.hits, it.store.cache.misses, it.store.cache.stale) == (2, 1, 2)
