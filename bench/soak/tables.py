"""What is shown of a run."""

from itertools import pairwise

from bench.section import Column, Section
from bench.soak.kinds import KINDS
from bench.soak.run import Found

SIZES = {"rss": "resident", "peak": "at most"}
COUNTS = ("descriptors", "threads", "streams", "tasks", "objects", "configurations")


def tables(found: Found) -> tuple[Section, Section]:
    """How it stood on the way, and how the exchanges ended."""
    return _states(found), _ends(found)


def _states(found: Found) -> Section:
    """At the begin, at the base, in the middle and at the end."""
    samples = [found.begun, *found.samples]
    cost = [
        None,
        *(
            (after.cpu - before.cpu) * 1e6 / max(1, after.exchanges - before.exchanges)
            for before, after in pairwise(samples)
        ),
    ]
    rows = tuple(
        (f"{each.exchanges:,}", *(getattr(each, name) for name in (*SIZES, *COUNTS)), cost[at])
        for at in (0, 1, len(samples) // 2, len(samples) - 1)
        for each in (samples[at],)
    )
    rate = found.exchanges / found.seconds
    note = (
        f"{found.exchanges:,} exchanges in {found.seconds:,.0f} s, {rate:,.0f} a second. Nothing was under way at a sample. "
        "The last column is the server's processor time for each exchange of the round before."
    )
    sizes = (Column(name, ".1f", " MB") for name in SIZES.values())
    return Section(
        "What is left behind",
        note,
        (Column("exchanges"), *sizes, *map(Column, COUNTS), Column("CPU", unit=" µs")),
        rows,
    )


def _ends(found: Found) -> Section:
    rows = tuple(
        (kind.name, ends.total(), ", ".join(f"{end}: {number:,}" for end, number in ends.most_common()))
        for kind in sorted(found.ends, key=KINDS.index)
        for ends in (found.ends[kind],)
    )
    return Section("How exchanges ended", "By their kind.", (Column("kind"), Column("exchanges"), Column("ends")), rows)
