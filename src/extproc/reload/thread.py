"""Work in a thread of its own, which the end of the process does not wait for: a constructor of somebody else's may never
return, nor may a file system of another machine.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


def in_thread(work: Callable[[], T], name: str) -> "asyncio.Future[T]":
    """What `work` returns or raises, in a thread of this name that is begun now. It cannot be cancelled: what comes of it when
    nobody waits any more is left alone.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            found = work()
        except BaseException as error:  # noqa: BLE001 - for whoever waits
            tell(done.set_exception, error)
        else:
            tell(done.set_result, found)

    def tell(what: Callable[..., None], value: object) -> None:
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(lambda: None if done.done() else what(value))

    threading.Thread(target=run, name=name, daemon=True).start()
    return done
