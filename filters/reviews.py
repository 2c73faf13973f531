"""From a token to a peer: whatever reviewer stands behind it, asked as seldom as can be.

Results are remembered, one review is in flight for one token, and there are only so many at once: a crowd of callers, or
one caller with many bad tokens, must not bring down the API server.
"""

import asyncio
import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, Generic, TypeVar

from extproc.core.measure import CacheUse
from extproc.core.peer import Peer
from extproc.errors import Unavailable
from extproc.ports import TokenReviewer
from extproc_filters.claims import Claims, unverified
from extproc_filters.keys import Keys

V = TypeVar("V")

NEGATIVE_SECONDS: Final = 10.0
PER_PROCESS: Final = 32
PER_SOURCE: Final = 8
"""Reviews in flight at once (DESIGN section 7)."""
REMEMBERED: Final = 10_000
"""Results of each kind that are kept: bad tokens cannot push out good ones."""
PATIENCE: Final = 10.0
"""Seconds for one review, whose waiters may all be gone: so a reviewer that hangs cannot keep its places for ever."""

_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
NAMESPACE: Final = re.compile(_LABEL)
WORKLOAD: Final = re.compile(rf"(?P<namespace>{_LABEL})/(?P<name>(?!.{{254}}){_LABEL}(?:\.{_LABEL})*)")
SERVICE_ACCOUNT: Final = "system:serviceaccount:"
"""How the API server names a ServiceAccount: this, the namespace, a colon, and the name."""


class Reviews:
    """The peers of tokens. One instance serves a gateway, and so a process."""

    def __init__(
        self,
        reviewer: TokenReviewer,
        identity: str,
        audiences: Sequence[str],
        ttl: float,
        now: Callable[[], float],
        patience: float = PATIENCE,
    ) -> None:
        """`identity` names the reviewer; of `audiences` a token needs one, if there are any; `ttl` is in seconds, `now` in
        Unix seconds.
        """
        self._reviewer = reviewer
        self._keys = Keys(identity, *audiences)
        self._audiences = tuple(audiences)
        self._ttl = ttl
        self._now = now
        self._patience = patience
        self._good: Recent[Peer] = Recent(REMEMBERED, ttl)
        self._bad: Recent[bool] = Recent(REMEMBERED, NEGATIVE_SECONDS)
        self._flights: dict[bytes, asyncio.Task[Peer | None]] = {}
        self._sources: Counter[str] = Counter()
        self.cache = CacheUse()

    async def peer(self, token: str, source: str) -> Peer | None:
        """Who `token` is, or None. `source` is the address that pays for the question, if it must be asked.

        Raises:
            Unavailable: the reviewer is down, or too much is asked of it already.
        """
        key = self._keys.key(token)
        now = self._now()
        if (known := self._good.get(key, now)) is not None:
            self.cache.hits += 1
            return known
        if self._bad.get(key, now):
            self.cache.hits += 1
            return None
        self.cache.misses += 1
        flight = self._flights.get(key)
        if flight is None:
            claims = unverified(token)
            if claims.refuse(self._audiences, now):
                return None
            flight = self._start(key, token, claims, source)
        return await asyncio.shield(flight)

    def _start(self, key: bytes, token: str, claims: Claims, source: str) -> "asyncio.Task[Peer | None]":
        if len(self._flights) >= PER_PROCESS:
            raise Unavailable(f"{PER_PROCESS} token reviews are in flight")
        if self._sources[source] >= PER_SOURCE:
            raise Unavailable(f"{PER_SOURCE} token reviews are in flight for one address")
        self._sources[source] += 1
        flight = asyncio.create_task(self._ask(key, token, claims))
        self._flights[key] = flight
        flight.add_done_callback(lambda done: self._landed(key, source, done))
        return flight

    async def _ask(self, key: bytes, token: str, claims: Claims) -> Peer | None:
        try:
            async with asyncio.timeout(self._patience):
                review = await self._reviewer.review(token, self._audiences)
        except TimeoutError:
            raise Unavailable(f"the token reviewer did not answer within {self._patience:g} s") from None
        now = self._now()
        ends = (end for end in (review.expires, claims.expires) if end is not None)
        until = min([now + self._ttl, *ends])
        meant_for_us = not self._audiences or not set(self._audiences).isdisjoint(review.audiences)
        if review.peer is None or not meant_for_us or until <= now:
            self._bad.put(key, True, now + NEGATIVE_SECONDS)
            return None
        peer = workload(review.peer)
        self._good.put(key, peer, until)
        return peer

    def _landed(self, key: bytes, source: str, flight: "asyncio.Task[Peer | None]") -> None:
        del self._flights[key]
        self._sources[source] -= 1
        if not self._sources[source]:
            del self._sources[source]
        if not flight.cancelled():
            flight.exception()  # seen, even if every waiter has gone


class Recent(Generic[V]):
    """At most `most` values, each until its time; the one that was least recently used goes first. A time that is further
    away than `longest` seconds is that of a clock which was set back since: it counts as over, or a token that was taken
    back would be good for as long as the step.
    """

    def __init__(self, most: int, longest: float) -> None:
        self._most, self._longest = most, longest
        self._entries: OrderedDict[bytes, tuple[V, float]] = OrderedDict()

    def get(self, key: bytes, now: float) -> V | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if not now < entry[1] <= now + self._longest:
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: bytes, value: V, until: float) -> None:
        self._entries[key] = value, until
        self._entries.move_to_end(key)
        if len(self._entries) > self._most:
            self._entries.popitem(last=False)


def workload(peer: Peer) -> Peer:
    """`peer` with the namespace and ServiceAccount that its username names, and with no others."""
    parts = peer.username.removeprefix(SERVICE_ACCOUNT).split(":")
    named = WORKLOAD.fullmatch("/".join(parts)) if peer.username.startswith(SERVICE_ACCOUNT) else None
    if named is None or len(parts) != 2:
        return replace(peer, namespace="", service_account="")
    return replace(peer, namespace=named["namespace"], service_account=named["name"])
