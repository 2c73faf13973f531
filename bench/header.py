"""Somebody else's filter that sets one header: what the Go baseline does."""

from typing import ClassVar

from extproc import Continue, Exchange, Phase, Verdict
from extproc.ports import FilterContext
from extproc.schema import Model

SETS_ONE = Continue(set_headers={"x-bench": "set by the bench"})


class OneHeaderConfig(Model):
    """Nothing to configure."""


class OneHeader:
    """Sets `x-bench`."""

    Config = OneHeaderConfig
    phases: ClassVar[frozenset[Phase]] = frozenset({Phase.REQUEST_HEADERS})

    def __init__(self, config: OneHeaderConfig, context: FilterContext) -> None:
        """Nothing is configured and nothing is asked of the outside."""

    async def decide(self, phase: Phase, exchange: Exchange) -> Verdict:  # noqa: ARG002 - the protocol's signature
        return SETS_ONE
