"""Requests through Envoy with and without ext_proc on the same route, in rounds that alternate."""

import statistics
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.gateway import Gateway, gateway
from bench.load import Load, load
from bench.process import cpu_seconds, memory_mb

CONFIGURATIONS = ("nothing", "four")
CALLERS = (1, 32)
ROUNDS = 3
SECONDS = 3
SENTENCE = "Please summarise the quarterly report for the steering committee and keep the tone friendly. "


@dataclass(frozen=True)
class Leg:
    """One configuration and number of callers; the medians of all rounds. Times in microseconds.

    `ratio` is requests a second with ext_proc over those without, in the same round; `server_cpu` and `envoy_cpu` are
    processor time for each governed request.
    """

    configuration: str
    callers: int
    direct: Load
    governed: Load
    ratio: float
    server_cpu: float
    envoy_cpu: float
    server_memory: float


@dataclass(frozen=True)
class _Round:
    direct: Load
    governed: Load
    server_cpu: float
    envoy_cpu: float


def request_body() -> bytes:
    """A chat request of 2 KB with one address in it."""
    text = (SENTENCE * 30)[:1900] + " Send it to jane.doe@example.com."
    return b'{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "%s"}]}' % text.encode()


def measure(progress: Callable[[str], None]) -> list[Leg]:
    """All legs, in about a minute. Raises: RuntimeError."""
    body = request_body()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="extproc-bench-")))
        file = directory / "body.json"
        file.write_bytes(body)
        gateways = []
        for name in CONFIGURATIONS:
            (directory / name).mkdir(mode=0o700)
            gateways.append(stack.enter_context(gateway(name, directory / name, body)))
        rounds: dict[tuple[str, int], list[_Round]] = {}
        for number in range(1, ROUNDS + 1):
            for callers in CALLERS:
                for each in gateways:
                    progress(f"round {number} of {ROUNDS}: {each.name}, {callers} at a time")
                    rounds.setdefault((each.name, callers), []).append(_round(each, file, callers))
        memory = {each.name: memory_mb(each.server) for each in gateways}
    return [_leg(name, callers, found, memory[name]) for (name, callers), found in rounds.items()]


def _round(each: Gateway, body: Path, callers: int) -> _Round:
    direct = load(each.url(governed=False), body, callers=callers, seconds=SECONDS)
    server, envoy = cpu_seconds(each.server), cpu_seconds(each.envoy)
    governed = load(each.url(governed=True), body, callers=callers, seconds=SECONDS)
    microseconds = 1e6 / max(1, governed.requests)
    return _Round(
        direct,
        governed,
        (cpu_seconds(each.server) - server) * microseconds,
        (cpu_seconds(each.envoy) - envoy) * microseconds,
    )


def _leg(name: str, callers: int, rounds: list[_Round], memory: float) -> Leg:
    return Leg(
        name,
        callers,
        _median([each.direct for each in rounds]),
        _median([each.governed for each in rounds]),
        statistics.median(each.governed.rate / each.direct.rate for each in rounds),
        statistics.median(each.server_cpu for each in rounds),
        statistics.median(each.envoy_cpu for each in rounds),
        memory,
    )


def _median(loads: list[Load]) -> Load:
    return Load(
        statistics.median(each.rate for each in loads),
        statistics.median(each.p50 for each in loads),
        statistics.median(each.p99 for each in loads),
        sum(each.requests for each in loads),
        sum(each.failed for each in loads),
    )
