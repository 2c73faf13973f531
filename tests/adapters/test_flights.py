"""Work in flight: done once, for everybody, whoever leaves."""

import asyncio

import pytest

from extproc.adapters.flights import Flights


class Work:
    """Counts how often it is done, and takes until it is told to end."""

    def __init__(self) -> None:
        self.done, self.end = 0, asyncio.Event()

    async def __call__(self) -> int:
        await self.end.wait()
        self.done += 1
        return self.done


async def test_one_for_all_and_another_one_later() -> None:
    flights, work = Flights(), Work()
    waiting = [asyncio.create_task(flights.join("a", work)) for _ in range(5)]
    other = asyncio.create_task(flights.join("b", work))
    await asyncio.sleep(0)
    assert len(flights) == 2
    assert "a" in flights
    assert "c" not in flights
    work.end.set()
    assert await asyncio.gather(*waiting, other) == [1, 1, 1, 1, 1, 2]
    assert not flights
    assert await flights.join("a", work) == 3


async def test_a_cancel_ends_the_wait_alone() -> None:
    flights, work = Flights(), Work()
    waiting, other = (asyncio.create_task(flights.join("a", work)) for _ in range(2))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    work.end.set()
    assert await other == 1


async def test_an_error_is_for_who_waits_and_the_next_one_begins_anew() -> None:
    flights = Flights()

    async def fail() -> None:
        raise ValueError("no")

    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            await flights.join("a", fail)


async def test_landing_waits_for_everything_and_for_what_it_starts() -> None:
    flights, work = Flights(), Work()
    first = flights.start("a", work)
    first.add_done_callback(lambda _: flights.start("b", work))
    asyncio.get_running_loop().call_soon(work.end.set)
    await flights.landed()
    assert work.done == 2
