"""The end of an exchange: what its extensions took is settled, and what became of it is told."""

import re
from typing import Final

from extproc.core.chain import defect
from extproc.core.journal import Journal, Skip
from extproc.core.link import Link, Pace
from extproc.core.state import State
from extproc.errors import Failure, TimedOut

UNREACHED: Final = re.compile(
    r"no_healthy_upstream|cluster_not_found|direct_response|route_not_found|dns_resolution_failure|maintenance_mode"
    r"|(?:unconditional_)?drop_overload"
    r"|upstream_reset_before_response_started\{(?:remote_connection_failure|local_connection_failure|connection_failure"
    r"|connection_timeout|overflow)"
)
"""How Envoy's response code details begin where it could not even connect: no destination has seen the request."""


async def settle(links: list[Link], state: State, journal: Journal, pace: Pace, *, reached: bool) -> State:
    """`state` with what each of `links` reports at the end. What cannot be settled stays as it was taken, and is told."""
    for link in links:
        started = pace.now()
        try:
            state = await _one(link, state, pace, reached=reached)
        except Failure as error:
            journal.unsettled.append(Skip(link.name, link.phase, error.cause, str(error), pace.now() - started))
    return state


async def _one(link: Link, state: State, pace: Pace, *, reached: bool) -> State:
    """Raises: Failure."""
    if link.settling is None:
        return state
    try:
        report = await pace.bounded(link.settling.settle(state.view(link), reached=reached), link.timeout)
        return state.reporting(link.name, report)
    except TimeoutError:
        raise TimedOut(f"not settled within {link.timeout:g} s") from None
    except Failure:
        raise
    except Exception as error:  # noqa: BLE001 - a filter may raise anything, and the other extensions settle all the same
        raise defect(error) from None
