"""What goes wrong outside: something is down, or slow by the test's clock."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from extproc.core.secret import Secret
from extproc.errors import Unavailable
from extproc.ports import Demand, Review, Tally
from extproc.testing.outside import Clock


@dataclass(frozen=True, slots=True)
class Down:
    """A counter store, a token reviewer or a secret source that cannot be reached. Whatever it is asked: Unavailable."""

    reason: str = "it is down"
    backends: frozenset[str] = frozenset({"egress/openai"})

    async def take(self, demands: Sequence[Demand]) -> Tally:  # noqa: ARG002 - the port's signature
        raise Unavailable(self.reason)

    async def settle(self, demands: Sequence[Demand], receipt: object, used: Sequence[int]) -> None:  # noqa: ARG002
        raise Unavailable(self.reason)

    async def review(self, token: str, audiences: Sequence[str]) -> Review:  # noqa: ARG002 - the port's signature
        raise Unavailable(self.reason)

    async def read(self, path: Sequence[str], field: str) -> Secret | None:  # noqa: ARG002 - the port's signature
        raise Unavailable(self.reason)


@dataclass(frozen=True, slots=True)
class Late:
    """`inner`, after so many seconds of `clock`: give the conversation the same clock, and the extension times out."""

    inner: Any
    clock: Clock
    seconds: float
    backends: frozenset[str] = frozenset({"egress/openai"})

    async def take(self, demands: Sequence[Demand]) -> Tally:
        self.clock.advance(self.seconds)
        found: Tally = await self.inner.take(demands)
        return found

    async def settle(self, demands: Sequence[Demand], receipt: object, used: Sequence[int]) -> None:
        self.clock.advance(self.seconds)
        await self.inner.settle(demands, receipt, used)

    async def review(self, token: str, audiences: Sequence[str]) -> Review:
        self.clock.advance(self.seconds)
        found: Review = await self.inner.review(token, audiences)
        return found

    async def read(self, path: Sequence[str], field: str) -> Secret | None:
        self.clock.advance(self.seconds)
        found: Secret | None = await self.inner.read(path, field)
        return found
