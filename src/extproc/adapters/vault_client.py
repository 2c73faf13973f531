"""The gateway's own session at Vault: logged in once, renewed at two thirds of its time, logged in anew when it is lost.

One for each process and Vault. hvac blocks, so it works in threads; the event loop sees values only.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import hvac

from extproc.adapters.breaker import Breaker, State
from extproc.adapters.flights import Flights
from extproc.adapters.vault_http import (
    CLOSED,
    DENIED,
    OPEN,
    SEALED,
    SLOW,
    STRANGE,
    THREADS,
    UNINITIALISED,
    Trouble,
    VaultServer,
    attempt,
)
from extproc.adapters.vault_login import Auth, Grant, alive, renewed, revoke
from extproc.core.measure import CallOutcome, calls

REFUSAL_SECONDS: Final = 1.0
"""How long a refused login is not tried again."""
DENIAL_SECONDS: Final = 10.0
"""How often a denial may make us log in anew, at most."""
SHORTEST: Final = 1.0
"""The shortest pause between two renewals, whatever the time to live."""

T = TypeVar("T")


class VaultClient:
    """A `Dependency`. `now`: seconds of a clock that is never set back; `sleep`: the one that goes with it.

    `calls` counts what was asked of Vault, by kind (`login`, `renew`, `read`, ...) and by whether it answered.
    """

    name = "vault"

    def __init__(
        self,
        server: VaultServer,
        auth: Auth,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.breaker = Breaker(now)
        self.calls: Counter[tuple[str, bool]] = Counter()
        self.times = calls()
        self._server, self._auth, self._now, self._sleep = server, auth, now, sleep
        self._session = server.session()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="vault")
        self._flights = Flights()
        self._grant: Grant | None = None
        self._expires = 0.0
        self._refusal: Trouble | None = None
        self._refused_until = self._anew_at = float("-inf")
        self._keeper: asyncio.Task[None] | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"VaultClient({self._server.address!r})"

    @property
    def state(self) -> State:
        """Of the circuit breaker."""
        return self.breaker.state

    async def ask(self, kind: str, question: Callable[[hvac.Client], T | Trouble]) -> T | Trouble:
        """What `question`, in a thread, finds out with a client that is logged in. A token that Vault no longer knows is
        replaced, once: DENIED after that is about the question.
        """
        grant = await self._granted()
        if isinstance(grant, Trouble):
            return grant
        answer = await self._call(kind, lambda: question(grant.client))
        if answer is not DENIED:
            return answer
        again = await self._flights.join(("denied", id(grant.client)), lambda: self._after_denial(grant))
        return again if isinstance(again, Trouble) else await self._call(kind, lambda: question(again.client))

    async def probe(self) -> str | None:
        """Whether Vault is up and lets us in. It is asked even while the breaker is open: the answer may close it."""
        health = await self._call("health", self._health, guarded=False)
        found = health if isinstance(health, Trouble) else await self._granted()
        return found.sentence if isinstance(found, Trouble) else None

    async def close(self) -> None:
        """Give the token back if a login made it, and the connections and threads. Bounded by the server's timeout."""
        if self._closed:
            return
        self._closed = True
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait((self._keeper,))
        await self._flights.landed()
        grant = self._grant
        if grant is not None and grant.ours and self.breaker.state is State.CLOSED:
            await self._in_thread(lambda: revoke(grant))  # should it fail, Vault ends the token by itself, later
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._session.close()

    async def _granted(self) -> Grant | Trouble:
        if self._grant is not None and self._now() < self._expires:
            return self._grant
        if self._refusal is not None and self._now() < self._refused_until:
            return self._refusal
        return await self._flights.join("login", self._log_in)

    async def _log_in(self) -> Grant | Trouble:
        grant = await self._call("login", lambda: self._auth.login(self._open))
        if isinstance(grant, Trouble):
            if not grant.down:  # else the breaker counts it
                self._refusal, self._refused_until = grant, self._now() + REFUSAL_SECONDS
            return grant
        self._hold(grant)
        if self._keeper is not None:
            self._keeper.cancel()
        self._keeper = asyncio.create_task(self._keep(grant)) if grant.ttl and not self._closed else None
        return grant

    def _hold(self, grant: Grant) -> None:
        self._grant, self._refusal = grant, None
        self._expires = self._now() + grant.ttl if grant.ttl else float("inf")

    async def _keep(self, grant: Grant) -> None:
        """Renew at two thirds; log in anew where that is not possible, or wins little: a token has a last day."""
        longest = grant.ttl
        while grant.ttl:
            await self._sleep(max(grant.ttl * 2 / 3, SHORTEST))
            held = await self._longer(grant, longest)
            while isinstance(held, Trouble):
                await self._sleep(max(longest / 30, SHORTEST))
                held = await self._longer(grant, longest)
            grant = held

    async def _longer(self, grant: Grant, longest: float) -> Grant | Trouble:
        """The grant renewed, or a new one: its login ends the task that this is called from."""
        answer = await self._call("renew", lambda: renewed(grant)) if grant.renewable else DENIED
        if isinstance(answer, Grant) and (answer.ttl > longest / 3 or not answer.ttl):
            self._hold(answer)
            return answer
        if isinstance(answer, Trouble) and answer.down:
            return answer
        return await self._flights.join("login", self._log_in)

    async def _after_denial(self, denied: Grant) -> Grant | Trouble:
        """What to ask again with, or DENIED if the token is not the reason."""
        if not self._is_current(denied):
            return await self._granted()
        known = await self._call("lookup", lambda: alive(denied))
        if isinstance(known, bool):
            return DENIED
        if known is not DENIED:
            return known
        if not self._is_current(denied):
            return await self._granted()
        # A token without Vault's default policy may not even ask for itself: then a denial looks like a revoked token each
        # time, and would make us log in each time.
        if self._now() < self._anew_at + DENIAL_SECONDS:
            return DENIED
        self._anew_at = self._now()
        self._grant = None
        return await self._granted()

    def _is_current(self, grant: Grant) -> bool:
        return self._grant is not None and self._grant.client is grant.client

    async def _call(self, kind: str, work: Callable[[], T | Trouble], *, guarded: bool = True) -> T | Trouble:
        """`work` in a thread, bounded; the breaker hears how it went, but for a login that may not have got as far as Vault."""
        if self._closed:
            return CLOSED
        if guarded and not self.breaker.allows():
            self.times[CallOutcome.REFUSED].add(0.0)
            return OPEN
        started = self._now()
        answer = await self._in_thread(work)
        down = isinstance(answer, Trouble) and answer.down
        if down:
            self.breaker.failed()
        elif not (isinstance(answer, Trouble) and answer.login):
            self.breaker.succeeded()
        self.calls[kind, not down] += 1
        if guarded:
            self.times[CallOutcome.FAILED if down else CallOutcome.ANSWERED].add(self._now() - started)
        return answer

    async def _in_thread(self, work: Callable[[], T | Trouble]) -> T | Trouble:
        try:
            # The session's timeouts end each step in time; this ends what waits for a thread, or is fed drop by drop.
            async with asyncio.timeout(3 * self._server.timeout):
                return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except TimeoutError:
            return SLOW

    def _open(self, token: str) -> hvac.Client:
        return self._server.client(self._session, token)

    def _health(self) -> bool | Trouble:
        client = self._server.client(self._session, rooted=True)
        answer = attempt(lambda: client.sys.read_health_status(method="GET", standby_ok=True))
        if isinstance(answer, Trouble):
            return answer
        if isinstance(answer, dict):
            return True
        # 473 is a standby that serves reads (Vault's /sys/health).
        known: dict[int, bool | Trouble] = {473: True, 501: UNINITIALISED, 503: SEALED}
        return known.get(getattr(answer, "status_code", 0), STRANGE)
