"""What was measured without load, as sections of the report."""

import statistics
from collections.abc import Callable, Sequence

from bench import limiter
from bench.engine import FILTERS, HEADERS, Cost
from bench.guard import Change
from bench.memory import Footprint
from bench.section import Column, Section
from bench.streams import PerEvent


def of_engine(costs: Sequence[Cost]) -> Section:
    return Section(
        "The engine alone",
        f"One core, no wire. {FILTERS} filters that do nothing in each of three phases, {HEADERS} header fields; the codec "
        "reads a message with the same fields and writes an answer that sets two. Microseconds.",
        (Column(""), Column("median of rounds", ".1f"), Column("best round", ".1f")),
        tuple((cost.name, cost.median, cost.best) for cost in costs),
        {cost.name: cost.median for cost in costs},
    )


def of_guard(changes: Sequence[Change]) -> Section:
    return Section(
        "Instructions",
        "Of the interpreter, in the engine, the codec and the filters: the same on a busy machine. What C does is not in them.",
        (Column(""), Column("now"), Column("recorded"), Column("change", "+.1%")),
        tuple(
            (each.what, each.now, each.recorded, each.now / each.recorded - 1 if each.recorded else None)
            for each in changes
        ),
        {f"instructions, {each.what}": each.now for each in changes},
    )


def of_limiter(rows: Sequence[limiter.Row]) -> Section:
    told = [
        (row.name, *_rates(row, lambda cost: cost.caller), *_rates(row, lambda cost: cost.caller + cost.server))
        for row in rows
    ]
    return Section(
        "The Redis limiter",
        f"{limiter.CALLERS} callers; exchanges per CPU second of the process that asks, and of it and Redis: one EVALSHA for "
        "each, and those of one turn of the loop in one write.",
        (
            Column("algorithm"),
            Column("one EVALSHA each"),
            Column("shared"),
            Column("ratio", ".1f"),
            Column("with Redis: each"),
            Column("shared"),
            Column("ratio", ".1f"),
        ),
        tuple(told),
        {"limiter, least": min(row[3] for row in told if "settled" not in row[0])},
    )


def _rates(row: limiter.Row, cost: Callable[[limiter.Cost], float]) -> tuple[float, float, float]:
    """Exchanges per CPU second in each of the two ways, and how many times as many they are in the second one."""
    alone, shared = (statistics.median(map(cost, costs)) for costs in (row.alone, row.shared))
    return 1e6 / alone, 1e6 / shared, alone / shared


def of_events(rows: Sequence[PerEvent]) -> Section:
    return Section(
        "An event of a streamed chat, in the engine",
        "Microseconds of one core for each event, as Envoy sends them one by one.",
        (Column("what reads the stream"), Column("mode"), Column("engine", ".1f"), Column("with the codec", ".1f")),
        tuple((row.reads, row.mode, row.engine, row.with_codec) for row in rows),
        {f"event, {row.reads}": row.with_codec for row in rows},
    )


def of_memory(rows: Sequence[Footprint]) -> Section:
    facts: dict[str, float] = {}
    for row in rows:
        server = row.leg.server
        facts |= {f"idle, {server}": row.idle.rss, f"grown, {server}": row.after.rss - row.idle.rss}
        facts |= {f"ready, {server}": row.ready}
    return Section(
        "Memory, and the start",
        "One worker with four filters, its counters in memory; conversations of ghz. RSS and PSS of the process that "
        "serves, and of its parent where it has one, in MB; seconds from the start until it says SERVING.",
        (
            Column("server"),
            Column("ready", ".2f", " s"),
            Column("idle, RSS", ".1f"),
            Column("PSS", ".1f"),
            Column("exchanges"),
            Column("after, RSS", ".1f"),
            Column("PSS", ".1f"),
            Column("grown", "+.1f"),
            Column("parent, RSS", ".1f"),
            Column("failed"),
        ),
        tuple(
            (
                row.leg.server.value,
                row.ready,
                row.idle.rss,
                row.idle.pss,
                row.exchanges,
                row.after.rss,
                row.after.pss,
                row.after.rss - row.idle.rss,
                row.parent.rss if row.parent else None,
                row.failed,
            )
            for row in rows
        ),
        facts,
    )
