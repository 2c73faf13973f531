"""Who is let in at the admin port, and when. The event loop that serves it serves exchanges too, so strangers get little of it:
they are let in one after another, and when there are too many, whoever has the most connections loses one. A probe or a scraper
comes through while somebody else holds all the connections that there are, or opens as many as they can.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Final

from extproc.admin.address import is_near

MOST_CONNECTIONS: Final = 64
LIFETIME: Final = 10.0
"""Seconds of a connection."""

PACE: Final = 0.02
"""Seconds between two strangers who are let in: each costs about a thousandth, and there is other work to do."""

MOST_BYTES: Final = 16 * 1024
"""Of one who waits to be let in: more than any request that would be answered."""

NEAR: Final = "near"
"""Where those come from who are of this machine, or this pod."""


class Entrance:
    """Makes the connections of `serve`, which is what asyncio calls for each."""

    def __init__(self, serve: Callable[[], asyncio.Protocol]) -> None:
        self.serve = serve
        self._inside: list[Guest] = []
        self._waiting: dict[str, deque[Guest]] = {}
        self._turn: asyncio.TimerHandle | None = None

    def __call__(self) -> "Guest":
        return Guest(self)

    def came(self, guest: "Guest") -> None:
        """Somebody is at the door. Those of this machine go in at once, everybody else in turn."""
        if len(self._inside) >= MOST_CONNECTIONS:
            self._largest().leave()
        self._inside.append(guest)
        if guest.source == NEAR:
            guest.enter()
        else:
            self._waiting.setdefault(guest.source, deque()).append(guest)
            if self._turn is None:
                self._next()

    def went(self, guest: "Guest") -> None:
        """It is gone, whether it was let in or not."""
        if guest in self._inside:
            self._inside.remove(guest)
        if guest in self._waiting.get(guest.source, ()):
            self._waiting[guest.source].remove(guest)

    def close(self) -> None:
        """Nobody is let in any more."""
        if self._turn:
            self._turn.cancel()
        for guest in list(self._inside):
            guest.leave()

    def _largest(self) -> "Guest":
        """The oldest connection of those who have the most."""
        counts = Counter(guest.source for guest in self._inside)
        return max(self._inside, key=lambda guest: counts[guest.source])  # the first of several, and that is the oldest

    def _next(self) -> None:
        """One of those whose turn is the longest ago."""
        self._turn = None
        while self._waiting:
            source, guests = next(iter(self._waiting.items()))
            del self._waiting[source]
            if guests:
                self._waiting[source] = guests  # last of all
                self._turn = asyncio.get_running_loop().call_later(PACE, self._next)
                guests.popleft().enter()
                return


class Guest(asyncio.Protocol):
    """A connection. What it says is kept until it is let in; from then on `serve` has it."""

    def __init__(self, entrance: Entrance) -> None:
        self._entrance = entrance
        self._said = bytearray()
        self._inner: asyncio.Protocol | None = None
        self._end: asyncio.TimerHandle | None = None
        self.source = NEAR

    def connection_made(self, transport: Any) -> None:
        self._transport: asyncio.Transport = transport
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple) and not is_near(peer):
            self.source = str(peer[0])
        self._end = asyncio.get_running_loop().call_later(LIFETIME, self.leave)
        self._entrance.came(self)

    def enter(self) -> None:
        """It is served from now on."""
        self._inner = self._entrance.serve()
        self._inner.connection_made(self._transport)
        if self._said:
            self._inner.data_received(bytes(self._said))
            self._said.clear()

    def leave(self) -> None:
        """Its time is over, or its room is needed."""
        self._entrance.went(self)
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._inner:
            self._inner.data_received(data)
        elif len(self._said) + len(data) > MOST_BYTES:
            self.leave()
        else:
            self._said += data

    def eof_received(self) -> bool | None:
        return self._inner.eof_received() if self._inner else None

    def pause_writing(self) -> None:
        if self._inner:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner:
            self._inner.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        if self._end:
            self._end.cancel()  # else it would hold all this for as long
        self._entrance.went(self)
        if self._inner:
            self._inner.connection_lost(error)
