"""One try of an exchange in the upstream pass, played against the engine."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from extproc.core.admission import Admission
from extproc.core.chain import Chain
from extproc.core.engine import Engine, Selection
from extproc.core.event import BodyMode, Event, Record
from extproc.core.headers import Headers
from extproc.core.message import Request
from extproc.core.passport import Attempt, Papers, Places
from extproc.core.peer import Backend, Peer, Route
from extproc.core.phase import Direction, Part
from extproc.core.secret import Secret
from extproc.core.upstream import UpstreamSession
from extproc.testing.answer import Answer, Immediate, answer
from extproc.testing.conversation import OPENAI, FixedPolicy, pace, run, unmasked
from extproc.testing.make import exchange
from extproc.testing.outside import Clock

TOKEN: Final = "from-the-downstream-pass"  # noqa: S105 - it opens nothing


@dataclass(slots=True)
class TryConversation:
    """A try at `backend`, of an exchange of `peer` whose request `arrived` so. `say` each event in turn, `end` at the end.

    `left` are the names under which an earlier try may have left a credential, `held` those under which the downstream pass
    has put one. Nothing else crosses from there: neither `exchange.state` nor facts.
    """

    chain: Chain
    backend: Backend = OPENAI
    peer: Peer | None = None
    route: Route | None = None
    arrived: Request = field(default_factory=lambda: exchange().request)
    left: Places = field(default_factory=Places)
    held: Places = field(default_factory=Places)
    clock: Callable[[], float] = field(default_factory=Clock)
    mask: Callable[[Headers, tuple[Secret, ...]], Headers] = unmasked
    records: list[Record] = field(default_factory=list)
    session: UpstreamSession = field(init=False)

    def __post_init__(self) -> None:
        policy = FixedPolicy(Selection(self.chain, self.route, self.backend))
        passes = _Pass(
            Papers(self.route, frozenset({str(self.backend)}), self.peer, self.arrived, held=self.held), self
        )
        admission, time = Admission(), pace(self.clock)
        engine = Engine(policy, time, admission, self.mask, self.records.append, passes, passes)
        self.session = UpstreamSession(engine, backend=str(self.backend))

    def say(self, event: Event) -> Answer:
        """The answer, at once. Raises: ProtocolError, as the session does; RuntimeError, as `run` does."""
        [outcome] = run(self.session.step(self._as_envoy(event)))
        return answer(outcome)

    def end(self) -> Record | None:
        """The try is over: what was told of it, if anything was."""
        self.session.close()
        return self.records[-1] if self.records else None

    def _as_envoy(self, event: Event) -> Event:
        if event.part is not Part.HEADERS or event.direction is not Direction.REQUEST:
            return event
        attributes: Mapping[str, str] = {"xds.cluster_name": min(self.backend.clusters, default="")}
        modes = event.configured or (BodyMode.NONE, BodyMode.NONE)
        return replace(event, passport=TOKEN, configured=modes, attributes={**attributes, **event.attributes})


@dataclass(frozen=True, slots=True)
class _Pass:
    """What both passes agree on: these papers for that token, and what a try meets."""

    papers: Papers
    trying: TryConversation

    def issue(self, papers: Papers) -> str:  # noqa: ARG002 - the protocol's signature
        return TOKEN

    def read(self, token: str) -> Papers | None:
        return self.papers if token == TOKEN else None

    def attempt(self, route: Route | None, backend: str) -> Attempt | None:  # noqa: ARG002 - the protocol's signature
        return Attempt(self.trying.chain, self.trying.backend, self.trying.left)


def play_try(chain: Chain, *events: Event, **settings: Any) -> list[Answer]:
    """The answers of one try, up to the denial that ends it. `settings` are those of `TryConversation`.

    Raises:
        ProtocolError: an event that cannot come there; bodies do not.
        RuntimeError: a filter waits for something real.
    """
    conversation = TryConversation(chain, **settings)
    answers: list[Answer] = []
    try:
        for event in events:
            answers.append(conversation.say(event))
            if isinstance(answers[-1], Immediate):
                break
    finally:
        conversation.end()
    return answers
