"""A DNS server that says nothing: nobody else waits for it, least of all the end of the process."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from extproc import lookups
from extproc.lookups import apart

SILENT = "silent.example"


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Until it is set nobody is told where SILENT is."""
    event, real = threading.Event(), socket.getaddrinfo

    def look_up(host: Any, *arguments: Any, **how: Any) -> Any:
        if host == SILENT:
            event.wait(20)
            raise socket.gaierror(socket.EAI_AGAIN, "nobody answered")
        return real(host, *arguments, **how)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    yield event
    event.set()


def test_a_loop_ends_while_a_name_is_looked_up(answered: threading.Event) -> None:
    async def main() -> None:
        apart(asyncio.get_running_loop())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.open_connection(SILENT, 1), 0.05)

    began = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - began < 5


async def test_what_others_do_in_threads_goes_on(answered: threading.Event) -> None:
    loop = asyncio.get_running_loop()
    apart(loop)
    waiting = [asyncio.create_task(loop.getaddrinfo(SILENT, 1)) for _ in range(200)]
    await asyncio.sleep(0.05)
    assert sum(thread.name == "lookup" for thread in threading.enumerate()) == lookups.MOST
    assert await asyncio.wait_for(asyncio.to_thread(lambda: "read"), 5) == "read"
    for each in waiting[50:]:
        each.cancel()
    answered.set()
    results = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 10)
    assert all(isinstance(each, socket.gaierror) for each in results[:50])


async def test_names_are_found(answered: threading.Event) -> None:
    loop = asyncio.get_running_loop()
    apart(loop)
    found = await loop.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)
    assert {place[0] for *_, place in found} <= {"127.0.0.1", "::1"}


async def test_no_thread_is_a_failure_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    apart(loop)

    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    for _ in range(2 * lookups.MOST):
        with pytest.raises(OSError, match="no thread"):
            await loop.getaddrinfo("localhost", 80)
