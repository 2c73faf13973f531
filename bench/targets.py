"""The table of DESIGN section 11: what was promised, and what was measured in this run."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from bench.legs import CONSTANT, GO_HEADER, GO_NOTHING, OURS, Leg, Server, by_workers, four, header
from bench.section import Column, Section
from extproc.core.phase import Phase

Facts = Mapping[str, float]
Found = tuple[str, float]
"""Where it was measured (a transport, or nothing), and the figure."""


@dataclass(frozen=True)
class Target:
    """`least` or `most` is promised. `form` is how a figure is written."""

    what: str
    promised: str
    find: Callable[[Facts], Iterator[Found]]
    least: float | None = None
    most: float | None = None
    form: str = ".2f"

    def met(self, figure: float) -> bool:
        return (self.least is None or figure >= self.least) and (self.most is None or figure <= self.most)


def _engine(facts: Facts) -> Iterator[Found]:
    phases = (Phase.REQUEST_HEADERS, Phase.REQUEST_BODY, Phase.RESPONSE_HEADERS)
    yield from ((phase.value, facts[name]) for phase in phases if (name := f"engine, {phase}") in facts)


def _against(kind: str, ours: Callable[[Server], Leg], theirs: Leg) -> Callable[[Facts], Iterator[Found]]:
    def find(facts: Facts) -> Iterator[Found]:
        base = facts.get(f"{kind}, {theirs.name}")
        for leg in (leg for server in OURS for leg in by_workers(ours(server))):
            own = facts.get(f"{kind}, {leg.name}")
            if base and own:
                yield leg.who, own / base

    return find


def _one(name: str) -> Callable[[Facts], Iterator[Found]]:
    def find(facts: Facts) -> Iterator[Found]:
        if name in facts:
            yield "", facts[name]

    return find


def _each(kind: str) -> Callable[[Facts], Iterator[Found]]:
    def find(facts: Facts) -> Iterator[Found]:
        yield from ((server.value, facts[name]) for server in OURS if (name := f"{kind}, {server}") in facts)

    return find


CHEAPER = "CPU a request, against `grpc.aio` with a constant"

TARGETS = (
    Target("engine alone, a phase", "at most 15 µs", _engine, most=15, form=".1f"),
    Target("one header, against Go", "at least 1.0 times", _against("rate", header, GO_HEADER), least=1.0),
    Target(
        "four filters and Redis, against Go with nothing",
        "at least 0.5 times",
        _against("rate", four, GO_NOTHING),
        least=0.5,
    ),
    Target(CHEAPER, "at most 0.5 times", _against("server CPU", header, CONSTANT), most=0.5),
    Target(f"{CHEAPER}, each with its Envoy", "", _against("all CPU", header, CONSTANT)),
    Target("scan, slowest size", "at least 150 MB/s", _one("scan, slowest"), least=150, form=".0f"),
    Target(
        "scan, dearest byte against the cheapest", "flat (read as: at most 1.5 times)", _one("scan, spread"), most=1.5
    ),
    Target(
        "Redis limiter, against one EVALSHA each", "at least 3 times", _one("limiter, least"), least=3.0, form=".1f"
    ),
    Target("memory of one worker, idle, MB", "at most 120", _each("idle"), most=120, form=".0f"),
    Target("memory grown after many exchanges, MB", "at most 10", _each("grown"), most=10, form="+.1f"),
    Target("from start to ready, seconds", "at most 1", _each("ready"), most=1.0),
)


def section(facts: Facts) -> Section:
    """The rows for which there are figures."""
    rows = [
        (target.what, where, target.promised, format(figure, target.form), _word(target, figure))
        for target in TARGETS
        for where, figure in target.find(facts)
    ]
    note = "Section 11 of the design. In-process there is no server's CPU apart from Envoy's."
    columns = (Column("what"), Column("where"), Column("target"), Column("measured"), Column("met"))
    return Section("Targets", note, columns, tuple(rows))


def _word(target: Target, figure: float) -> str:
    if target.least is None and target.most is None:
        return ""
    return "yes" if target.met(figure) else "no"
