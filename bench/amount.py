"""How much is measured: everything, or what fits into two minutes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Amount:
    """Through Envoy `rounds` of `seconds` with many callers and, if `one`, one round with a single one; then `steady` seconds
    at each of the rates, which are `fractions` of what the slowest can. With ghz `direct` seconds of each. `chats` times some
    streams of `events` each. Memory after `exchanges`; `starts` of a server. `all_legs`: what the transports cost with
    nothing to do, and counters in memory.
    """

    rounds: int
    seconds: int
    one: bool
    steady: int
    fractions: tuple[float, ...]
    direct: int
    chats: int
    events: int
    exchanges: int
    starts: int
    all_legs: bool


FULL = Amount(
    rounds=3,
    seconds=3,
    one=True,
    steady=4,
    fractions=(0.5, 0.8),
    direct=4,
    chats=10,
    events=60,
    exchanges=50_000,
    starts=3,
    all_legs=True,
)
QUICK = Amount(
    rounds=1,
    seconds=2,
    one=False,
    steady=2,
    fractions=(0.5,),
    direct=1,
    chats=3,
    events=40,
    exchanges=3_000,
    starts=2,
    all_legs=False,
)
