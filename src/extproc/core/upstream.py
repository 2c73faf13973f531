"""The upstream pass: one try of an exchange as a conversation. Envoy asks again for each try, on a stream of its own."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from extproc.core.chain import Denial, Turn
from extproc.core.conversation import Answers, Conversation
from extproc.core.engine import Engine
from extproc.core.event import BodyMode, Event, Modes, Outcome
from extproc.core.headers import Headers, difference
from extproc.core.leftovers import clear, withhold
from extproc.core.message import Message, Request, read_request, read_response
from extproc.core.outcome import changed
from extproc.core.passport import Attempt, Papers
from extproc.core.peer import Peer
from extproc.core.phase import FOLLOWERS, Direction, Part, Phase
from extproc.core.record import metadata
from extproc.core.release import misdirected
from extproc.core.secret import Secret
from extproc.core.session import Session
from extproc.core.state import State
from extproc.core.values import replace
from extproc.core.verdict import Respond, deny
from extproc.errors import Cause, ExpressionError, ProtocolError

PASS: Final = "x-extproc-pass"  # noqa: S105 - the name of a header
BACKEND: Final = "x-extproc-backend"
"""The initial metadata of a stream: whether it is one of the upstream pass, and of which Backend (namespace/name)."""

UPSTREAM: Final = "upstream"
CLUSTER: Final = "xds.cluster_name"

TOLD: Final = ("backend", "decisions", "skipped", "reports")
"""What of its metadata a try tells."""

STRANGER: Final = deny("unauthenticated", "no valid token of the downstream pass", {"www-authenticate": "Bearer"})


def begin(engine: Engine, initial: Iterable[tuple[str, str | bytes]]) -> "Session | UpstreamSession":
    """The session for a stream with this initial metadata. Raises: ProtocolError, if nobody could tell which."""
    said: dict[str, str | bytes] = {}
    for name, value in initial:
        if name in (PASS, BACKEND) and said.setdefault(name, value) != value:
            raise ProtocolError(f"two different values of {name}")
    if not said:
        return Session(engine)
    backend = said.get(BACKEND, "")
    if said.get(PASS) != UPSTREAM or not isinstance(backend, str):
        raise ProtocolError(f"initial metadata that are those of no pass: {PASS} is {UPSTREAM}, or not there")
    return UpstreamSession(engine, backend=backend)


@dataclass(slots=True)
class UpstreamSession(Conversation):
    """One try of an exchange, seen by the upstream ext_proc filter of a cluster."""

    is_try: ClassVar[bool] = True

    backend: str = ""
    _last: dict[Direction, Part | None] = field(default_factory=lambda: dict.fromkeys(Direction))
    _ended: set[Direction] = field(default_factory=set)
    _echoes: tuple[Secret, ...] = ()
    _told: int = 0

    def close(self) -> None:
        """The try is over: settle, and tell."""
        if self._state is not None or self._denial is not None:
            self._settle_and_tell()

    async def _answer(self, event: Event) -> Answers:
        self._check_order(event)
        if event.part is Part.TRAILERS:
            return (self._trailers(event),)
        if event.direction is Direction.REQUEST:
            return (await self._request_headers(event),)
        return (await self._response_headers(event),)

    def _check_order(self, event: Event) -> None:
        """No body is read here, and no reply of Envoy's comes: the upstream filters are not in its way."""
        direction, last = event.direction, self._last[event.direction]
        known = self._state is not None or direction is Direction.REQUEST
        possible = event.part in FOLLOWERS[last] and event.part is not Part.BODY and direction not in self._ended
        if self._denial or not known or not possible:
            raise ProtocolError(f"{direction} {event.part} cannot follow {last or 'nothing'} in the upstream pass")
        self._last[direction] = event.part
        if event.end:
            self._ended.add(direction)

    async def _request_headers(self, event: Event) -> Outcome:
        self._begin_trace(event.fields)
        papers = self.engine.passports.read(event.passport) if self.engine.passports and event.passport else None
        if papers is None:
            return self._denied(event, Denial(STRANGER, "", Phase.CONNECT))
        self._request_id = papers.request_id
        self.engine = self.engine.of(papers.generation)
        if any(mode is not BodyMode.NONE for mode in event.configured or ()):
            refusal = deny("policy_unavailable", "Envoy's upstream filter is configured to send bodies")
            return self._denied(event, Denial(refusal, "", Phase.CONNECT))
        attempt = self._attempt(papers)
        if isinstance(attempt, Respond):
            return self._denied(event, Denial(attempt, "", Phase.CONNECT))
        request = read_request(event.fields)
        if isinstance(request, Respond):
            return self._denied(event, Denial(request, "", Phase.CONNECT))
        before, self._echoes = withhold(request, papers.held)
        self._chain = attempt.chain
        self._state = _state(event, papers, attempt, clear(before, attempt.left, papers))
        turn = self._turn()
        denial = await self._run(Phase.CONNECT, turn) or await self._run(Phase.BACKEND_REQUEST, turn)
        modes = denial or self._modes()
        if isinstance(modes, Denial):
            return self._denied(event, modes)
        outcome = self._changed(event, before, self._known().request, modes)
        self._reached = outcome.respond is None
        return outcome

    def _attempt(self, papers: Papers) -> Attempt | Respond:
        """What a try at this Backend meets, if the downstream pass meant it to be possible."""
        tries = self.engine.tries
        found = tries.attempt(papers.route, self.backend) if tries and self.backend in papers.backends else None
        if found is None:
            return deny("backend_mismatch", f"no try of this exchange goes to the Backend {self.backend!r}")
        return found

    def _modes(self) -> Modes | Denial:
        """What is wanted of the answer: its headers, by extensions of their own, and all that could echo a credential."""
        state = self._known()
        releases = bool(state.secrets)
        try:
            answering = bool(self._chain.active(Phase.BACKEND_RESPONSE, state))
            return Modes(response_headers=answering or releases, response_trailers=releases)
        except ExpressionError as error:
            return Denial(deny("policy_error", str(error)), "", Phase.BACKEND_RESPONSE, Cause.DEFECT)

    async def _response_headers(self, event: Event) -> Outcome:
        state, before = self._known(), read_response(event.fields)
        masked = replace(before, headers=self._masked(before.headers))
        self._state = replace(state, response=masked)
        if denial := await self._run(Phase.BACKEND_RESPONSE, self._turn()):
            return self._denied(event, denial)
        return self._changed(event, before, self._known().response or masked)

    def _trailers(self, event: Event) -> Outcome:
        """Those of a request have passed the downstream pass; those of an answer hide what its headers hide."""
        if event.direction is Direction.REQUEST:
            return Outcome(event.direction, event.part)
        return Outcome(event.direction, event.part, difference(event.fields, self._masked(event.fields)))

    def _masked(self, fields: Headers) -> Headers:
        """Without the credentials of this try, nor those of the downstream pass: extensions see this before that pass does."""
        return self.engine.mask(fields, (*self._known().secrets, *self._echoes))

    def _turn(self) -> Turn:
        pace = self.engine.pace
        deadline = pace.now() + self.engine.policy.budget
        return Turn(pace, deadline, self._accept, lambda _phase, _state: None, self._journal)

    def _accept(self, state: State) -> Respond | None:
        """No credential leaves for where it may not go."""
        refusal = misdirected(state)
        self._state = self._state if refusal else state
        return refusal

    def _changed(self, event: Event, before: Message, after: Message, modes: Modes | None = None) -> Outcome:
        outcome = changed(event, before, after, modes=modes, metadata=self._news(), request_id=self._request_id)
        return self._refuse(event, outcome) if isinstance(outcome, Respond) else outcome

    def _phase_of(self, event: Event) -> Phase:
        return Phase.BACKEND_REQUEST if event.direction is Direction.REQUEST else Phase.BACKEND_RESPONSE

    def _metadata(self) -> dict[str, Any]:
        """What the last try did, beside what the downstream pass told: Envoy replaces each name as a whole."""
        found = metadata(self._state, self._denial, self._journal)
        denied = {"denied": found["denied"]} if "denied" in found else {}
        return {"upstream": {name: found[name] for name in TOLD if name in found}, **denied}


def _state(event: Event, papers: Papers, attempt: Attempt, request: Request) -> State:
    return State(
        papers.arrived,
        request,
        route=papers.route,
        backend=attempt.backend,
        cluster=event.attributes.get(CLUSTER, ""),
        source=papers.source,
        proof=attempt.chain.proof,
        peer=papers.peer,
        facts={Peer: papers.peer} if papers.peer else {},
    )
