"""One extension in its place: the operator's half of it. The author's half is the filter."""

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, ClassVar, Protocol, TypeVar

from extproc.core.exchange import Exchange
from extproc.core.filter import (
    Authenticator,
    BodyFilter,
    Compensating,
    Filter,
    Following,
    Reading,
    Rerouting,
    Settling,
    Streaming,
)
from extproc.core.phase import Phase
from extproc.core.verdict import Verdict
from extproc.errors import Cause, Unsupported

T = TypeVar("T")


class Scope(IntEnum):
    """Where an extension is attached, from the widest to the narrowest."""

    GATEWAY = 0
    BACKEND = 1
    ROUTE = 2


class Condition(Protocol):
    """A compiled `when`."""

    def __call__(self, variables: Mapping[str, object]) -> Any:
        """Raises: ExpressionError."""
        ...


@dataclass(frozen=True, slots=True)
class Link:
    """An extension as it runs. `covers` are the causes that its failOpen turns into a skip (empty: failOpen is false);
    `timeout` is in seconds. `room` is how large a body it may make, if it says what it reads: Envoy answers 413 to one that its
    buffers cannot hold (PROTOCOL 8), and those are twice the largest body that is read, and 64 KiB.
    """

    name: str
    phase: Phase
    filter: Filter
    priority: int = 0
    scope: Scope = Scope.GATEWAY
    covers: frozenset[Cause] = frozenset()
    pre_auth: bool = False
    timeout: float = 0.25
    when: Condition | None = None
    phases: frozenset[Phase] = field(init=False)
    authenticator: Authenticator | None = field(init=False)
    authenticates: bool = field(init=False)
    transforming: BodyFilter | None = field(init=False)
    streaming: Streaming | None = field(init=False)
    compensating: Compensating | None = field(init=False)
    settling: Settling | None = field(init=False)
    reroutes: frozenset[str] = field(init=False)
    room: int | None = field(init=False)

    def __post_init__(self) -> None:
        """What the filter is able to do, found out once: asking a protocol costs microseconds."""
        filter_ = self.filter
        follow_ups = filter_.follow_ups if isinstance(filter_, Following) else frozenset()
        object.__setattr__(self, "phases", frozenset({self.phase}) | follow_ups)
        object.__setattr__(self, "authenticator", filter_ if isinstance(filter_, Authenticator) else None)
        object.__setattr__(self, "authenticates", self.authenticator is not None)
        object.__setattr__(self, "transforming", filter_ if isinstance(filter_, BodyFilter) else None)
        object.__setattr__(self, "streaming", filter_ if isinstance(filter_, Streaming) else None)
        object.__setattr__(self, "compensating", filter_ if isinstance(filter_, Compensating) else None)
        object.__setattr__(self, "settling", filter_ if isinstance(filter_, Settling) else None)
        object.__setattr__(self, "reroutes", filter_.reroutes if isinstance(filter_, Rerouting) else frozenset())
        reads = getattr(filter_, "max_body_bytes", None)
        object.__setattr__(self, "room", None if reads is None else 2 * reads + 64 * 1024)

    def reading(self, phase: Phase, exchange: Exchange) -> Reading:
        """How much of the body it needs. One that cannot say gets all of it, and fails there: nothing passes unseen."""
        if self.streaming is None:
            return Reading.WHOLE
        try:
            found = self.streaming.reading(phase, exchange)
            return found if type(found) is Reading else Reading(found)
        except BaseException:  # noqa: BLE001 - whatever it was: nobody else runs meanwhile, and `decide` gets the whole body
            return Reading.WHOLE

    @property
    def order(self) -> tuple[int, Scope, str]:
        """Its place within a phase: priority, then scope, then name (DESIGN section 3)."""
        return self.priority, self.scope, self.name


class Degraded:
    """Stands in for a filter that cannot run here, so that the extension's failOpen decides about each exchange."""

    phases: ClassVar[frozenset[Phase]] = frozenset(Phase)

    def __init__(self, reason: str) -> None:
        self.reason = reason

    async def decide(self, phase: Phase, exchange: Exchange) -> Verdict:  # noqa: ARG002 - the protocol's signature
        raise Unsupported(self.reason)


@dataclass(frozen=True, slots=True)
class Pace:
    """Time, handed in: `now` in seconds (monotonic), `bounded` runs an awaitable for at most so many seconds (raises
    TimeoutError), `pause` lets others run, `spawn` runs what must go on when an exchange has ended.
    """

    now: Callable[[], float]
    bounded: Callable[[Awaitable[T], float], Awaitable[T]]
    pause: Callable[[], Awaitable[None]]
    spawn: Callable[[Coroutine[Any, Any, None]], None]
