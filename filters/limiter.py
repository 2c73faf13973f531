"""Limits that are counted at once: how often, for whom."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from extproc import Continue, Exchange, Phase, Respond, Verdict
from extproc.core.verdict import deny
from extproc.ports import Demand, FilterContext
from extproc_filters.limits import QoSControllerConfig, Rule, Unresolved, rules_of
from extproc_filters.rate_headers import Spent, rate_headers


@dataclass(frozen=True, slots=True)
class Taken:
    """What one question took of an exchange's limits; `rules` and `demands` are in the same order."""

    rules: tuple[Rule, ...]
    demands: tuple[Demand, ...]
    receipt: object


class Limiter:
    """Takes from all limits that apply, or from none and denies."""

    phases: ClassVar[frozenset[Phase]] = frozenset({Phase.REQUEST_HEADERS})

    def __init__(self, config: QoSControllerConfig, context: FilterContext) -> None:
        """Raises: ConfigError."""
        self._counters = context.outside.counters(config.store, config.fallback)
        self._rules = rules_of(config, context)

    async def decide(self, phase: Phase, exchange: Exchange) -> Verdict:  # noqa: ARG002 - it has one phase
        rules = self._applying(exchange)
        if not rules:
            return Continue()
        taken = await self._take_first(rules, exchange)
        return Continue(state=taken) if isinstance(taken, Taken) else taken

    async def give_back(self, phase: Phase, exchange: Exchange) -> None:  # noqa: ARG002 - it has one phase
        if isinstance(exchange.state, Taken):
            await self._settle(exchange.state, [0] * len(exchange.state.demands))

    def _applying(self, exchange: Exchange) -> tuple[Rule, ...]:
        """Raises: ExpressionError."""
        return tuple(rule for rule in self._rules if rule.applies(exchange.variables))

    async def _take_first(self, rules: tuple[Rule, ...], exchange: Exchange, tokens: int = 1) -> Taken | Respond:
        """Of all `rules`, for an exchange that may cost so many tokens. Raises: Unavailable."""
        try:
            demands = tuple(rule.demand(exchange, tokens) for rule in rules)
        except Unresolved as error:
            return deny("key_unresolved", str(error))
        return await self._take(rules, demands)

    async def _take(self, rules: tuple[Rule, ...], demands: tuple[Demand, ...]) -> Taken | Respond:
        """Raises: Unavailable."""
        tally = await self._counters.take(demands)
        if tally.admitted:
            return Taken(rules, demands, tally.receipt)
        standing = zip(rules, demands, tally.levels, strict=True)
        spent = [Spent(rule.name, demand, level, rule.tokens) for rule, demand, level in standing]
        over = ", ".join(each.name for each in spent if each.level.retry_after > 0)
        return deny("rate_limited", f"over {over}", rate_headers(spent))

    async def _settle(self, taken: Taken, used: Sequence[int]) -> None:
        """Raises: Unavailable."""
        await self._counters.settle(taken.demands, taken.receipt, used)
