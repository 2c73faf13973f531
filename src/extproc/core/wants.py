"""What an exchange still wants once request-headers are decided: which later phases, and how much of the bodies."""

from typing import NamedTuple

from extproc.core.chain import UNAUTHENTICATED, Chain, Denial
from extproc.core.event import BodyMode, Modes
from extproc.core.filter import Reading
from extproc.core.journal import Journal
from extproc.core.link import Link
from extproc.core.phase import Direction, Phase
from extproc.core.state import State
from extproc.core.verdict import deny
from extproc.errors import Cause, ExpressionError

MODES = {
    Reading.NOTHING: BodyMode.NONE,
    Reading.WATCH: BodyMode.STREAMED,
    Reading.STREAM: BodyMode.FULL_DUPLEX_STREAMED,
    Reading.WHOLE: BodyMode.BUFFERED,
}
"""How Envoy sends a body of which so much is needed."""

EARLY = {**{reading: reading for reading in Reading}, Reading.STREAM: Reading.WATCH}
NOTHING = Reading.NOTHING


class Wants(NamedTuple):
    """Until the response's headers are decided, `response_body` is the most that could be needed. `response_headers` says
    whether they are wanted for themselves: by extensions, to mask credentials, or to know whether anybody was reached, which is
    what is settled by. Who wants the body gets them too. `response_trailers`: they are wanted, though nobody reads the body.
    """

    request_body: Reading = NOTHING
    response_headers: bool = False
    response_body: Reading = NOTHING
    response_trailers: bool = False

    def of(self, direction: Direction) -> Reading:
        return self.request_body if direction is Direction.REQUEST else self.response_body

    def modes(self) -> Modes:
        """What Envoy is told. Trailers of a response that is inspected come too: they may be what ends it."""
        answered = self.response_body > NOTHING
        trailers = answered or self.response_trailers
        return Modes(MODES[self.request_body], self.response_headers or answered, MODES[self.response_body], trailers)

    def early_modes(self, *, ended: bool) -> Modes:
        """What Envoy is told with the request's headers, `ended` if they are all of it. An answer that will not be needed
        whole is announced as STREAMED: of one that is to be buffered Envoy takes no more than its buffer before the headers
        are answered, and one that is streamed both ways cannot be anything else later.
        """
        request = NOTHING if ended else self.request_body
        return Wants(request, self.response_headers, EARLY[self.response_body]).modes()


def wants(chain: Chain, state: State, journal: Journal) -> Wants | Denial:
    """What the chain wants of the rest of this exchange, or why it cannot have it."""
    if chain.authentication and chain.authenticator is None:
        return Denial(UNAUTHENTICATED, "", Phase.REQUEST_HEADERS)
    needing = chain.links if chain.needs_peer and state.peer is None else ()
    if lacking := next((link for link in needing if not link.pre_auth), None):
        return Denial(UNAUTHENTICATED, lacking.name, Phase.REQUEST_HEADERS)
    try:
        found = Wants(
            chain.reading(Phase.REQUEST_BODY, state),
            bool(chain.active(Phase.RESPONSE_HEADERS, state) or state.secrets or chain.unsettled(state)),
            chain.reading(Phase.RESPONSE_BODY, state),
        )
        return _upgrade(found, chain, state, journal) if "upgrade" in state.arrived.headers else found
    except ExpressionError as error:
        return Denial(deny("policy_error", str(error)), "", Phase.REQUEST_HEADERS, Cause.DEFECT)


def _upgrade(found: Wants, chain: Chain, state: State, journal: Journal) -> Wants | Denial:
    """An upgraded connection has no body that could be inspected (DESIGN section 4). Raises: ExpressionError."""
    wanting: list[tuple[Link, Phase]] = [
        (link, phase) for phase in Phase if phase.has_body for link in chain.active(phase, state)
    ]
    for link, phase in wanting:
        if Cause.UNSUPPORTED not in link.covers:
            return Denial(deny("forbidden", f"{link.name} inspects bodies, and an upgrade has none"), link.name, phase)
        journal.skipped(link.name, phase, Cause.UNSUPPORTED, "the connection is upgraded")
    return found._replace(request_body=NOTHING, response_body=NOTHING)
