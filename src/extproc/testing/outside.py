"""An outside made of plain values: what a filter's `FilterContext` leads to in a test."""

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from extproc.core.peer import Peer
from extproc.core.phase import Phase
from extproc.core.secret import Secret, seal
from extproc.errors import ConfigError
from extproc.ports import (
    CounterStore,
    Demand,
    Dependency,
    Expression,
    FilterContext,
    Level,
    Review,
    SecretStore,
    Tally,
    TokenReviewer,
)

T = TypeVar("T")


def compiled(source: str) -> Expression:
    """CEL, as the gateway compiles it. Raises: ConfigError."""
    from extproc.adapters.cel import Cel  # here, so that a test without CEL does not load its library

    return Cel().compile(source)


@dataclass(slots=True)
class Clock:
    """Seconds that pass only when a test says so."""

    seconds: float = 1_000_000.0

    def __call__(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.seconds += seconds


@dataclass(frozen=True, slots=True)
class Reviewer:
    """Knows these tokens, each good for every audience that is asked for."""

    tokens: Mapping[str, Peer] = field(default_factory=dict)

    async def review(self, token: str, audiences: Sequence[str]) -> Review:
        return Review(self.tokens.get(token), tuple(audiences))


@dataclass(frozen=True, slots=True)
class Counters:
    """Counters that no time empties: each has room for its limit, once."""

    used: Counter[bytes] = field(default_factory=Counter)

    async def take(self, demands: Sequence[Demand]) -> Tally:
        admitted = all(self.used[d.counter] + d.cost <= d.limit for d in demands)
        if admitted:
            self.used.update({d.counter: d.cost for d in demands})
        wait = 0.0 if admitted else max((d.window for d in demands), default=0.0)
        levels = tuple(Level(max(0, d.limit - self.used[d.counter]), wait, d.window) for d in demands)
        return Tally(admitted, levels, list(demands) if admitted else None)

    async def settle(self, demands: Sequence[Demand], receipt: object, used: Sequence[int]) -> None:
        if not isinstance(receipt, list):
            raise TypeError("settle wants the receipt of a take that was admitted")
        for demand, amount in zip(demands, used, strict=True):
            if demand in receipt:  # it is good for once
                receipt.remove(demand)
                self.used[demand.counter] += amount - demand.cost


@dataclass(frozen=True, slots=True)
class Secrets:
    """One secret source: `path/field` -> value. `backends` as `namespace/name`."""

    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    backends: frozenset[str] = frozenset({"egress/openai"})

    async def read(self, path: Sequence[str], field: str) -> Secret | None:
        value = self.values.get("/".join((*path, field)))
        return None if value is None else seal(value.encode())


@dataclass(frozen=True, slots=True)
class PlainOutside:
    """Everything outside, given by the test: `secret_sources` by their names, and one of each other thing."""

    now: Callable[[], float] = field(default_factory=Clock)
    token_reviewer: TokenReviewer = field(default_factory=Reviewer)
    counter_store: CounterStore = field(default_factory=Counters)
    secret_sources: Mapping[str, SecretStore] = field(default_factory=dict)
    dependencies: Mapping[str, Dependency] = field(default_factory=dict)

    async def close(self) -> None:
        """Nothing was opened."""

    def kept(self, key: Hashable, make: Callable[[], T]) -> T:  # noqa: ARG002 - the port's signature
        return make()

    def expression(self, source: str) -> Expression:
        return compiled(source)

    def reviewer(self, config: Mapping[str, Any], directory: Path) -> TokenReviewer:  # noqa: ARG002 - the port's signature
        return self.token_reviewer

    def counters(self, store: str | None, fallback: str | None = None) -> CounterStore:  # noqa: ARG002 - the port's signature
        return self.counter_store

    def secrets(self, source: str) -> SecretStore:
        if source not in self.secret_sources:
            known = ", ".join(sorted(self.secret_sources)) or "none"
            raise ConfigError(f"there is no secret source {source!r}; the known ones: {known}")
        return self.secret_sources[source]


def _reviewer(tokens: Mapping[str, Peer] | TokenReviewer | None) -> TokenReviewer:
    return Reviewer(tokens or {}) if tokens is None or isinstance(tokens, Mapping) else tokens


def context(
    *,
    gateway: str = "egress/egress",
    scope: str = "Gateway/egress/egress",
    extension: str = "under-test",
    namespace: str = "egress",
    phase: Phase = Phase.REQUEST_HEADERS,
    fail_open: bool = False,
    pre_auth: bool = False,
    directory: Path | None = None,
    now: Callable[[], float] | None = None,
    tokens: Mapping[str, Peer] | TokenReviewer | None = None,
    counters: CounterStore | None = None,
    secrets: Mapping[str, SecretStore | Mapping[str, str]] | None = None,
) -> FilterContext:
    """What a filter is given. `tokens` is a reviewer, or whose each token is; `secrets` are sources by name, each a store or
    simply `{"path/field": "value"}`.
    """
    sources = {name: Secrets(found) if isinstance(found, Mapping) else found for name, found in (secrets or {}).items()}
    outside = PlainOutside(now or Clock(), _reviewer(tokens), counters or Counters(), sources)
    return FilterContext(gateway, scope, extension, namespace, phase, fail_open, pre_auth, directory or Path(), outside)
