"""Streamed chats through Envoy, with the chain and without, in turns."""

import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.amount import Amount
from bench.chat import REQUEST
from bench.gateway import Gateway, free_ports, gateway
from bench.legs import Leg, Server
from bench.load import quantile
from bench.process import running
from bench.reader import Seen, chats

CALLERS = 8
"""Chats at once: with the upstream's pace 800 events a second."""


@dataclass(frozen=True)
class Streamed:
    """`leg` None: without ext_proc. Microseconds, as (p50, p99): from when an event is sent until it is here; from the request
    to its first event; of a whole chat, beyond the time that the upstream takes for it.
    """

    leg: Leg | None
    events: tuple[float, float]
    first: tuple[float, float]
    whole: tuple[float, float]
    chats: int


def legs(servers: Sequence[Server]) -> tuple[Leg, ...]:
    return tuple(Leg(server, "identity, tokens, restore", "chat") for server in servers)


def measure(
    wanted: Sequence[Leg], amount: Amount, progress: Callable[[str], None]
) -> tuple[list[Streamed], dict[Leg, str]]:
    """And why a leg was left out. Raises: RuntimeError."""
    skipped: dict[Leg, str] = {}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="xpb-")))
        (port,) = free_ports(1)
        stack.enter_context(running([sys.executable, "-m", "bench.upstream", str(port)], directory / "upstream.log"))
        gateways = []
        for number, leg in enumerate(wanted):
            folder = directory / str(number)
            folder.mkdir(mode=0o700)
            try:
                gateways.append(stack.enter_context(gateway(leg, folder, REQUEST, upstream=port)))
            except RuntimeError as error:
                skipped[leg] = str(error)
                progress(f"skipped: {leg.name}: {error}")
        return _streamed(gateways, amount, progress) if gateways else [], skipped


def _streamed(gateways: Sequence[Gateway], amount: Amount, progress: Callable[[str], None]) -> list[Streamed]:
    seen: dict[Leg | None, Seen] = {None: Seen()}
    for number in range(amount.chats + 1):
        progress(f"chats, {number} of {amount.chats}")
        for each in gateways:
            found = chats(each.governed, callers=CALLERS, events=amount.events)
            if number:  # the first ones warm up
                seen.setdefault(each.leg, Seen()).add([found])
        found = chats(gateways[0].direct, callers=CALLERS, events=amount.events)
        if number:
            seen[None].add([found])
    return [
        Streamed(leg, _two(each.events), _two(each.first), _two(each.whole), len(each.whole))
        for leg, each in seen.items()
    ]


def _two(times: Sequence[float]) -> tuple[float, float]:
    return statistics.median(times), quantile(sorted(times), 0.99)
