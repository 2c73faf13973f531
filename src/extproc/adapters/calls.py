"""Calls to a dependency, counted and timed."""

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from extproc.adapters.breaker import Unasked
from extproc.core.measure import CallOutcome, Times

T = TypeVar("T")


async def counted(
    times: Mapping[CallOutcome, Times], work: Awaitable[T], ticks: Callable[[], float] = time.monotonic
) -> T:
    """What `work` gives. Whoever leaves before it is there has waited in vain: a failure too. `ticks` counts seconds."""
    started, outcome = ticks(), CallOutcome.FAILED
    try:
        found = await work
        outcome = CallOutcome.ANSWERED
    except Unasked:
        outcome = CallOutcome.REFUSED
        raise
    finally:
        times[outcome].add(ticks() - started)
    return found
