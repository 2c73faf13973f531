"""A filter that leaves behind what it should not: at each exchange a task, a descriptor and a megabyte."""

import asyncio
import os
from typing import Any, ClassVar

from extproc import Continue, Exchange, Phase, Verdict
from extproc.ports import FilterContext
from extproc.schema import Model

KEPT: list[Any] = []


class LeakingConfig(Model):
    """Nothing to configure."""


class Leaking:
    """Lets everything pass."""

    Config = LeakingConfig
    phases: ClassVar[frozenset[Phase]] = frozenset({Phase.REQUEST_HEADERS})

    def __init__(self, config: LeakingConfig, context: FilterContext) -> None:
        """Nothing is configured and nothing is asked of the outside."""

    async def decide(self, phase: Phase, exchange: Exchange) -> Verdict:
        KEPT.append((asyncio.ensure_future(asyncio.Event().wait()), os.dup(0), os.urandom(1 << 20)))
        return Continue()
