"""The limits of QoSController: what an operator writes, and each one made ready."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from extproc import Exchange
from extproc.core.peer import Peer
from extproc.core.publish import TokenLimit
from extproc.errors import ConfigError, ExpressionError, Place
from extproc.ports import Algorithm, Demand, Expression, FilterContext
from extproc.schema import Duration, Model
from extproc_filters.keys import Keys

NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
"""What a limit may be called: it stands in headers (RFC 9651 section 3.3.3) and in metrics."""

MOST: Final = 1_000_000_000
MOST_EXACT: Final = 100_000
"""A sliding window remembers each request in it, so it cannot be as large as the others. Tokens come many at a time."""

LONGEST: Final = 31 * 24 * 3600.0
"""Seconds of the longest window."""

SLOWEST: Final = 10 * 365 * 24 * 3600.0
"""Seconds for a bucket to fill."""

Amount = Annotated[int, Field(ge=1, le=MOST)]
Source = Annotated[str, Field(min_length=1, max_length=4096)]


class Limit(Model):
    """So many `requests`, or `tokens`, per `window` for each value of `key`."""

    name: Annotated[str, Field(pattern=NAME)]
    requests: Amount | None = None
    tokens: Amount | None = None
    window: Annotated[Duration, Field(ge=0.001, le=LONGEST)]
    algorithm: Annotated[Algorithm, Field(strict=False)] = Algorithm.SLIDING_WINDOW
    burst: Amount | None = None
    key: Annotated[list[Source], Field(min_length=1, max_length=8)] | None = None
    when: Source | None = None

    @property
    def amount(self) -> int:
        return self.requests or self.tokens or 0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.requests is None) == (self.tokens is None):
            raise ValueError("a limit counts exactly one of `requests` and `tokens`")
        if self.burst is not None and self.algorithm is not Algorithm.TOKEN_BUCKET:
            raise ValueError("`burst` is the size of a bucket: it goes with `algorithm: token-bucket`")
        if (self.burst or 0) * self.window / self.amount > SLOWEST:
            what = "requests" if self.requests else "tokens"
            raise ValueError(f"the bucket would take more than ten years to fill: a smaller `burst`, or more `{what}`")
        if self.algorithm is Algorithm.SLIDING_WINDOW and (self.requests or 0) > MOST_EXACT:
            raise ValueError(
                f"a sliding window of more than {MOST_EXACT} requests is not served: use token-bucket or fixed-window"
            )
        return self


class QoSControllerConfig(Model):
    """`requestsPerMinute` is short for a sliding window of one minute for each peer.

    `reserve` are the tokens that a request is taken to cost if it does not say how long it is, `reserveOutput` those of its
    answer if it does not limit them. A stream that has cost `cutAfter` times what was reserved is ended.
    """

    requests_per_minute: Annotated[int, Field(ge=1, le=MOST_EXACT)] | None = None
    limits: Annotated[list[Limit], Field(max_length=32)] = Field(default_factory=list)
    store: Literal["memory", "redis"] | None = None
    fallback: Literal["local"] | None = None
    reserve: Annotated[int, Field(ge=1, le=MOST)] = 1000
    reserve_output: Annotated[int, Field(ge=0, le=MOST)] = 1000
    cut_after: Annotated[float, Field(ge=1, le=1000)] | None = None
    max_body_bytes: Annotated[int, Field(gt=0, le=64 * 1024 * 1024)] = 1024 * 1024

    @property
    def all_limits(self) -> list[Limit]:
        if self.requests_per_minute is None:
            return self.limits
        short = {"name": "requests-per-minute", "requests": self.requests_per_minute, "window": "1m"}
        return [Limit.model_validate(short), *self.limits]

    @property
    def counts_tokens(self) -> bool:
        return any(limit.tokens for limit in self.limits)

    @model_validator(mode="after")
    def _some(self) -> Self:
        names = [limit.name for limit in self.all_limits]
        if not names:
            raise ValueError("there is no limit: set `requestsPerMinute` or `limits`")
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two limits are named {min(twice)!r}: give each a name of its own")
        if FOR_TOKENS & self.model_fields_set and not self.counts_tokens:
            raise ValueError("`reserve`, `reserveOutput`, `cutAfter` and `maxBodyBytes` are for limits on `tokens`")
        return self


FOR_TOKENS: Final = frozenset({"reserve", "reserve_output", "cut_after", "max_body_bytes"})


class Unresolved(Exception):
    """A key has no value for this exchange: there is no counter to count on."""


class Rule:
    """One limit, made ready when the configuration is loaded. `most` is the largest cost that it can ever admit;
    `told` is what others are told of a limit on tokens."""

    def __init__(self, limit: Limit, context: FilterContext, place: str) -> None:
        """Raises: ConfigError, for the default key where the peer is hidden."""
        self.name = limit.name
        self.tokens = limit.tokens is not None
        self._limit = limit.amount
        self._window = limit.window
        self.told = TokenLimit(limit.amount, limit.window)
        self._algorithm = limit.algorithm
        self._burst = limit.burst or limit.amount
        self.most = self._burst if limit.algorithm is Algorithm.TOKEN_BUCKET else limit.amount
        self._key = tuple(
            _expression(source, context, f"{place}.key[{index}]") for index, source in enumerate(limit.key or ())
        )
        self._when = _expression(limit.when, context, f"{place}.when") if limit.when else None
        if context.pre_auth and not self._key:
            raise ConfigError(
                "the default key is the peer, which a preAuth extension never sees: write a `key`", Place(field=place)
            )
        window = f"{limit.window:.9f}"
        self._group = Keys(context.gateway, context.scope, context.extension).key()
        self._counters = Keys(
            context.gateway, context.scope, context.extension, limit.name, limit.algorithm.value, window
        )

    def applies(self, variables: Mapping[str, object]) -> bool:
        """Raises: ExpressionError."""
        if self._when is None:
            return True
        value = self._when(variables)
        if not isinstance(value, bool):
            raise ExpressionError(f"`when` of limit {self.name!r} is a {type(value).__name__}, not a bool")
        return value

    def demand(self, exchange: Exchange, tokens: int = 1) -> Demand:
        """What an exchange that may cost so many tokens takes: never more than could be had. Raises: Unresolved."""
        values = self._values(exchange.variables) if self._key else _workload(exchange.peer, self.name)
        counter = self._counters.key(*values)
        cost = min(tokens, self.most) if self.tokens else 1
        return Demand(counter, self._algorithm, self._limit, self._window, self._burst, cost, self._group)

    def _values(self, variables: Mapping[str, object]) -> Sequence[str]:
        try:
            return [_scalar(expression(variables), self.name) for expression in self._key]
        except ExpressionError as error:
            raise Unresolved(f"limit {self.name!r}: {error}") from None


def rules_of(config: QoSControllerConfig, context: FilterContext) -> tuple[Rule, ...]:
    """Raises: ConfigError."""
    shorthand = len(config.all_limits) - len(config.limits)
    return tuple(
        Rule(limit, context, f"config.limits[{index - shorthand}]" if index >= shorthand else "config")
        for index, limit in enumerate(config.all_limits)
    )


def _expression(source: str, context: FilterContext, place: str) -> Expression:
    try:
        return context.outside.expression(source)
    except ConfigError as error:
        raise ConfigError(error.message, Place(field=place), error.reason) from None


def _workload(peer: Peer | None, limit: str) -> Sequence[str]:
    if peer is None or not peer.namespace or not peer.service_account:
        raise Unresolved(f"limit {limit!r}: the caller is no ServiceAccount")
    return peer.namespace, peer.service_account


def _scalar(value: object, limit: str) -> str:
    """The value with its type, so that 1 and "1" are two keys. An empty one is as good as none."""
    if isinstance(value, bool | int | float) or (isinstance(value, str | bytes) and value):
        return f"{type(value).__name__}:{value!r}"
    raise Unresolved(f"limit {limit!r}: the key is empty or a {type(value).__name__}")
