"""What a filter is: a class with a `Config` model, the phases it supports, and one verb.

Optional abilities are separate small protocols: transform a body, say how much of it is needed, establish the peer, give
back what was taken, settle it when its price is known.
"""

from collections.abc import Iterable, Mapping
from enum import IntEnum
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


class Reading(IntEnum):
    """How much of a body a filter needs, from the least to the most. The largest among the extensions of an exchange decides
    how Envoy sends it (DESIGN section 4, body modes).
    """

    NOTHING = 0
    """Leaves the body alone."""
    WATCH = 1
    """Sees each piece and changes none."""
    STREAM = 2
    """Rewrites pieces as they pass, and may hold some back."""
    WHOLE = 3
    """All of it, before any leaves."""


class EndOfBody(Exception):
    """Raised by `feed`: the body ends here, with `last`. What would follow never leaves."""

    def __init__(self, last: bytes = b"") -> None:
        super().__init__("the body ends here")
        self.last = last


class BodyTransformer(Protocol):
    """One body, as it passes. Written once for buffered and streamed bodies; made anew for each exchange."""

    def feed(self, chunk: bytes) -> bytes:
        """Take at most 64 KiB and give what may leave already. Whoever has more work to do on it than fits a slice has an
        attribute `behind` that is true then, and is fed nothing, after a pause, until it is not.

        Raises: Failure, EndOfBody.
        """
        ...

    def finish(self) -> Iterable[bytes]:
        """The body has ended: give the rest, in slices of work (at most about 64 KiB each), so that the event loop can
        breathe and the deadline be checked between them.
        """
        ...

    def conclude(self) -> Verdict:
        """What was found: after `finish`, or as far as it came, of a body that broke off. A `body` in it is ignored: the body
        is what was given. Of a streamed body the headers have left by then: what this says of them is a defect.
        """
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
class Streaming(BodyFilter, Protocol):
    """A body filter that says for each exchange how much of the body it needs; any other needs the WHOLE."""

    def reading(self, phase: Phase, exchange: Exchange) -> Reading:
        """Asked when the headers of the message are decided; of an answer also before there is one (`exchange.response` is
        None): the most that could be needed. Unless the body is buffered, `decide` and `transformer` follow at once, and what
        they change in the headers leaves with them; the body itself they do not see.
        """
        ...


@runtime_checkable
class Authenticator(Filter, Protocol):
    """A filter that establishes the peer: its `Continue` has a `Peer` among the facts.

    `reads` are the headers (lower case) that hold its proof; no other extension and no upstream ever sees them.
    """

    reads: frozenset[str]


@runtime_checkable
class Rerouting(Filter, Protocol):
    """A filter that chooses routes by the headers that it sets.

    `reroutes` are their names (lower case). What a caller sends under them is removed before anybody looks, and when one has
    changed Envoy chooses the route anew, and the engine with it.
    """

    reroutes: frozenset[str]


@runtime_checkable
class Following(Filter, Protocol):
    """A filter that, with its configuration, also runs in later phases, under the same name, priority and failOpen."""

    follow_ups: frozenset[Phase]


@runtime_checkable
class Compensating(Filter, Protocol):
    """A filter that takes something which is given back when a later extension of the same phase denies, or the engine. In a
    phase of the answer one that settles too is left to that.
    """

    async def give_back(self, phase: Phase, exchange: Exchange) -> None:
        """Undo what `decide` took; `exchange.state` is what it left. Nobody is asked when a client goes away in the middle of a
        phase: whoever must know of each end settles.
        """
        ...


@runtime_checkable
class Settling(Filter, Protocol):
    """A filter that takes something whose price is known only when the exchange is over."""

    async def settle(self, exchange: Exchange, *, reached: bool) -> Mapping[str, int | str]:
        """The exchange is over, however it ended. `exchange.state` is what this extension left last; `reached`: the request
        may have reached an upstream. Returns a report, as `Continue` has one.

        Asked once, in a task of its own, if the extension left a state and was not asked to give back.

        Raises:
            Failure: it stays as it was taken.
        """
        ...
