"""Somebody else's filter, which fails as the request asks: `x-do` is a cause of DESIGN section 6."""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Final

from extproc import Continue, Exchange, Phase, Verdict
from extproc.errors import Malformed, TooLarge, Unavailable
from extproc.ports import FilterContext
from extproc.schema import Model

CANARY: Final = "canary-of-the-faulty-filter"
"""In the text of whatever is raised: no client may read it."""

FAILURES: Final[Mapping[str, type[Exception]]] = MappingProxyType(
    {"unavailable": Unavailable, "too-large": TooLarge, "malformed": Malformed, "defect": ValueError}
)


class FaultyConfig(Model):
    """Nothing to configure."""


class Faulty:
    """Without `x-do` it changes nothing."""

    Config = FaultyConfig
    phases: ClassVar[frozenset[Phase]] = frozenset(
        {Phase.REQUEST_HEADERS, Phase.REQUEST_BODY, Phase.BACKEND_REQUEST, Phase.RESPONSE_HEADERS, Phase.RESPONSE_BODY}
    )

    def __init__(self, config: FaultyConfig, context: FilterContext) -> None:
        self.config, self.context = config, context

    async def decide(self, phase: Phase, exchange: Exchange) -> Verdict:
        wish = exchange.request.headers.get("x-do") or ""
        if wish in FAILURES:
            raise FAILURES[wish](CANARY)
        if wish == "timeout":
            await asyncio.Event().wait()
        return Continue()
