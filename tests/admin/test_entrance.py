"""The admin port while somebody makes trouble there: over real sockets, from several addresses."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from extproc.admin import Admin, Health, entrance
from extproc.admin.entrance import MOST_BYTES, MOST_CONNECTIONS, Guest

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

ASKED = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
STRANGER, PROBE = "127.0.0.2", "127.0.0.3"


@pytest.fixture
async def admin(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Admin]:
    """One whose callers on 127.0.0.1 are of this machine, and all others are not."""
    monkeypatch.setattr(entrance, "is_near", lambda peer: peer[0] == "127.0.0.1")
    made = Admin("127.0.0.1:0", health=lambda: Health(ready=True), metrics=lambda: b"m 1\n", status=dict, catalog=dict)
    await made.start()
    yield made
    await made.stop()


async def connect(admin: Admin, source: str) -> Streams:
    return await asyncio.open_connection("127.0.0.1", admin.address.port, local_addr=(source, 0))


async def ask(admin: Admin, source: str, asked: bytes = ASKED) -> bytes:
    reader, writer = await connect(admin, source)
    writer.write(asked)
    try:
        return await reader.read()
    finally:
        writer.close()


async def is_over(streams: Streams) -> bool:
    """Whether the other side has ended it; if it has not, this waits for ever."""
    with suppress(ConnectionResetError):
        return await streams[0].read() == b""
    return True


async def test_a_probe_is_answered_while_a_stranger_holds_every_connection(admin: Admin) -> None:
    held = [await connect(admin, STRANGER) for _ in range(MOST_CONNECTIONS)]
    for _, writer in held:
        writer.write(b"GET /healthz HT")
    assert (await ask(admin, PROBE)).startswith(b"HTTP/1.1 200")
    assert await is_over(held[0])
    for _, writer in held:
        writer.close()


async def test_a_probe_keeps_its_connection_while_a_stranger_opens_more(admin: Admin) -> None:
    reader, writer = await connect(admin, PROBE)
    held = [await connect(admin, STRANGER) for _ in range(2 * MOST_CONNECTIONS)]
    assert await is_over(held[0])
    writer.write(ASKED)
    assert (await reader.read()).startswith(b"HTTP/1.1 200")
    for _, each in [*held, (reader, writer)]:
        each.close()


async def test_strangers_are_let_in_one_after_another_and_who_is_near_at_once(
    admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entrance, "PACE", 3600.0)
    assert (await ask(admin, STRANGER)).startswith(b"HTTP/1.1 200")
    second = asyncio.create_task(ask(admin, STRANGER))
    for _ in range(3):
        assert (await ask(admin, "127.0.0.1")).startswith(b"HTTP/1.1 200")
    assert not second.done()
    second.cancel()


class Transport:
    """Of a connection from `source`."""

    def __init__(self, source: str) -> None:
        self.source = source

    def get_extra_info(self, _name: str) -> tuple[str, int]:
        return self.source, 1

    def abort(self) -> None:
        self.source = ""


async def test_a_probe_does_not_wait_for_all_that_a_stranger_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entrance, "PACE", 0.0)
    monkeypatch.setattr(entrance, "is_near", lambda _peer: False)
    entered, all_in = list[str](), asyncio.Event()

    class Served(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            entered.append(transport.source)
            if len(entered) == 5:
                all_in.set()

    door = entrance.Entrance(Served)
    for source in (STRANGER, STRANGER, STRANGER, STRANGER, PROBE):
        door().connection_made(Transport(source))
    await all_in.wait()
    assert entered == [STRANGER, STRANGER, PROBE, STRANGER, STRANGER]
    door.close()


async def test_everybody_has_a_turn(admin: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entrance, "PACE", 0.0)
    answers = await asyncio.gather(*(ask(admin, STRANGER) for _ in range(MOST_CONNECTIONS)))
    assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers)


async def test_who_waits_and_says_too_much_has_to_leave(admin: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entrance, "PACE", 3600.0)
    assert await ask(admin, STRANGER)
    second = await connect(admin, STRANGER)
    second[1].write(b"x" * (MOST_BYTES + 1))
    assert await is_over(second)
    second[1].close()


async def test_nothing_is_kept_of_a_connection_that_is_over(admin: Admin) -> None:
    """A timer held each for ten seconds once: thousands, for whoever asked often."""
    assert await ask(admin, "127.0.0.1")
    await asyncio.sleep(0)
    gc.collect()
    assert [each for each in gc.get_objects() if type(each) is Guest] == []


async def test_the_end_does_not_wait_for_strangers(admin: Admin) -> None:
    held = [await connect(admin, STRANGER) for _ in range(3)]
    async with asyncio.timeout(5):
        await admin.stop()
    assert all([await is_over(streams) for streams in held])
    for _, writer in held:
        writer.close()
