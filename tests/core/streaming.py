"""Filters whose bodies pass piece by piece, and conversations about them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from extproc.core.chain import Chain
from extproc.core.exchange import Exchange
from extproc.core.filter import Reading
from extproc.core.phase import Phase
from extproc.core.verdict import Continue, Verdict
from extproc.errors import Cause, Unavailable
from extproc.testing import Conversation, headers
from tests.core.driving import link

SSE = {"content-type": "text/event-stream"}
OPEN = frozenset(Cause) - {Cause.INTERRUPTED}


@dataclass
class Lines:
    """Upper case, line by line: what comes behind the last line feed is held back."""

    fails: BaseException | None = None
    after: int = 0
    says: Verdict | None = None
    held: bytes = b""
    fed: int = 0

    def feed(self, chunk: bytes) -> bytes:
        self.fed += len(chunk)
        if self.fails and self.fed > self.after:
            raise self.fails
        lines, feed, self.held = (self.held + chunk).rpartition(b"\n")
        return (lines + feed).upper()

    def finish(self) -> Iterable[bytes]:
        yield self.held.upper()

    def conclude(self) -> Verdict:
        return self.says or Continue(report={"bytes": self.fed}, state=self.fed)


@dataclass
class Streams:
    """A filter that reads as much as it is told, with a transformer that it is told."""

    how: Reading = Reading.STREAM
    transformer_: Any = field(default_factory=Lines)
    decides: Verdict = field(default_factory=Continue)
    max_body_bytes: int = 1000
    settled: list[tuple[object, bool]] = field(default_factory=list)
    phases: ClassVar[frozenset[Phase]] = frozenset(Phase)

    async def decide(self, phase: Phase, exchange: Exchange) -> Verdict:
        return self.decides

    def reading(self, phase: Phase, exchange: Exchange) -> Reading:
        return self.how

    def transformer(self, phase: Phase, exchange: Exchange) -> Any:
        return self.transformer_


class Settles(Streams):
    async def settle(self, exchange: Exchange, *, reached: bool) -> Mapping[str, int | str]:
        self.settled.append((exchange.state, reached))
        if self.how is Reading.NOTHING:
            raise Unavailable("the counters are down")
        return {"settled": 1}


def answering(*filters: Streams, covers: frozenset[Cause] = frozenset()) -> Chain:
    links = (
        link(f"s{index}", each, Phase.RESPONSE_BODY, priority=-index, covers=covers)
        for index, each in enumerate(filters)
    )
    return Chain(tuple(links), authentication=False)


def talk(chain: Chain) -> Conversation:
    begun = Conversation(chain)
    begun.say(headers(end=True))
    return begun


def joined(answers: list[Any]) -> bytes:
    return b"".join(answer.body or b"" for answer in answers)
