"""Names are looked up in threads of their own. asyncio does it in those that all share and that a process waits for at its end:
a DNS server that says nothing would keep metrics from being read, and a process from ending.
"""

import asyncio
import socket
import threading
from contextlib import suppress
from typing import Any, Final

MOST: Final = 16
"""Lookups at once; others wait for them, within whatever their callers allow."""


def apart(loop: asyncio.AbstractEventLoop) -> None:
    """Let `loop` look names up so. One that nobody waits for any more goes on until the resolver gives up."""
    room = asyncio.Semaphore(MOST)

    async def getaddrinfo(host: Any, port: Any, **how: int) -> list[Any]:
        await room.acquire()
        future: asyncio.Future[list[Any]] = loop.create_future()

        def told(found: list[Any], error: Exception | None) -> None:
            room.release()
            if future.done():
                return
            if error:
                future.set_exception(error)
            else:
                future.set_result(found)

        def look_up() -> None:
            found: list[Any] = []
            failed = None
            try:
                found = socket.getaddrinfo(host, port, **how)
            except Exception as error:  # noqa: BLE001 - it is raised where the answer is waited for
                failed = error
            with suppress(RuntimeError):  # the loop is closed: there is nobody to tell
                loop.call_soon_threadsafe(told, found, failed)

        try:
            threading.Thread(target=look_up, name="lookup", daemon=True).start()
        except RuntimeError:
            room.release()
            raise OSError("there is no thread in which a name could be looked up") from None
        return await future

    loop.getaddrinfo = getaddrinfo  # type: ignore[method-assign]
