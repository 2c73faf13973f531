"""Somebody else's filter that tells what only the process itself knows: its tasks, and the objects that are not garbage."""

import asyncio
import gc
from typing import ClassVar

from extproc import Exchange, Phase, Respond, Verdict
from extproc.ports import FilterContext
from extproc.schema import Model

TASKS, OBJECTS = "x-soak-tasks", "x-soak-objects"


class InsideConfig(Model):
    """Nothing to configure."""


class Inside:
    """Answers in the place of an upstream. Objects are those that the collector looks through: what was there when the server
    began to serve is frozen, and does not count.
    """

    Config = InsideConfig
    phases: ClassVar[frozenset[Phase]] = frozenset({Phase.REQUEST_HEADERS})

    def __init__(self, config: InsideConfig, context: FilterContext) -> None:
        """Nothing is configured and nothing is asked of the outside."""

    async def decide(self, phase: Phase, exchange: Exchange) -> Verdict:  # noqa: ARG002 - the protocol's signature
        gc.collect()
        told = {TASKS: str(len(asyncio.all_tasks())), OBJECTS: str(len(gc.get_objects()))}
        return Respond(200, "inside", "This is how it stands inside.", headers=told)
