"""What a filter is: a class with a `Config` model, the phases it supports, and one verb.

Optional abilities are separate small protocols: transform a body, establish the peer, give back what was taken.
"""

from collections.abc import Iterable
from typing import ClassVar, Protocol, runtime_checkable

from extproc.core.exchange import Exchange
from extproc.core.phase import Phase
from extproc.core.verdict import Verdict


@runtime_checkable
class Filter(Protocol):
    """Policy. `phases` are those that an extension of this type may name."""

    phases: ClassVar[frozenset[Phase]]

    async def decide(self, phase: Phase, exchange: Exchange) -> Verdict:
        """Judge the exchange at this point.

        Raises:
            Failure: it cannot decide; the extension's `failOpen` says what follows. Any other exception is a defect.
        """
        ...


class BodyTransformer(Protocol):
    """One body, as it passes. Written once for buffered and streamed bodies; made anew for each exchange."""

    def feed(self, chunk: bytes) -> bytes:
        """Take at most 64 KiB and give what may leave already."""
        ...

    def finish(self) -> Iterable[bytes]:
        """The body has ended: give the rest, in slices of work (at most about 64 KiB each), so that the event loop can
        breathe and the deadline be checked between them.
        """
        ...

    def conclude(self) -> Verdict:
        """What was found, after `finish`. A `body` in it is ignored: the body is what was given."""
        ...


@runtime_checkable
class BodyFilter(Filter, Protocol):
    """A filter that rewrites bodies. In a body phase `decide` is asked first (it may refuse by the headers alone), then
    the body goes through the transformer; None leaves it alone. `max_body_bytes` is the largest body that it reads: the
    gateway's buffers are made to fit.
    """

    max_body_bytes: int

    def transformer(self, phase: Phase, exchange: Exchange) -> BodyTransformer | None: ...


@runtime_checkable
class Authenticator(Filter, Protocol):
    """A filter that establishes the peer: its `Continue` has a `Peer` among the facts.

    `reads` are the headers (lower case) that hold its proof; no other extension and no upstream ever sees them.
    """

    reads: frozenset[str]


@runtime_checkable
class Following(Filter, Protocol):
    """A filter that, with its configuration, also runs in later phases, under the same name, priority and failOpen."""

    follow_ups: frozenset[Phase]


@runtime_checkable
class Compensating(Filter, Protocol):
    """A filter that takes something which is given back when a later extension of the same phase denies."""

    async def give_back(self, phase: Phase, exchange: Exchange) -> None:
        """Undo what `decide` took; `exchange.state` is what it left."""
        ...
