"""What outlives a configuration: borrowed by several, closed by the last."""

import asyncio
from collections.abc import Callable

import pytest

from extproc.kept import Kept, Lease
from extproc.testing import Clock


class Client:
    def __init__(self) -> None:
        self.closed = 0

    async def close(self) -> None:
        self.closed += 1


async def close(client: Client) -> None:
    await client.close()


async def test_one_key_is_one_client_until_the_last_gives_it_back() -> None:
    kept = Kept(Clock())
    first, second = kept.lease(), kept.lease()
    client = first.get("redis", Client, close)
    assert second.get("redis", Client, close) is client
    assert first.get("redis", Client, close) is client
    await first.end()
    assert (client.closed, len(kept)) == (0, 1)
    await second.end()
    assert (client.closed, len(kept)) == (1, 0)
    assert kept.lease().get("redis", Client, close) is not client


async def test_what_one_gives_back_another_may_just_be_borrowing() -> None:
    """In a thread, as a configuration does that is loaded: it never gets one that is closed."""
    kept, given = Kept(Clock()), asyncio.Queue[Lease]()
    loop = asyncio.get_running_loop()

    def borrow() -> int:
        closed = 0
        for _ in range(500):
            lease = kept.lease()
            closed += lease.get("redis", Client, close).closed
            loop.call_soon_threadsafe(given.put_nowait, lease)
        return closed

    borrowing = asyncio.ensure_future(asyncio.to_thread(borrow))
    for _ in range(500):
        lease = await given.get()
        await lease.end()
    assert await borrowing == 0
    assert len(kept) == 0


async def test_other_settings_are_another_client() -> None:
    lease = Kept(Clock()).lease()
    assert lease.get(("redis", 1), Client) is not lease.get(("redis", 2), Client)


async def test_what_was_borrowed_later_is_given_back_first() -> None:
    order: list[str] = []
    lease = Kept(Clock()).lease()

    def closing(name: str) -> Callable[[Client], object]:
        async def note(_: Client) -> None:
            order.append(name)

        return note

    lease.get("client", Client, closing("client"))
    lease.get("store", Client, closing("store"))
    await lease.end()
    assert order == ["store", "client"]


async def test_a_lease_that_has_ended_gives_back_nothing_twice() -> None:
    kept = Kept(Clock())
    first, second = kept.lease(), kept.lease()
    client = first.get("redis", Client, close)
    second.get("redis", Client, close)
    await first.end()
    await first.end()
    assert client.closed == 0


async def test_making_one_may_need_another() -> None:
    lease = Kept(Clock()).lease()

    def store() -> Client:
        lease.get("client", Client)
        return Client()

    lease.get("store", store)
    assert len(lease.kept) == 2


async def test_two_that_make_one_at_once_have_the_same() -> None:
    kept = Kept(Clock())
    first, second = kept.lease(), kept.lease()
    others = list[Client]()

    def slowly() -> Client:
        others.append(second.get("redis", Client, close))  # somebody else, while this one is made
        return Client()

    assert first.get("redis", slowly, close) is others[0]
    await first.end()
    assert others[0].closed == 0
    await second.end()
    assert (others[0].closed, len(kept)) == (1, 0)


async def test_one_that_cannot_be_closed_keeps_no_other_from_it() -> None:
    async def fails(_: Client) -> None:
        raise OSError("canary")

    kept = Kept(Clock())
    lease = kept.lease()
    client = lease.get("client", Client, close)
    lease.get("store", Client, fails)
    await lease.end()
    assert (client.closed, len(kept)) == (1, 0)


async def test_one_that_never_closes_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hangs(_: Client) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("extproc.kept.CLOSING", 0.0)
    lease = Kept(Clock()).lease()
    client = lease.get("client", Client, close)
    lease.get("store", Client, hangs)
    async with asyncio.timeout(5):
        await lease.end()
    assert client.closed == 1


def test_what_cannot_be_made_is_not_kept() -> None:
    kept = Kept(Clock())
    lease = kept.lease()
    with pytest.raises(ZeroDivisionError):
        lease.get("redis", lambda: 1 // 0)
    assert len(kept) == 0
