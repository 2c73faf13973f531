"""Demands as the arguments of `counters.lua`, and its answer as a `Tally`. Pure."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha1
from pathlib import Path
from typing import Final, NamedTuple, cast

from hiredis import pack_command

from extproc.ports import Algorithm, Demand, Level, Tally

SCRIPT: Final = Path(__file__).with_name("counters.lua").read_bytes()
SHA: Final = sha1(SCRIPT, usedforsecurity=False).hexdigest().encode()

MICRO: Final = 1_000_000
"""Redis tells the time in microseconds, so that is what its counters are kept in."""

LONGEST: Final = 2**52
"""Microseconds that a bucket may take to fill: 142 years. Beyond that a double of Lua would not be exact."""

LETTERS: Final = {Algorithm.SLIDING_WINDOW: b"s", Algorithm.FIXED_WINDOW: b"f", Algorithm.TOKEN_BUCKET: b"b"}
NUMBERS: Final = 5
"""How many the script answers for each demand: wait, two of the level, two of the receipt."""

Answer = Sequence[int]
Argument = bytes | int
Part = tuple[int, int]

pack: Final = cast("Callable[[tuple[str | Argument, ...]], bytes]", pack_command)
"""A command as Redis reads it. The library's own type says a tuple of one; it takes them of any length."""


@dataclass(slots=True)
class Receipt:
    """Two numbers of the script for each demand. Good for once."""

    parts: tuple[Part, ...]


class Change(NamedTuple):
    """What was taken of one demand, and how much more was used in the end, or less (below 0)."""

    demand: Demand
    difference: int
    part: Part


def key(prefix: bytes, demand: Demand) -> bytes:
    """`<prefix>{<group>}:<algorithm>:<counter>`, the bytes in hexadecimal. What is in braces decides the slot (Redis
    cluster specification, "Hash tags"); an empty tag would be none, so no group is `-`.
    """
    return b"%b{%b}:%b:%b" % (prefix, tag(demand), LETTERS[demand.algorithm], demand.counter.hex().encode())


def tag(demand: Demand) -> bytes:
    return demand.group.hex().encode() or b"-"


def take_arguments(demands: Sequence[Demand], now: int) -> list[Argument]:
    """`now` is microseconds; 0 lets Redis tell the time."""
    arguments: list[Argument] = [b"take", now]
    for demand in demands:
        arguments += _arguments(demand.algorithm, demand.limit, demand.window, demand.burst, demand.cost)
    return arguments


def settle_arguments(changes: Sequence[Change], now: int) -> list[Argument]:
    """`now` as for a take."""
    arguments: list[Argument] = [b"settle", now]
    for demand, difference, part in changes:
        arguments += _arguments(demand.algorithm, demand.limit, demand.window, demand.burst, abs(difference))
        arguments += (b"more" if difference > 0 else b"less", *part)
    return arguments


def tally(demands: Sequence[Demand], answer: Answer) -> Tally:
    numbers = iter(answer)
    admitted = next(numbers) == 1
    levels, parts = [], []
    for demand, wait, one, other, first, second in zip(demands, *[numbers] * NUMBERS, strict=True):
        levels.append(_level(demand, wait, one, other))
        parts.append((first, second))
    return Tally(admitted, tuple(levels), Receipt(tuple(parts)) if admitted else None)


@lru_cache(maxsize=4096)
def _arguments(algorithm: Algorithm, limit: int, window: float, burst: int, cost: int) -> tuple[bytes, ...]:
    """The same for every demand of a limit, so they are computed once.

    Raises: ValueError, for what cannot be counted exactly.
    """
    micros = round(window * MICRO)
    if micros < 1 or limit < 1 or cost < 0:
        raise ValueError(f"limit {limit}, window {window} s, cost {cost}: wanted are a positive limit and window")
    numbers = [micros, cost, limit]
    if algorithm is Algorithm.TOKEN_BUCKET:
        if burst * micros // limit > LONGEST:
            raise ValueError("a bucket that takes more than 142 years to fill is not served: lower its burst")
        slack = divmod((burst - cost) * micros, limit) if cost <= burst else (-1, 0)
        numbers += [*divmod(min(cost * micros, LONGEST * limit), limit), *slack]
    return (LETTERS[algorithm], *(b"%d" % number for number in numbers))


def _level(demand: Demand, wait: int, one: int, other: int) -> Level:
    retry_after = math.inf if wait < 0 else wait / MICRO
    if demand.algorithm is not Algorithm.TOKEN_BUCKET:
        return Level(one, retry_after, other / MICRO)
    window = round(demand.window * MICRO)
    debt = one * demand.limit + other  # in microseconds times the limit, as in `meters`
    left = (demand.burst * window - debt) // window
    return Level(max(0, left), retry_after, (one + (other > 0)) / MICRO)
