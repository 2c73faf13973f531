"""Requests through Envoy: without ext_proc, and with each leg, in rounds that alternate."""

import statistics
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench.amount import Amount
from bench.gateway import Gateway, gateway
from bench.legs import Leg
from bench.load import Load, closed, steady
from bench.process import Memory, cpu_seconds, memory
from bench.redis_server import redis_server

SENTENCE = "Please summarise the quarterly report for the steering committee and keep the tone friendly. "
ONE, MANY = 1, 32
"""Callers, each with one request at a time."""

WARM_UP = 1
"""Seconds of load before the first round."""


@dataclass(frozen=True)
class Spent:
    """Microseconds of processor time for each request, by process."""

    server: float
    envoy: float
    redis: float

    @property
    def all(self) -> float:
        return self.server + self.envoy + self.redis


@dataclass(frozen=True)
class Round:
    """`ratio`: requests a second over those without ext_proc in the same round."""

    load: Load
    spent: Spent
    ratio: float = 1.0


@dataclass
class Measured:
    """By leg (None: without ext_proc): rounds by number of callers, one round by rate, memory after all of it (server and
    Envoy; of what is in-process, Envoy). `skipped` says why a leg was not measured.
    """

    closed: dict[Leg | None, dict[int, list[Round]]] = field(default_factory=dict)
    steady: dict[Leg | None, dict[float, Round]] = field(default_factory=dict)
    memory: dict[Leg, tuple[Memory | None, Memory]] = field(default_factory=dict)
    skipped: dict[Leg, str] = field(default_factory=dict)

    def typical(self, leg: Leg | None, callers: int) -> Round:
        """The medians of the rounds."""
        rounds = self.closed[leg][callers]
        return Round(
            _median([each.load for each in rounds]),
            Spent(*(statistics.median(getattr(each.spent, name) for each in rounds) for name in SPENT)),
            statistics.median(each.ratio for each in rounds),
        )


SPENT = ("server", "envoy", "redis")


def request_body() -> bytes:
    """A chat request of 2 KB with one address in it."""
    text = (SENTENCE * 30)[:1900] + " Send it to jane.doe@example.com."
    return b'{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "%s"}]}' % text.encode()


def measure(legs: Sequence[Leg], amount: Amount, progress: Callable[[str], None]) -> Measured:
    """Raises: RuntimeError, if not one leg could be started, or a load generator failed."""
    with ExitStack() as stack:
        run = Bench(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="xpb-"))), amount, progress)
        run.start(legs, stack)
        for number in range(amount.rounds):
            run.round(number)
        run.at_fixed_rates()
        return run.found


class Bench:
    """One run in `directory`."""

    def __init__(self, directory: Path, amount: Amount, progress: Callable[[str], None]) -> None:
        self._directory, self._amount, self._progress = directory, amount, progress
        self._body = directory / "body.json"
        self._body.write_bytes(request_body())
        self._gateways: list[Gateway] = []
        self._redis: int | None = None
        self.found = Measured()

    def start(self, legs: Sequence[Leg], stack: ExitStack) -> None:
        """Everything, and a little load on it. Raises: RuntimeError."""
        redis = stack.enter_context(redis_server(self._directory))
        self._redis = redis.pid
        for number, leg in enumerate(legs):
            folder = self._directory / str(number)
            folder.mkdir(mode=0o700)
            try:
                each = stack.enter_context(gateway(leg, folder, request_body(), redis=redis.url))
            except RuntimeError as error:
                self.found.skipped[leg] = str(error)
                self._progress(f"skipped: {leg.name}: {error}")
                continue
            self._gateways.append(each)
            closed(each.governed, self._body, callers=8, seconds=WARM_UP)
        if not self._gateways:
            raise RuntimeError("not one leg could be started")

    def round(self, number: int) -> None:
        """Each leg once with each number of callers. Every other round goes backwards, so that what drifts hits all alike."""
        for callers in (ONE, MANY) if self._amount.one and not number else (MANY,):
            self._progress(f"round {number + 1} of {self._amount.rounds}, {callers} at a time")
            first = self._gateways[0]
            without = self._closed(None, first, callers, 1.0)
            for each in self._gateways[:: -1 if number % 2 else 1]:
                self._closed(each.leg, each, callers, without.load.rate)
        self.found.memory = {
            each.leg: (memory(each.server) if each.server else None, memory(each.envoy)) for each in self._gateways
        }

    def at_fixed_rates(self) -> None:
        """All at the same rates: parts of what the slowest can."""
        slowest = min(self.found.typical(each.leg, MANY).load.rate for each in self._gateways)
        for fraction in self._amount.fractions:
            rate = round(slowest * fraction, -1) or 10.0
            self._progress(f"at {rate:,.0f} requests a second")
            self._steady(None, self._gateways[0], rate)
            for each in self._gateways:
                self._steady(each.leg, each, rate)

    def _closed(self, leg: Leg | None, each: Gateway, callers: int, without: float) -> Round:
        port = each.governed if leg else each.direct
        seconds = self._amount.seconds
        load, spent = self._spending(each, leg, lambda: closed(port, self._body, callers=callers, seconds=seconds))
        found = Round(load, spent, load.rate / without if leg else 1.0)
        self.found.closed.setdefault(leg, {}).setdefault(callers, []).append(found)
        return found

    def _steady(self, leg: Leg | None, each: Gateway, rate: float) -> None:
        port, log = (each.governed if leg else each.direct), self._directory / "h2load.tsv"
        seconds = self._amount.steady
        load, spent = self._spending(each, leg, lambda: steady(port, self._body, log, rate=rate, seconds=seconds))
        self.found.steady.setdefault(leg, {})[rate] = Round(load, spent)

    def _spending(self, each: Gateway, leg: Leg | None, work: Callable[[], Load]) -> tuple[Load, Spent]:
        """`work`, and what the processes spent meanwhile."""
        pids = (each.server if leg else None, each.envoy, self._redis if leg and leg.redis else None)
        before = [cpu_seconds(pid) if pid else 0.0 for pid in pids]
        load = work()
        after = [cpu_seconds(pid) if pid else 0.0 for pid in pids]
        each_request = 1e6 / max(1, load.requests)
        return load, Spent(*((end - start) * each_request for start, end in zip(before, after, strict=True)))


def _median(loads: list[Load]) -> Load:
    return Load(
        statistics.median(each.rate for each in loads),
        statistics.median(each.p50 for each in loads),
        statistics.median(each.p99 for each in loads),
        statistics.median(each.p999 for each in loads),
        sum(each.requests for each in loads),
        sum(each.failed for each in loads),
    )
