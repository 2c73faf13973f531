"""What was measured without load, as sections of the report."""

import statistics
from collections.abc import Sequence

from bench import limiter, scan
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


def of_scan(rows: Sequence[scan.Size]) -> Section:
    costs = [row.seconds / row.size * 1e9 for row in rows]
    return Section(
        "The scan for personal data",
        "All entities, ordinary text, one core; worst cases: `python -m bench.scan`.",
        (Column("characters"), Column("MB/s"), Column("ns a byte", ".1f")),
        tuple((f"{row.size:,}", row.speed, cost) for row, cost in zip(rows, costs, strict=True)),
        {"scan, slowest": min(row.speed for row in rows), "scan, spread": max(costs) / min(costs)},
    )


def of_limiter(rows: Sequence[limiter.Row]) -> Section:
    """Operations per CPU second of the process that asks."""
    told = []
    for row in rows:
        alone, shared = (statistics.median(cost.caller for cost in costs) for costs in (row.alone, row.shared))
        told.append((row.name, 1e6 / alone, 1e6 / shared, alone / shared))
    return Section(
        "The Redis limiter",
        f"{limiter.CALLERS} callers; exchanges per CPU second of the process that asks: one EVALSHA for each, and those of one "
        "turn of the loop in one write. With Redis' own time: `python -m bench.limiter`.",
        (Column("algorithm"), Column("one EVALSHA each"), Column("shared"), Column("ratio", ".1f")),
        tuple(told),
        {"limiter, least": min(ratio for name, _, _, ratio in told if "settled" not in name)},
    )


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
