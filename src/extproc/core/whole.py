"""A body that is there as a whole, through the extension that rewrites it; and how much of such work goes without a pause."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from extproc.core.exchange import Exchange
from extproc.core.filter import BodyFilter, BodyTransformer, EndOfBody, Reading
from extproc.core.link import Link, Pace
from extproc.core.phase import Phase
from extproc.core.state import NO_CHANGE
from extproc.core.values import replace
from extproc.core.verdict import Continue, Verdict

T = TypeVar("T")

SLICE: Final = 64 * 1024
LONG: Final = 0.005
"""Body work between two pauses, in bytes and in seconds, whichever comes first: no body holds the event loop for long (DESIGN
section 6).
"""

BITE: Final = 8 * 1024
"""Bytes that a transformer is fed at once: those of a hostile body may be a hundred times the work of ordinary ones."""

Deciding = Callable[[Link, Phase, Exchange, Pace], Awaitable[Verdict]]
"""How an extension comes to its verdict."""


@dataclass(slots=True)
class Rests:
    """When one who works on a body lets others run."""

    pace: Pace
    _done: int = 0
    _since: float = field(init=False)

    def __post_init__(self) -> None:
        self._since = self.pace.now()

    async def after(self, size: int) -> None:
        """So many bytes of work are done, and there is more to do."""
        self._done += size
        if self._done >= SLICE or self.pace.now() - self._since >= LONG:
            await self.pace.pause()
            self._done, self._since = 0, self.pace.now()


def deciding(link: Link, phase: Phase, exchange: Exchange, pace: Pace) -> Awaitable[Verdict]:
    """The verdict of `link`: that of its filter, and of a body that is there as a whole what its transformer makes of it."""
    if link.transforming and phase.has_body:
        return _decide_and_transform(link, link.transforming, phase, exchange, pace)
    return link.filter.decide(phase, exchange)


async def _decide_and_transform(
    link: Link, filter_: BodyFilter, phase: Phase, exchange: Exchange, pace: Pace
) -> Verdict:
    verdict = await link.filter.decide(phase, exchange)
    if not isinstance(verdict, Continue):
        return verdict
    transformer = filter_.transformer(phase, exchange)
    if transformer is None:
        return verdict
    body, last = await _transform(transformer, phase, exchange, pace)
    watched = link.reading(phase, exchange) is Reading.WATCH
    return _joined(verdict, None if watched else body, last)


async def _transform(
    transformer: BodyTransformer, phase: Phase, exchange: Exchange, pace: Pace
) -> tuple[bytes, Verdict]:
    """The whole body through `transformer`, in slices between which others run and the timeout can strike."""
    message = exchange.response if phase.is_response else exchange.request
    body = (message.body if message else None) or b""
    done: list[bytes] = []
    rests = Rests(pace)
    try:
        for start in range(0, len(body), BITE):
            if start:
                await rests.after(BITE)
            done.append(transformer.feed(body[start : start + BITE]))
            while getattr(transformer, "behind", False):
                await rests.after(BITE)
                done.append(transformer.feed(b""))
    except EndOfBody as end:
        return b"".join((*done, end.last)), transformer.conclude()
    for rest in transformer.finish():
        done.append(rest)
        await rests.after(BITE)
    return b"".join(done), transformer.conclude()


def _joined(first: Continue, body: bytes | None, last: Verdict) -> Verdict:
    """What `decide` and the transformer said, as one verdict: what the transformer takes back was never set."""
    if not isinstance(last, Continue):
        return last
    if first == NO_CHANGE:
        return replace(last, body=body)
    headers, query = tuple(last.remove_headers), tuple(last.remove_query)
    return replace(
        last,
        set_headers={**_without(first.set_headers, headers), **last.set_headers},
        remove_headers=(*first.remove_headers, *headers),
        set_query={**_without(first.set_query, query), **last.set_query},
        remove_query=(*first.remove_query, *query),
        facts=(*first.facts, *last.facts),
        state=first.state if last.state is None else last.state,
        report={**first.report, **last.report},
        body=body,
    )


def _without(wanted: Mapping[str, T], names: Iterable[str]) -> dict[str, T]:
    gone = frozenset(map(str.casefold, names))
    return {name: value for name, value in wanted.items() if name.casefold() not in gone}
