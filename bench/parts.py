"""The parts of a run, in their order. Each adds its sections to the report, and says what it could not measure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench import (
    direct,
    engine,
    guard,
    limiter,
    load_tables,
    memory,
    plot,
    scan,
    streams,
    streams_envoy,
    tables,
    through_envoy,
    workers,
)
from bench.amount import Amount
from bench.legs import Server, every
from bench.report import Report
from bench.section import Section
from bench.tools import BASELINE, GHZ
from extproc_filters.pii.scanner import Scanner


@dataclass(frozen=True)
class Run:
    """What is wanted. `servers` are the transports; `progress` and `show` tell of it on the way."""

    amount: Amount
    servers: Sequence[Server]
    record: bool
    progress: Callable[[str], None]
    show: Callable[[Section], None]
    report: Report

    def add(self, *sections: Section) -> None:
        for section in sections:
            self.report.sections.append(section)
            self.show(section)


@dataclass(frozen=True)
class Part:
    """`needs` are programs. `apart`: left out of a quick run."""

    work: Callable[[Run], None]
    needs: tuple[str, ...] = ()
    apart: bool = False


def _engine(run: Run) -> None:
    run.add(tables.of_engine(engine.measure()))


def _guard(run: Run) -> None:
    changes = guard.compare()
    run.add(tables.of_guard(changes))
    for change in changes:
        run.progress(change.sentence)
    if run.record:
        guard.record(changes)


def _streams(run: Run) -> None:
    run.add(tables.of_events(streams.measure()))
    found, skipped = streams_envoy.measure(streams_envoy.legs(run.servers), run.amount, run.progress)
    run.report.skipped += [leg.name for leg in skipped]
    if found:
        run.add(load_tables.of_streams(found, skipped))


def _scan(run: Run) -> None:
    run.add(scan.of_sizes(scan.sizes(Scanner())))


def _limiter(run: Run) -> None:
    run.add(tables.of_limiter(limiter.measure()))


def _direct(run: Run) -> None:
    run.add(load_tables.of_direct(direct.measure(direct.legs(run.servers), run.amount, run.progress)))


def _workers(run: Run) -> None:
    run.add(load_tables.of_workers(workers.measure(workers.legs(run.servers), run.amount.direct, run.progress)))


def _envoy(run: Run) -> None:
    legs = every(run.servers, whole=run.amount.all_legs)
    found = through_envoy.measure(legs, run.amount, run.progress)
    run.report.skipped += [leg.name for leg in found.skipped]
    run.report.picture = plot.svg(found)
    run.add(load_tables.of_closed(found), load_tables.of_steady(found))


def _memory(run: Run) -> None:
    alone = [server for server in run.servers if server is not Server.INSIDE]
    amount = run.amount
    run.add(tables.of_memory([memory.measure(each, amount.exchanges, amount.starts, run.progress) for each in alone]))


PARTS: Mapping[str, Part] = {
    "engine": Part(_engine),
    "guard": Part(_guard),
    "scan": Part(_scan, apart=True),
    "limiter": Part(_limiter, ("redis-server",), apart=True),
    "streams": Part(_streams),
    "direct": Part(_direct, (GHZ, BASELINE)),
    "workers": Part(_workers, (GHZ,), apart=True),
    "envoy": Part(_envoy, ("wrk", "h2load", "redis-server", BASELINE)),
    "memory": Part(_memory, (GHZ,)),
}
