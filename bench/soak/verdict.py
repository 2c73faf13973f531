"""Whether it is flat: sentences for what is not."""

from collections.abc import Iterator

from bench.soak.run import Found

MOST_GROWTH = 10.0
"""MB from the base, which is after the first round, to the end (DESIGN section 11)."""

MOST_TREND = 4.0
"""MB in the second half of the run: what only fills a cache is over by then, and a leak goes on."""

MOST_OBJECTS = 20_000
"""Of Python's, more than at the base: caches and series of metrics. One left behind by each exchange would be a million."""

LATE = "504"
"""How an exchange ends for which an extension had no time left."""

FEW, TEN_THOUSAND = 10, 10_000
"""So many may be late, or one in so many: the machine is the load's, the server's, Redis' and perhaps others'."""


def problems(found: Found) -> list[str]:
    """What is not as it must be; empty if nothing is left behind."""
    base, last = found.samples[0], found.samples[-1]
    middle = found.samples[len(found.samples) // 2]
    wrong = list(found.stuck)
    if last.rss - base.rss >= MOST_GROWTH:
        wrong.append(f"memory grew by {last.rss - base.rss:.1f} MB since the first round; {MOST_GROWTH:g} are allowed")
    if last.rss - middle.rss >= MOST_TREND:
        wrong.append(f"memory grew by {last.rss - middle.rss:.1f} MB in the second half; {MOST_TREND:g} are allowed")
    if last.objects > base.objects + MOST_OBJECTS:
        wrong.append(f"there are {last.objects:,} objects in the end, and there were {base.objects:,}")
    wrong += [f"{name}: {getattr(last, name)} in the end, {getattr(base, name)} at first" for name in last.more(base)]
    if last.streams:
        wrong.append(f"{last.streams} streams are open, and nobody has any")
    return [*wrong, *_ends(found)]


def _ends(found: Found) -> Iterator[str]:
    late = sum(ends[LATE] for kind, ends in found.ends.items() if LATE not in kind.ends | kind.broken)
    most = max(FEW, found.exchanges // TEN_THOUSAND)
    if late > most:
        yield f"{late} exchanges ended with {LATE}: too late. On a machine that does other things, {most} may"
    for kind, ends in found.ends.items():
        right = kind.ends | kind.broken
        for end in sorted(ends.keys() - right - {LATE}):
            yield f"{kind.name}: {ends[end]} ended with {end!r}; right is {' or '.join(sorted(right))}"
