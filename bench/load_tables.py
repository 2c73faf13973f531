"""What was measured under load, as sections of the report."""

from collections.abc import Sequence

from bench import ghz
from bench.direct import Alone
from bench.legs import Leg, Server
from bench.load import Load
from bench.section import Cell, Column, Section
from bench.streams_envoy import CALLERS, Streamed
from bench.through_envoy import MANY, Measured, Round
from bench.upstream import PACE
from bench.workers import PART, Crew

WITHOUT = "no ext_proc"
US = " µs"
WHO = Column("server: what it does")
PERCENTILES = (Column("p50", unit=US), Column("p99", unit=US), Column("p99.9", unit=US))
SERVER_CPU = Column("server CPU", unit=US)
CPU = (SERVER_CPU, Column("Envoy CPU", unit=US), Column("Redis CPU", unit=US), Column("all CPU", unit=US))
FAILED = Column("failed")

CLOSED = """wrk, so many callers with one request at a time, POST with a JSON body of 2 KB; medians where there are several
rounds (of the many callers {rounds}), which alternate. Load, Envoy, upstream and the server share the cores, so
only ratios within one run say something. `ratio` is to the same route without ext_proc; CPU is processor time for each
request. Four filters are TokenReview (cached), QoSController, CredentialInjector and PIIDetector. In-process the server's time
is in Envoy's."""

STEADY = """h2load, HTTP/2, requests that come evenly however long the answers take; the same rates for all: parts of what the
slowest can."""

DIRECT = """ghz, without Envoy: {callers} callers on {connections} connections, each with conversations of a request's headers
(20 fields) and its body of 2 KB; then at fixed rates. All of them are one peer's: beyond 100 at once they are denied with 429,
and ghz sends the body all the same, which Envoy does not; so calls fail at a rate that is near what a server can do."""

WORKERS = """ghz, {callers} callers for each worker on a socket of its own, and conversations as above, with one header set.
Each worker may use {part:.0%} of a core, so that neither the load nor the other workers take from it: what they serve together
grows as their number does, unless they wait for something that they share."""

STREAMS = """{callers} chats at once, an event each {pace:.0f} ms; the chain reads identity, counts tokens, and puts back what
was replaced in the prompt. Microseconds: of an event from when the upstream sent it until the client had it; from the request
to the first event; of a whole chat beyond the time that the upstream took."""


def of_closed(found: Measured) -> Section:
    columns = (
        WHO,
        Column("callers"),
        Column("requests/s"),
        Column("ratio", ".2f"),
        *PERCENTILES,
        *CPU,
        Column("RSS", unit=" MB"),
        FAILED,
    )
    typical = {(leg, callers): found.typical(leg, callers) for leg in found.closed for callers in found.closed[leg]}
    rows = [
        (
            _name(leg),
            callers,
            each.load.rate,
            each.ratio,
            *_percentiles(each.load),
            *_cpu(each),
            _rss(found, leg),
            _failed(each.load),
        )
        for (leg, callers), each in sorted(typical.items(), key=lambda item: item[0][1])
    ]
    rounds = max(len(by[MANY]) for by in found.closed.values())
    note = CLOSED.format(rounds=rounds) + _skipped(found.skipped)
    return Section("Through Envoy, as fast as it goes", note, columns, tuple(rows), _facts(found))


def _facts(found: Measured) -> dict[str, float]:
    facts: dict[str, float] = {}
    for leg in found.closed:
        many = found.typical(leg, MANY)
        facts[f"rate, {_name(leg)}"] = many.load.rate
        facts[f"server CPU, {_name(leg)}"] = many.spent.server
        facts[f"all CPU, {_name(leg)}"] = many.spent.all
    return facts


def of_steady(found: Measured) -> Section:
    columns = (WHO, Column("requests/s"), *PERCENTILES, *CPU, FAILED)
    rows = [
        (_name(leg), each.load.rate, *_percentiles(each.load), *_cpu(each), _failed(each.load))
        for rate in sorted({rate for by in found.steady.values() for rate in by})
        for leg, by in found.steady.items()
        for each in (by[rate],)
    ]
    return Section("Through Envoy, at fixed rates", STEADY, columns, tuple(rows))


def of_direct(found: Sequence[Alone]) -> Section:
    columns = (WHO, Column("load"), Column("conversations/s"), *PERCENTILES, SERVER_CPU, FAILED)
    rows: list[tuple[Cell, ...]] = []
    for each in found:
        rows.append(
            (each.leg.name, "full", each.closed.rate, *_percentiles(each.closed), each.cpu, _failed(each.closed))
        )
        rows += [(each.leg.name, "fixed", load.rate, *_percentiles(load), None, _failed(load)) for load in each.steady]
    rows.sort(key=lambda row: row[1] == "fixed")
    note = DIRECT.format(callers=ghz.CALLERS, connections=ghz.CONNECTIONS)
    return Section("The servers alone", note, columns, tuple(rows))


def of_workers(found: Sequence[Crew]) -> Section:
    times = Column("times one worker", ".2f")
    columns = (WHO, Column("workers"), Column("conversations/s"), times, SERVER_CPU, FAILED)
    rows = tuple((each.leg.name, each.workers, each.rate, each.times, each.cpu, each.failed) for each in found)
    return Section("More workers", WORKERS.format(callers=ghz.CALLERS, part=PART), columns, rows)


def of_streams(found: Sequence[Streamed], skipped: dict[Leg, str]) -> Section:
    columns = (
        Column("server"),
        Column("event, p50", unit=US),
        Column("added", "+,.0f", US),
        Column("p99", unit=US),
        Column("first event, p50", unit=US),
        Column("p99", unit=US),
        Column("chat, p50", unit=US),
        Column("p99", unit=US),
        Column("chats"),
    )
    base = next((each.events[0] for each in found if each.leg is None), 0.0)
    rows = tuple(
        (
            each.leg.server.value if each.leg else WITHOUT,
            each.events[0],
            each.events[0] - base if each.leg else None,
            each.events[1],
            *each.first,
            *each.whole,
            each.chats,
        )
        for each in found
    )
    note = STREAMS.format(callers=CALLERS, pace=PACE * 1000) + _skipped(skipped)
    facts = {f"event added, {each.leg.server}": each.events[0] - base for each in found if each.leg}
    return Section("Streamed chats through Envoy", note, columns, rows, facts)


def _name(leg: Leg | None) -> str:
    return leg.name if leg else WITHOUT


def _percentiles(load: Load) -> tuple[Cell, Cell, Cell]:
    return load.p50, load.p99, load.p999


def _cpu(each: Round) -> tuple[Cell, ...]:
    spent = each.spent
    return spent.server or None, spent.envoy, spent.redis or None, spent.all


def _failed(load: Load) -> str:
    return f"{load.failed:,} of {load.requests:,}"


def _rss(found: Measured, leg: Leg | None) -> float | None:
    """Of the server; in-process, of Envoy."""
    if leg is None:
        return None
    server, envoy = found.memory[leg]
    return server.rss if server else envoy.rss if leg.server is Server.INSIDE else None


def _skipped(skipped: dict[Leg, str]) -> str:
    return "".join(f"\n\nNot measured: {leg.name}: {why.splitlines()[0]}" for leg, why in skipped.items())
