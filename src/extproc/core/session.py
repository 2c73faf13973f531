"""One exchange as a conversation: each event is answered, or refused with a ProtocolError."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from extproc.core.chain import Denial, Turn
from extproc.core.closing import UNREACHED
from extproc.core.conversation import Answers
from extproc.core.engine import OURS
from extproc.core.event import Event, Modes, Outcome
from extproc.core.filter import Reading
from extproc.core.headers import Headers
from extproc.core.judging import Judging
from extproc.core.message import Message, Request, read_request, read_response
from extproc.core.outcome import changed, modes_refused, rewritten
from extproc.core.phase import FOLLOWERS, Direction, Part, Phase
from extproc.core.state import State
from extproc.core.stream import Broken, Pipe, opened
from extproc.core.trailers import announced, trailing
from extproc.core.values import replace
from extproc.core.verdict import Respond, deny
from extproc.errors import Cause, ExpressionError, ProtocolError

DETAILS: Final = "response.code_details"
VIA_UPSTREAM: Final = "via_upstream"
"""What Envoy says of a response that is none of its own (PROTOCOL 4)."""

ENVOYS: Final = re.compile(rf"(?!{VIA_UPSTREAM}$|extproc_).")
"""How the details begin of a response that Envoy gave: not an upstream, and not this server in the upstream pass."""

REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")

PHASES: Final[Mapping[Direction, tuple[Phase, Phase]]] = MappingProxyType(
    {
        Direction.REQUEST: (Phase.REQUEST_HEADERS, Phase.REQUEST_BODY),
        Direction.RESPONSE: (Phase.RESPONSE_HEADERS, Phase.RESPONSE_BODY),
    }
)

NO_NAMES: Final = frozenset[str]()


@dataclass(slots=True)
class Half:
    """One direction of an exchange: the last part that came, whether nothing more can come, whether the body was judged as a
    whole, and the pipe of a body that passes piece by piece.
    """

    last: Part | None = None
    ended: bool = False
    judged: bool = False
    pipe: Pipe | None = None


@dataclass(slots=True)
class Session(Judging):
    """An exchange, seen by the gateway's own ext_proc filter."""

    _halves: dict[Direction, Half] = field(default_factory=lambda: {direction: Half() for direction in Direction})
    _local: bool = False

    def close(self) -> None:
        """The exchange is over: leave, settle, and tell."""
        self._leave()
        if self._local:
            return
        for half in self._halves.values():
            if half.pipe:
                self._state = half.pipe.break_off(self._known(), self._turn())
        self._settle_and_tell()

    async def _answer(self, event: Event) -> Answers:
        if self._denial and self._halves[event.direction].pipe:
            return ()  # of a stream that was broken off, more may have been on its way
        self._check_order(event)
        if self._local:
            return (Outcome(event.direction, event.part),)
        if event.part is Part.TRAILERS:
            return await self._trailers(event)
        if event.part is Part.BODY:
            return await self._body(event)
        if event.direction is Direction.REQUEST:
            return (await self._request_headers(event),)
        return (await self._response_headers(event),)

    def _check_order(self, event: Event) -> None:
        half = self._halves[event.direction]
        late = self._denial or (self._local and event.direction is Direction.REQUEST)
        if event.part not in FOLLOWERS[half.last] or half.ended or late:
            raise ProtocolError(f"{event.direction} {event.part} cannot follow {half.last or 'nothing'} here")
        if event.direction is Direction.RESPONSE and self._state is None and half.last is None:
            self._begin_local(event)
        half.last = event.part
        half.ended = event.part is Part.HEADERS and event.end

    def _begin_local(self, event: Event) -> None:
        """A stream that begins with a response is Envoy's own reply: nothing of ours ran, nothing went out. An answer of
        an upstream that begins one went around the chain.
        """
        if event.attributes.get(DETAILS) == VIA_UPSTREAM:
            raise ProtocolError("an upstream answered a request that this server never saw")
        self._local = True

    async def _request_headers(self, event: Event) -> Outcome:
        self._request_id = _request_id(event.fields)
        self._begin_trace(event.fields)
        request = read_request(event.fields)
        if isinstance(request, Respond):
            return self._refuse(event, request)
        unwanted = {name for name, _ in request.headers if name.startswith(OURS)}
        chosen_by = self.engine.routing.routing_headers if self.engine.routing else NO_NAMES
        arrived = _without(request, unwanted | self.engine.policy.identity_headers | chosen_by)
        cluster = event.attributes.get("xds.cluster_name", "")
        selection = self._choosing.first(self.engine, request, arrived, cluster)
        if isinstance(selection, Respond):
            return self._refuse(event, selection)
        self._chain, self._tries = selection.chain, selection.tries
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
        return await self._headers(event, request)

    async def _response_headers(self, event: Event) -> Outcome:
        """What an upstream answered is proof that the request went out: it must have been judged whole."""
        state = self._known()
        details = event.attributes.get(DETAILS, "")
        unjudged = self._wants.request_body is Reading.WHOLE and not self._halves[Direction.REQUEST].judged
        if unjudged and details == VIA_UPSTREAM:
            raise ProtocolError("an upstream answered a request whose body this server never saw")
        self._reached = self._reached and not UNREACHED.match(details)
        before = read_response(event.fields)
        masked = self.engine.mask(before.headers, state.secrets)
        if state.secrets and announced(before.headers):
            self._wants = self._wants._replace(response_trailers=True)
        self._state = replace(state, response=replace(before, headers=masked, by_envoy=bool(ENVOYS.match(details))))
        return await self._headers(event, before)

    async def _headers(self, event: Event, before: Message) -> Outcome:
        """The headers phase, and what can be done of the body phase before there is a body: all of it where there will be none,
        nothing where it is needed whole.
        """
        direction, turn = event.direction, self._turn()
        promised = self._wants.response_body
        denial = await self._phase(PHASES[direction][0], turn) or self._look_ahead(direction)
        reading = self._wants.of(direction)
        if not denial and reading is not Reading.NOTHING:
            bodiless = self._is_bodiless(before)
            if event.end or bodiless:
                denial = await self._no_body(direction, turn, bodiless=bodiless)
            elif reading is not Reading.WHOLE:
                denial = await self._open(direction, turn)
        if denial:
            return self._denied(event, denial)
        if direction is Direction.REQUEST:
            self._reached = event.end or reading is not Reading.WHOLE  # no more of it is held back
            return self._changed(event, before, self._wants.early_modes(ended=event.end), self._passport)
        unwanted = promised is Reading.NOTHING and not self._wants.response_trailers
        modes = None if event.end or unwanted or self._halves[direction].judged else self._wants.modes()
        return self._changed(event, before, modes)

    async def _no_body(self, direction: Direction, turn: Turn, *, bodiless: bool) -> Denial | None:
        """The body phase where no body will come. `bodiless`: there must be none, whatever extensions make of that."""
        self._put_body(direction, b"")
        denial = await self._phase(PHASES[direction][1], turn)
        if bodiless:
            self._put_body(direction, None)
        return denial

    def _look_ahead(self, direction: Direction) -> Denial | None:
        """How much of the answer's body is needed, now that its headers are decided."""
        if direction is Direction.REQUEST or self._wants.response_body is Reading.NOTHING:
            return None
        try:
            found = self._chain.reading(Phase.RESPONSE_BODY, self._known())
        except ExpressionError as error:
            return Denial(deny("policy_error", str(error)), "", Phase.RESPONSE_BODY, Cause.DEFECT)
        self._wants = self._wants._replace(response_body=found)
        return None

    async def _open(self, direction: Direction, turn: Turn) -> Denial | None:
        """Make ready for a body that is to pass piece by piece."""
        self._state, pipe = await opened(
            self._chain, PHASES[direction][1], self._known(), turn, self._wants.of(direction)
        )
        if isinstance(pipe, Denial):
            return pipe
        self._halves[direction].pipe = pipe
        return self._follow(self._choose_again(PHASES[direction][1], self._state))

    async def _body(self, event: Event) -> Answers:
        half = self._halves[event.direction]
        self._journal.came(event.direction, len(event.body))
        if half.pipe:
            return await self._piece(event, half.pipe)
        if self._wants.of(event.direction) is Reading.NOTHING:
            return (Outcome(event.direction, event.part),)
        if half.judged and not event.body:  # Envoy may say the end once more
            return (Outcome(event.direction, event.part),)
        if half.judged:
            raise ProtocolError(f"a second {event.direction} body, where the whole was to come at once")
        if not self.engine.admission.hold(len(event.body)):
            return (self._refuse(event, deny("policy_unavailable", "too many bytes of bodies are being inspected")),)
        try:
            return (await self._whole(event, event.body),)
        finally:
            self.engine.admission.let_go(len(event.body))

    async def _whole(self, event: Event, body: bytes) -> Outcome:
        """The body phase over `body`; what it changes in the headers still reaches them, since they are held back."""
        before = self._put_body(event.direction, body)
        phase = PHASES[event.direction][1]
        if denial := await self._phase(phase, self._turn()):
            return self._denied(event, denial)
        outcome = self._changed(event, before)
        if event.direction is Direction.REQUEST:  # an answer may take an hour: nobody holds the question for so long
            state = self._known()
            self._state, self._reached = replace(state, request=replace(state.request, body=None)), True
        return outcome

    async def _piece(self, event: Event, pipe: Pipe) -> Answers:
        """One piece of a body that passes. Envoy is known to send the last one twice: nothing leaves after the end."""
        both_ways, over = self._wants.of(event.direction) is Reading.STREAM, pipe.ended
        if over and not both_ways and event.body:
            raise ProtocolError(f"more of a {event.direction} body that had ended")
        if over:
            return () if both_ways else (Outcome(event.direction, event.part),)
        turn = self._turn()
        try:
            given = await pipe.feed(event.body, turn, last=event.end)
            if pipe.ended:
                self._state = pipe.conclude(self._known(), turn)
        except Broken as error:
            return (self._broken_off(event, error),)
        if not both_ways:
            return (Outcome(event.direction, event.part, metadata=self._news()),)
        if not given and not pipe.ended:
            return ()
        return (Outcome(event.direction, event.part, body=given, end=pipe.ended, metadata=self._news()),)

    def _broken_off(self, event: Event, broken: Broken) -> Outcome:
        self._state = broken.state or self._state
        return self._denied(event, broken.denial)

    async def _trailers(self, event: Event) -> Answers:
        """What trailers end is judged before they let it go."""
        half = self._halves[event.direction]
        if half.pipe:
            return await self._ended_by_trailers(event, half.pipe)
        if self._wants.of(event.direction) is Reading.WHOLE and not half.judged:
            outcome = await self._whole(event, b"")
            if outcome.respond:
                return (outcome,)
            if outcome.change or outcome.body is not None or outcome.path is not None:
                return (self._refuse(event, deny("policy_unavailable", "a change came too late for the headers")),)
            return (replace(trailing(event, self.engine, self._chain, self._known()), metadata=outcome.metadata),)
        return (trailing(event, self.engine, self._chain, self._known()),)

    async def _ended_by_trailers(self, event: Event, pipe: Pipe) -> Answers:
        """What was held back leaves before them. After a body that we ended there are none."""
        last = trailing(event, self.engine, self._chain, self._known())
        if pipe.ended:
            return () if self._wants.of(event.direction) is Reading.STREAM else (last,)
        turn = self._turn()
        try:
            rest = await pipe.feed(b"", turn, last=True)
            self._state = pipe.conclude(self._known(), turn)
        except Broken as error:
            return (self._broken_off(event, error),)
        last = replace(last, metadata=self._news())
        return (Outcome(event.direction, Part.BODY, body=rest, end=False), last) if rest else (last,)

    def _put_body(self, direction: Direction, body: bytes | None) -> Message:
        """The message of `direction` as it is once its body has come."""
        self._halves[direction].judged = True
        message = replace(self._message(direction), body=body)
        if isinstance(message, Request):
            self._state = replace(self._known(), request=message)
        else:
            self._state = replace(self._known(), response=message)
        return message

    def _changed(self, event: Event, before: Message, modes: Modes | None = None, passport: str = "") -> Outcome:
        after, half = self._message(event.direction), self._halves[event.direction]
        if half.pipe and half.pipe.rewrites:
            after = replace(after, headers=rewritten(after.headers))
        waits = not half.judged and event.part is Part.HEADERS and self._wants.of(event.direction) is Reading.WHOLE
        told = None if waits else self._news()  # nobody reads them before Envoy lets the message go
        reroute = self._choosing.tell()
        outcome = changed(
            event, before, after, modes=modes, metadata=told, request_id=self._request_id,
            passport=self._passport if reroute else passport, reroute=reroute,
        )  # fmt: skip
        return self._refuse(event, outcome) if isinstance(outcome, Respond) else outcome

    def _is_bodiless(self, message: Message) -> bool:
        """Whether it is an answer that never has a body (RFC 9112 section 6.3): Envoy would write bytes after it all the same,
        and they would begin the connection's next answer. With HTTP/2 it may say later that it has ended.
        """
        if isinstance(message, Request):
            return False
        return self._known().request.method == "HEAD" or message.status in (204, 304) or message.status // 100 == 1

    def _phase_of(self, event: Event) -> Phase:
        return PHASES[event.direction][event.part is not Part.HEADERS]

    def _message(self, direction: Direction) -> Message:
        state = self._known()
        if direction is Direction.REQUEST:
            return state.request
        if state.response is None:
            raise ProtocolError("no response headers have come")
        return state.response


def _without(request: Request, names: frozenset[str] | set[str]) -> Request:
    headers = request.headers.without(names)
    return request if headers is request.headers else replace(request, headers=headers)


def _request_id(fields: Headers) -> str:
    found = fields.get("x-request-id") or ""
    return found if REQUEST_ID.fullmatch(found) else ""
