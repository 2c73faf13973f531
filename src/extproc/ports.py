"""The questions that filters ask of the outside, named after the question and not after the product.

A filter is built as `Kind(config, context)` and reaches the outside only through `context`.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from extproc.core.measure import CacheUse, CallOutcome, Times
from extproc.core.peer import Peer
from extproc.core.phase import Phase
from extproc.core.secret import Secret

T = TypeVar("T")


class Expression(Protocol):
    """A compiled CEL expression."""

    @property
    def names(self) -> frozenset[str]:
        """The variables that it mentions (`request`, `peer`, ...)."""
        ...

    def __call__(self, variables: Mapping[str, object]) -> Any:
        """Its value.

        Raises:
            ExpressionError: it has none for these variables.
        """
        ...


@dataclass(frozen=True, slots=True)
class Review:
    """What a reviewer says of a token: who it is, or that it is nobody (`peer` None). `audiences` are those of the asked
    ones that the token is good for; `expires` is Unix seconds, or None if it does not say.
    """

    peer: Peer | None
    audiences: tuple[str, ...] = ()
    expires: float | None = None


class TokenReviewer(Protocol):
    """Who is this token?"""

    async def review(self, token: str, audiences: Sequence[str]) -> Review:
        """Raises: Unavailable."""
        ...


class Algorithm(StrEnum):
    """How a limit counts (DESIGN section 7)."""

    SLIDING_WINDOW = "sliding-window"
    FIXED_WINDOW = "fixed-window"
    TOKEN_BUCKET = "token-bucket"  # noqa: S105 - the name of an algorithm


@dataclass(frozen=True, slots=True)
class Demand:
    """So much of one counter: `cost` units of the `limit` per `window` seconds; `burst` is the bucket's size. Demands of one
    `group` may be made together; a store that is spread over several machines keeps a group on one.
    """

    counter: bytes
    algorithm: Algorithm
    limit: int
    window: float
    burst: int
    cost: int = 1
    group: bytes = b""


@dataclass(frozen=True, slots=True)
class Level:
    """One counter after the question: what is left, and the seconds until there is room for this demand (0 if there was)
    and until the counter is as good as new.
    """

    remaining: int
    retry_after: float
    reset_after: float


@dataclass(frozen=True, slots=True)
class Tally:
    """The answer to several demands: all were taken, or nothing was. One level for each demand, in order. `receipt` is
    what `settle` wants.
    """

    admitted: bool
    levels: tuple[Level, ...]
    receipt: object = None


class CounterStore(Protocol):
    """May I take so much?"""

    async def take(self, demands: Sequence[Demand]) -> Tally:
        """Check all demands and take all, or nothing. Raises: Unavailable."""
        ...

    async def settle(self, demands: Sequence[Demand], receipt: object, used: Sequence[int]) -> None:
        """Make of what one `take` took what was `used` in the end: one number for each demand, in units of cost.

        Less is returned to the counter, as far as time has not returned it already. More is taken now, even where there is no
        room: the counter is then overdrawn, and refuses until time has repaid it. As much as was taken is no work. What is
        never settled stays taken, and ages as all that is taken does. A receipt is good for once, and is used up by a
        settling that was Unavailable too: nothing is ever returned twice.

        Raises:
            Unavailable: nobody knows whether it was settled.
            ValueError: a number that is negative or absurd, or not one for each demand.
        """
        ...


class SecretStore(Protocol):
    """What is the secret at this path? One store is one entry of `secretSources`."""

    @property
    def backends(self) -> frozenset[str]:
        """The only Backends (`namespace/name`) that may receive its values."""
        ...

    async def read(self, path: Sequence[str], field: str) -> Secret | None:
        """The value at `path` (segments) and `field`, or None if there is none. It is a valid header value.

        Raises: Unavailable.
        """
        ...


class Dependency(Protocol):
    """Something outside that can be down. Readiness, `/status` and `doctor` ask it."""

    @property
    def name(self) -> str:
        """As operators know it: `redis`, `vault`, `kubernetes`."""
        ...

    async def probe(self) -> str | None:
        """None if it answers, else what is wrong with it: one sentence without secrets. Bounded in time by itself."""
        ...

    async def close(self) -> None:
        """Give back connections and tasks."""
        ...


@runtime_checkable
class Timed(Protocol):
    """An optional ability of a dependency: it counts and times its calls, probes aside."""

    @property
    def times(self) -> Mapping[CallOutcome, Times]: ...


@runtime_checkable
class Breaking(Protocol):
    """An optional ability of a dependency: a circuit breaker, which is `closed`, `open` or `half-open`."""

    @property
    def state(self) -> str: ...


@runtime_checkable
class Caching(Protocol):
    """An optional ability of whatever remembers answers: filters, and the outside with its secret sources. The uses of its
    caches, by names that operators know.
    """

    @property
    def caches(self) -> Mapping[str, CacheUse]: ...


class Outside(Protocol):
    """Everything outside, made when the configuration is loaded. What cannot be had is a ConfigError."""

    def expression(self, source: str) -> Expression: ...

    def reviewer(self, config: Mapping[str, Any], directory: Path) -> TokenReviewer:
        """`config` is `{"static": {"path": ...}}` or `{"kubernetes": {}}`."""
        ...

    def counters(self, store: str | None, fallback: str | None = None) -> CounterStore:
        """`memory` or `redis`; None takes what the configuration makes the default. `fallback` `local`: while that is
        unavailable, this process counts its share of each limit by itself.
        """
        ...

    def secrets(self, source: str) -> SecretStore: ...

    def kept(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` makes, or what it made for the last configuration under an equal `key`: for a cache that should not be
        empty after each reload. The key begins with the type of the filter, and has all that the value was made from.
        """
        ...

    @property
    def now(self) -> Callable[[], float]:
        """Unix seconds."""
        ...

    @property
    def dependencies(self) -> Mapping[str, Dependency]:
        """Those that some filter reaches, by name."""
        ...

    async def close(self) -> None:
        """Give back what was opened."""
        ...


@dataclass(frozen=True, slots=True)
class FilterContext:
    """What a filter is given: which extension it is, and the outside.

    `scope` is the object that it is attached to (`Gateway/egress/egress`); `namespace` is the policy's; `directory` is
    that of the document's file, for relative paths.
    """

    gateway: str
    scope: str
    extension: str
    namespace: str
    phase: Phase
    fail_open: bool
    pre_auth: bool
    directory: Path
    outside: Outside

    @property
    def backend_scope(self) -> str | None:
        """The Backend (`namespace/name`) that this extension is attached to, if it is."""
        kind, _, name = self.scope.partition("/")
        return name if kind == "Backend" else None
