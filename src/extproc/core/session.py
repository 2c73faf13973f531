"""One exchange as a conversation: each event is answered with one outcome, or refused with a ProtocolError."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final, Protocol

from extproc.core.admission import Admission
from extproc.core.chain import UNAUTHENTICATED, Chain, Denial, Turn
from extproc.core.event import BodyMode, Event, Modes, Outcome, Record
from extproc.core.headers import Headers, difference
from extproc.core.journal import Journal
from extproc.core.link import Link, Pace
from extproc.core.message import Message, Request, Response, read_request, read_response
from extproc.core.outcome import changed, modes_refused
from extproc.core.peer import Backend, Route
from extproc.core.phase import FOLLOWERS, Direction, Part, Phase
from extproc.core.record import metadata, record
from extproc.core.secret import Secret, may_reach
from extproc.core.state import State
from extproc.core.verdict import Respond, deny
from extproc.errors import Cause, ExpressionError, ProtocolError

OURS: Final = "x-extproc-"
"""Headers of this prefix are ours: what a client sends under it is removed."""

DETAILS: Final = "response.code_details"
VIA_UPSTREAM: Final = "via_upstream"
"""What Envoy says of a response that is none of its own (PROTOCOL 4)."""

REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")

PHASES: Final[Mapping[Direction, tuple[Phase, Phase]]] = MappingProxyType(
    {
        Direction.REQUEST: (Phase.REQUEST_HEADERS, Phase.REQUEST_BODY),
        Direction.RESPONSE: (Phase.RESPONSE_HEADERS, Phase.RESPONSE_BODY),
    }
)


NO_CHAIN: Final = Chain()


@dataclass(frozen=True, slots=True)
class Selection:
    """What the configuration has for a request."""

    chain: Chain
    route: Route | None = None
    backend: Backend | None = None


class Policy(Protocol):
    """The configuration as the engine asks it; immutable, so a session keeps the one it began with."""

    @property
    def gateway(self) -> str:
        """namespace/name."""
        ...

    @property
    def budget(self) -> float:
        """Seconds for the work on one message."""
        ...

    @property
    def identity_headers(self) -> frozenset[str]:
        """Removed from every request, before anybody looks."""
        ...

    @property
    def request_trailers(self) -> frozenset[str]:
        """Those that may pass."""
        ...

    def select(self, request: Request, cluster: str) -> Selection | Respond: ...


@dataclass(frozen=True, slots=True)
class Engine:
    """What all exchanges of a process share. `mask` replaces what secrets hide in header values; `tell` gets the record of
    each exchange that has ended.
    """

    policy: Policy
    pace: Pace
    admission: Admission
    mask: Callable[[Headers, tuple[Secret, ...]], Headers]
    tell: Callable[[Record], None]


@dataclass(slots=True)
class Session:
    """One ext_proc stream. `step` for each message in turn, `close` when it is over, however it ended."""

    engine: Engine
    _last: dict[Direction, Part | None] = field(default_factory=lambda: dict.fromkeys(Direction))
    _ended: set[Direction] = field(default_factory=set)
    _bodies: set[Direction] = field(default_factory=set)
    _state: State | None = None
    _chain: Chain = NO_CHAIN
    _wanted: dict[Phase, bool] = field(default_factory=dict)
    _local: bool = False
    _denial: Denial | None = None
    _peer: str | None = None
    _request_id: str = ""
    _journal: Journal = field(default_factory=Journal)
    _told: int = -1

    async def step(self, event: Event) -> Outcome:
        """Answer one message.

        Raises:
            ProtocolError: it cannot come here; the stream must be aborted, so that Envoy fails the exchange.
        """
        try:
            return await self._answer(event)
        except ProtocolError as error:
            phase = PHASES[event.direction][event.part is not Part.HEADERS]
            self._denial = self._denial or Denial(deny("policy_error", str(error)), "", phase, Cause.DEFECT)
            raise

    async def _answer(self, event: Event) -> Outcome:
        self._check_order(event)
        if self._local:
            return Outcome(event.direction, event.part)
        if event.part is Part.TRAILERS:
            return await self._trailers(event)
        if event.part is Part.BODY:
            return await self._body(event)
        if event.direction is Direction.REQUEST:
            return await self._request_headers(event)
        return await self._response_headers(event)

    def close(self) -> None:
        """The exchange is over: leave, and tell."""
        if self._peer is not None:
            self.engine.admission.leave(self._peer)
            self._peer = None
        if not self._local:
            self.engine.tell(self._record())

    def _check_order(self, event: Event) -> None:
        last = self._last[event.direction]
        late = self._denial or (self._local and event.direction is Direction.REQUEST)
        if event.part not in FOLLOWERS[last] or event.direction in self._ended or late:
            raise ProtocolError(f"{event.direction} {event.part} cannot follow {last or 'nothing'} here")
        if event.direction is Direction.RESPONSE and self._state is None and last is None:
            self._begin_local(event)
        self._last[event.direction] = event.part
        if event.part is Part.HEADERS and event.end:
            self._ended.add(event.direction)

    def _begin_local(self, event: Event) -> None:
        """A stream that begins with a response is Envoy's own reply: nothing of ours ran, nothing went out. An answer of
        an upstream that begins one went around the chain.
        """
        if event.attributes.get(DETAILS) == VIA_UPSTREAM:
            raise ProtocolError("an upstream answered a request that this server never saw")
        self._local = True

    async def _request_headers(self, event: Event) -> Outcome:
        self._request_id = _request_id(event.fields)
        request = read_request(event.fields)
        if isinstance(request, Respond):
            return self._refuse(event, request)
        unwanted = {name for name, _ in request.headers if name.startswith(OURS)}
        arrived = _without(request, unwanted | self.engine.policy.identity_headers)
        cluster = event.attributes.get("xds.cluster_name", "")
        selection = self.engine.policy.select(arrived, cluster)
        if isinstance(selection, Respond):
            return self._refuse(event, selection)
        self._chain = selection.chain
        if refusal := modes_refused(event.configured, selection.chain):
            return self._refuse(event, refusal)
        self._state = State(
            arrived,
            _without(arrived, selection.chain.proof),
            route=selection.route,
            backend=selection.backend,
            cluster=cluster,
            source=event.attributes.get("source.address", ""),
            proof=selection.chain.proof,
        )
        outcome = await self._run(event, request, self._turn())
        return outcome if outcome.respond else replace(outcome, modes=self._modes(ended=event.end))

    async def _response_headers(self, event: Event) -> Outcome:
        """What an upstream answered is proof that the request went out: it must have been judged whole."""
        state = self._known()
        unjudged = self._wanted.get(Phase.REQUEST_BODY) and Direction.REQUEST not in self._bodies
        if unjudged and event.attributes.get(DETAILS) == VIA_UPSTREAM:
            raise ProtocolError("an upstream answered a request whose body this server never saw")
        before = read_response(event.fields)
        masked = self.engine.mask(before.headers, state.secrets)
        self._state = replace(state, response=replace(before, headers=masked))
        return await self._run(event, before, self._turn())

    async def _body(self, event: Event) -> Outcome:
        phase = PHASES[event.direction][1]
        if not self._wanted.get(phase):
            return Outcome(event.direction, event.part)
        if event.direction in self._bodies:
            raise ProtocolError(f"a second {event.direction} body, where the whole was to come at once")
        if not self.engine.admission.hold(len(event.body)):
            return self._refuse(event, deny("policy_unavailable", "too many bytes of bodies are being inspected"))
        try:
            return await self._run_body(event, event.body)
        finally:
            self.engine.admission.let_go(len(event.body))

    async def _run_body(self, event: Event, body: bytes) -> Outcome:
        """The body phase over `body`; what it changes in the headers still reaches them, since they are held back."""
        self._bodies.add(event.direction)
        before = self._put_body(event.direction, body)
        phase = PHASES[event.direction][1]
        if denial := await self._phase(phase, self._turn()):
            return self._denied(event, denial)
        return self._changed(event, before)

    async def _trailers(self, event: Event) -> Outcome:
        """Trailers of a request are removed but for a list: an upstream may read them as headers. A body that was wanted and
        never came is an empty one, and is judged before the trailers let the request go.
        """
        phase = PHASES[event.direction][1]
        if self._wanted.get(phase) and event.direction not in self._bodies:
            outcome = await self._run_body(event, b"")
            if outcome.respond:
                return outcome
            if outcome.change or outcome.body is not None or outcome.path is not None:
                return self._refuse(event, deny("policy_unavailable", "a change came too late for the headers"))
        if event.direction is Direction.RESPONSE:
            masked = self.engine.mask(event.fields, self._known().secrets)
            return Outcome(event.direction, event.part, difference(event.fields, masked))
        kept = event.fields.without(name for name in event.fields.names() if not self._may_pass(name))
        return Outcome(event.direction, event.part, difference(event.fields, kept))

    def _may_pass(self, trailer: str) -> bool:
        """What is removed from every request's headers is removed from its trailers, listed or not."""
        policy = self.engine.policy
        removed = trailer.startswith(OURS) or trailer in policy.identity_headers or trailer in self._chain.proof
        return trailer in policy.request_trailers and not removed

    async def _run(self, event: Event, before: Message, turn: Turn) -> Outcome:
        """The headers phase, and the body phase with it where the headers end the stream."""
        headers, body = PHASES[event.direction]
        denial = await self._phase(headers, turn)
        if not denial and event.end and self._wanted.get(body):
            self._bodies.add(event.direction)
            self._put_body(event.direction, b"")
            denial = await self._phase(body, turn)
        return self._denied(event, denial) if denial else self._changed(event, before)

    async def _phase(self, phase: Phase, turn: Turn) -> Denial | None:
        result = await self._chain.run(phase, self._known(), turn)
        self._state, denial = result if isinstance(result, tuple) else (result, None)
        return denial

    def _turn(self) -> Turn:
        pace = self.engine.pace
        return Turn(pace, pace.now() + self.engine.policy.budget, self._guard, self._prepare, self._journal)

    def _guard(self, state: State) -> Respond | None:
        """No credential leaves for a cluster that is not its Backend's, and a peer that is now known takes one of its
        places.
        """
        if state.secrets and not _released(state):
            return deny("backend_mismatch", f"Envoy would send this to cluster {state.cluster!r}")
        if not all(may_reach(secret, str(state.backend)) for secret in state.secrets):
            return deny("backend_mismatch", f"the source of a credential does not release it to {state.backend}")
        if state.peer is None or self._peer is not None:
            return None
        if not self.engine.admission.enter(state.peer.username):
            return deny("rate_limited", "too many exchanges of one peer at once", {"retry-after": "1"})
        self._peer = state.peer.username
        return None

    def _prepare(self, phase: Phase, state: State) -> Denial | None:
        """After request-headers: which later phases this exchange wants, and whether it can have them."""
        if phase is not Phase.REQUEST_HEADERS:
            return None
        chain = self._chain
        if chain.authentication and chain.authenticator is None:
            return Denial(UNAUTHENTICATED, "", Phase.REQUEST_HEADERS)
        if lacking := next((link for link in chain.links if chain.lacks_peer(link, state)), None):
            return Denial(UNAUTHENTICATED, lacking.name, Phase.REQUEST_HEADERS)
        try:
            active = {phase: chain.active(phase, state) for phase in Phase}
        except ExpressionError as error:
            return Denial(deny("policy_error", str(error)), "", Phase.REQUEST_HEADERS, Cause.DEFECT)
        self._wanted = {phase: bool(links) for phase, links in active.items()}
        if "upgrade" in state.arrived.headers:
            return self._upgrade([(link, phase) for phase in Phase if phase.has_body for link in active[phase]])
        return None

    def _upgrade(self, wanting: list[tuple[Link, Phase]]) -> Denial | None:
        """An upgraded connection has no body that could be inspected (DESIGN section 4)."""
        for link, phase in wanting:
            if Cause.UNSUPPORTED not in link.covers:
                return Denial(
                    deny("forbidden", f"{link.name} inspects bodies, and an upgrade has none"), link.name, phase
                )
            self._journal.skipped(link.name, phase, Cause.UNSUPPORTED, "the connection is upgraded")
            self._wanted[phase] = False
        return None

    def _modes(self, *, ended: bool) -> Modes:
        body = self._wanted.get(Phase.RESPONSE_BODY)
        return Modes(
            BodyMode.BUFFERED if self._wanted.get(Phase.REQUEST_BODY) and not ended else BodyMode.NONE,
            bool(body or self._wanted.get(Phase.RESPONSE_HEADERS) or self._known().secrets),
            BodyMode.BUFFERED if body else BodyMode.NONE,
        )

    def _put_body(self, direction: Direction, body: bytes) -> Message:
        """The message of `direction` as it is once its body has come."""
        state = self._known()
        if direction is Direction.REQUEST:
            request = replace(state.request, body=body)
            self._state = replace(state, request=request)
            return request
        if state.response is None:
            raise ProtocolError("a response body before response headers")
        response = replace(state.response, body=body)
        self._state = replace(state, response=response)
        return response

    def _changed(self, event: Event, before: Message) -> Outcome:
        after = self._message(event.direction)
        if isinstance(after, Response) and event.part is Part.HEADERS and self._is_bodiless(after):
            after = replace(after, body=None)
        outcome = changed(event, before, after)
        if isinstance(outcome, Respond):
            return self._refuse(event, outcome)
        return replace(outcome, metadata=self._metadata(), request_id=self._request_id)

    def _is_bodiless(self, response: Response) -> bool:
        """Whether it never has a body (RFC 9112 section 6.3): bytes after it would begin the connection's next response."""
        return self._known().request.method == "HEAD" or response.status < 200 or response.status in (204, 304)

    def _refuse(self, event: Event, respond: Respond) -> Outcome:
        return self._denied(event, Denial(respond, "", PHASES[event.direction][event.part is not Part.HEADERS]))

    def _denied(self, event: Event, denial: Denial) -> Outcome:
        self._denial = denial
        told = self._metadata()
        return Outcome(event.direction, event.part, respond=denial.respond, metadata=told, request_id=self._request_id)

    def _metadata(self) -> dict[str, Any] | None:
        """The dynamic metadata, if anything happened since they were last sent."""
        if len(self._journal) == self._told and not self._denial:
            return None
        self._told = len(self._journal)
        return metadata(self._record())

    def _known(self) -> State:
        if self._state is None:
            raise ProtocolError("no request headers have come")
        return self._state

    def _message(self, direction: Direction) -> Message:
        state = self._known()
        if direction is Direction.REQUEST:
            return state.request
        if state.response is None:
            raise ProtocolError("no response headers have come")
        return state.response

    def _record(self) -> Record:
        return record(self.engine.policy.gateway, self._request_id, self._state, self._denial, self._journal)


def _without(request: Request, names: frozenset[str] | set[str]) -> Request:
    headers = request.headers.without(names)
    return request if headers is request.headers else replace(request, headers=headers)


def _released(state: State) -> bool:
    """Whether a credential may go where Envoy is about to send this request (DESIGN section 3, "Which Backend")."""
    return state.backend is not None and state.cluster in state.backend.clusters


def _request_id(fields: Headers) -> str:
    found = fields.get("x-request-id") or ""
    return found if REQUEST_ID.fullmatch(found) else ""
