"""What an exchange and each of its tries have in common: one ext_proc stream, judged by a chain, and told at its end."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from extproc.core.chain import Chain, Denial, Turn
from extproc.core.closing import settle
from extproc.core.engine import Engine
from extproc.core.event import Event, Outcome, Record
from extproc.core.headers import Headers
from extproc.core.journal import Journal
from extproc.core.link import Link
from extproc.core.phase import Phase
from extproc.core.record import record
from extproc.core.state import State
from extproc.core.trace import trace_of
from extproc.core.values import replace
from extproc.core.verdict import Respond, deny
from extproc.errors import Cause, ProtocolError

NO_CHAIN: Final = Chain()

Answers = tuple[Outcome, ...]
"""One answer for each message; none or several where a body is streamed both ways."""


@dataclass(slots=True)
class Conversation(ABC):
    """One ext_proc stream. `step` for each message in turn, `close` when it is over, however it ended."""

    is_try: ClassVar[bool] = False

    engine: Engine
    _chain: Chain = NO_CHAIN
    _state: State | None = None
    _reached: bool = False
    _denial: Denial | None = None
    _request_id: str = ""
    _journal: Journal = field(default_factory=Journal)
    _told: int = -1

    @abstractmethod
    async def _answer(self, event: Event) -> Answers:
        """Raises: ProtocolError."""

    @abstractmethod
    def _phase_of(self, event: Event) -> Phase:
        """The phase that a message belongs to."""

    @abstractmethod
    def _metadata(self) -> dict[str, Any]:
        """What is told of this conversation so far."""

    @abstractmethod
    def close(self) -> None:
        """It is over: settle, and tell."""

    async def step(self, event: Event) -> Answers:
        """Answer one message.

        Raises:
            ProtocolError: it cannot come here; the stream must be aborted, so that Envoy fails the exchange.
        """
        try:
            return await self._answer(event)
        except ProtocolError as error:
            refusal = deny("policy_error", str(error))
            self._denial = self._denial or Denial(refusal, "", self._phase_of(event), Cause.DEFECT)
            raise

    def _settle_and_tell(self) -> None:
        """What was taken and never settled is settled in a task of its own: nobody waits for it."""
        links = self._chain.unsettled(self._state) if self._state else []
        if links:
            self.engine.pace.spawn(self._settle(links))
        else:
            self.engine.tell(self._record())

    async def _settle(self, links: list[Link]) -> None:
        known = self._known()
        self._state = await settle(links, known, self._journal, self.engine.pace, reached=self._reached)
        self.engine.tell(self._record())

    def _begin_trace(self, fields: Headers) -> None:
        if self.engine.traces:
            self._journal.began, self._journal.trace = self.engine.pace.now(), trace_of(fields)

    async def _run(self, phase: Phase, turn: Turn) -> Denial | None:
        """One phase of the chain, over what is known."""
        result = await self._chain.run(phase, self._known(), turn)
        self._state, denial = result if isinstance(result, tuple) else (result, None)
        return denial

    def _refuse(self, event: Event, respond: Respond) -> Outcome:
        """Refused by no extension: by the gateway itself."""
        return self._denied(event, Denial(respond, "", self._phase_of(event)))

    def _denied(self, event: Event, denial: Denial) -> Outcome:
        self._denial = denial
        told = self._news()
        return Outcome(event.direction, event.part, respond=denial.respond, metadata=told, request_id=self._request_id)

    def _news(self) -> dict[str, Any] | None:
        """The dynamic metadata, if anything happened since they were last sent."""
        if len(self._journal) == self._told and not self._denial:
            return None
        self._told = len(self._journal)
        return self._metadata()

    def _known(self) -> State:
        if self._state is None:
            raise ProtocolError("no request headers have come")
        return self._state

    def _record(self) -> Record:
        told = record(self.engine.policy.gateway, self._request_id, self._state, self._denial, self._journal)
        return replace(told, is_try=True) if self.is_try else told
