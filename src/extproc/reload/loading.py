"""Building a configuration beside exchanges, within bounds: other people's constructors take part in it."""

import asyncio
import sys
from functools import partial
from typing import Final

from extproc.errors import ConfigError, Place
from extproc.reload.snapshot import Snapshot
from extproc.reload.source import Declined, Loaded
from extproc.reload.thread import in_thread

TURN: Final = 0.0005
"""Seconds after which the thread that loads must let others go on, if they want to."""

PATIENCE: Final = 30.0
"""Seconds in which a configuration is to be built: less than those for which a parent waits for a worker."""

MOST_STUCK: Final = 4
"""Threads that may be left behind with constructors that do not return."""


async def load(first: Loaded, found: Snapshot, patience: float = PATIENCE) -> Loaded:
    """What was found, for a process that was started with `first`. In a thread, which lets exchanges go on as soon as they can,
    and not only after 5 ms. One that takes too long is refused; what it borrowed is given back whenever it ends.

    Raises: Declined.
    """
    stuck = first.source.stuck
    if len(stuck) >= MOST_STUCK:
        raise _late(first, found, f"{len(stuck)} configurations before it have not been built yet: restart the server")
    loading = in_thread(partial(first.source.load, found, first), "load")
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(before, TURN))
    try:
        async with asyncio.timeout(patience):
            return await asyncio.shield(loading)
    except TimeoutError:
        stuck.add(loading)
        loading.add_done_callback(partial(_ended, stuck))
        what = f"it was not built within {patience:g} s: some extension waits for something in its constructor"
        raise _late(first, found, what) from None
    except Declined as declined:
        await declined.lease.end()
        raise
    finally:
        sys.setswitchinterval(before)


def _late(first: Loaded, found: Snapshot, what: str) -> Declined:
    return Declined((ConfigError(what, Place(str(found.path))),), {}, first.source.kept.lease())


def _ended(stuck: set[asyncio.Future[Loaded]], loading: asyncio.Future[Loaded]) -> None:
    """One that nobody waits for has been built after all, or has failed."""
    error = loading.exception()
    lease = error.lease if isinstance(error, Declined) else loading.result().lease if error is None else None
    if lease is None:
        stuck.discard(loading)
    else:
        ending = asyncio.ensure_future(lease.end())
        ending.add_done_callback(lambda _: stuck.discard(loading))
