"""Do the clocks agree? Tokens end by them, and so do what is cached and what is logged.

The clock of Redis is not asked: limits are counted by it alone, so it need not agree with any other.
"""

from collections.abc import Iterator
from typing import Final

from extproc.doctor.finding import Code, Finding

TOLERANCE: Final = 5.0
"""Seconds. A `Date` header has whole ones, and an answer takes its time."""


def of_clocks(server: float | None, envoy: float | None) -> Iterator[Finding]:
    """The seconds that each is ahead of this machine, as far as they are known."""
    if server is not None and envoy is not None and abs(server - envoy) > TOLERANCE:
        ahead = "ahead of" if envoy > server else "behind"
        problem = f"Envoy's clock is {abs(envoy - server):.0f} s {ahead} the server's"
        yield Finding(Code.SERVER_CLOCK, "clocks", problem, "synchronise both machines (NTP)")
        return
    offset = server if server is not None else envoy
    if offset is not None and abs(offset) > TOLERANCE:
        ahead = "ahead of" if offset > 0 else "behind"
        problem = f"the gateway's clock is {abs(offset):.0f} s {ahead} this machine's"
        yield Finding(Code.SERVER_CLOCK, "clocks", problem, "synchronise whichever is wrong (NTP)")
