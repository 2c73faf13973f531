"""What a client that was refused is told about its limits."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from extproc.ports import Demand, Level


@dataclass(frozen=True, slots=True)
class Spent:
    """One limit: its name, what was asked of it, how it stands, and whether it counts tokens instead of requests."""

    name: str
    demand: Demand
    level: Level
    tokens: bool = False


def rate_headers(limits: Sequence[Spent]) -> Mapping[str, str]:
    """`retry-after` (RFC 9110 section 10.2.3), `ratelimit` and `ratelimit-policy` (draft-ietf-httpapi-ratelimit-headers-10,
    lists of RFC 9651), and of each unit the limit that is longest in the way as OpenAI's clients read it.
    """
    worst = max(limits, key=_wait)
    told = {
        "retry-after": str(max(1, math.ceil(_wait(worst)))),
        "ratelimit": ", ".join(map(_standing, limits)),
        "ratelimit-policy": ", ".join(map(_policy, limits)),
    }
    for unit, tokens in (("requests", False), ("tokens", True)):
        if of_unit := [limit for limit in limits if limit.tokens is tokens]:
            told |= _openai(max(of_unit, key=_wait), unit)
    return told


def _wait(limit: Spent) -> float:
    """Seconds until it is worth asking again. What costs more than can ever be had (while each replica has only a share of the
    limit) may be asked for in the next window.
    """
    return limit.level.retry_after if math.isfinite(limit.level.retry_after) else limit.demand.window


def _openai(limit: Spent, unit: str) -> Mapping[str, str]:
    return {
        f"x-ratelimit-limit-{unit}": str(limit.demand.limit),
        f"x-ratelimit-remaining-{unit}": str(limit.level.remaining),
        f"x-ratelimit-reset-{unit}": duration(limit.level.reset_after),
    }


def _standing(limit: Spent) -> str:
    """`t` is never before `retry-after`: until then nothing is to be had."""
    seconds = math.ceil(max(limit.level.reset_after, _wait(limit)))
    return f'"{limit.name}";r={limit.level.remaining};t={seconds}'


def _policy(limit: Spent) -> str:
    """`w` counts whole seconds; a window that is none is left out. `qu` is the unit, if it is not requests."""
    unit = ';qu="tokens"' if limit.tokens else ""
    window = f";w={limit.demand.window:.0f}" if limit.demand.window.is_integer() else ""
    return f'"{limit.name}";q={limit.demand.limit}{unit}{window}'


def duration(seconds: float) -> str:
    """As OpenAI sends it, which is as Go writes it: `120ms`, `12s`, `6m0s`, `1h0m0s`. Rounded up."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
