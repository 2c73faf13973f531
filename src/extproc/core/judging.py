"""What the engine itself does around the phases of an exchange: it lets its peer in, keeps credentials where they belong, finds
out what is still wanted, and chooses the route anew.
"""

from dataclasses import dataclass, field
from typing import Any

from extproc.core.chain import Denial, Turn
from extproc.core.conversation import Conversation
from extproc.core.passport import papers_of
from extproc.core.phase import Phase
from extproc.core.publish import SHARED, published
from extproc.core.record import metadata
from extproc.core.release import misdirected
from extproc.core.reroute import Choosing
from extproc.core.state import State
from extproc.core.values import replace
from extproc.core.verdict import Respond, deny
from extproc.core.wants import Wants, wants
from extproc.errors import TooLarge


@dataclass(slots=True)
class Judging(Conversation):
    """An exchange, as its chain and the engine judge it: no message of Envoy's is known here."""

    _wants: Wants = field(default_factory=Wants)
    _peer: str | None = None
    _tries: frozenset[str] = frozenset()
    _passport: str = field(default="", repr=False)
    _choosing: Choosing = field(default_factory=Choosing)

    async def _phase(self, phase: Phase, turn: Turn) -> Denial | None:
        return self._follow(await self._run(phase, turn))

    def _follow(self, denial: Denial | None) -> Denial | None:
        """From here on the exchange is one of the route that was chosen anew, if one was."""
        found = self._choosing.take()
        if found and not denial:
            self._state = replace(self._known(), route=found.route, backend=found.backend, cluster="", _variables={})
            self._chain = found.chain
        return denial

    def _turn(self) -> Turn:
        pace = self.engine.pace
        return Turn(pace, pace.now() + self.engine.policy.budget, self._accept, self._complete, self._journal)

    def _accept(self, state: State) -> Respond | None:
        """No credential leaves for where it may not go, and a peer that is now known takes one of its places."""
        if refusal := misdirected(state):
            return refusal
        if state.peer is not None and self._peer is None:
            if not self.engine.admission.enter(state.peer.username):
                return deny("rate_limited", "too many exchanges of one peer at once", {"retry-after": "1"})
            self._peer = state.peer.username
        self._state = state
        return None

    def _complete(self, phase: Phase, state: State) -> Denial | None:
        """After request-headers: what this exchange wants of the rest, and whether it can have it; and after each phase of a
        request, where it goes.
        """
        if phase is Phase.REQUEST_HEADERS:
            found = wants(self._chain, state, self._journal)
            if isinstance(found, Denial):
                return found
            self._wants = found
            if denial := self._issue(state):
                return denial
        return self._choose_again(phase, state)

    def _choose_again(self, phase: Phase, state: State) -> Denial | None:
        """After each phase of a request, where it goes."""
        routing = self.engine.routing
        if routing is None or phase.is_response:
            return None
        found = self._choosing.again(routing, state, self._chain)
        if found is None:
            return None
        if isinstance(found, Respond):
            return Denial(found, "", phase)
        self._tries = found.tries
        return self._issue(replace(state, route=found.route, backend=found.backend))

    def _issue(self, state: State) -> Denial | None:
        """What the upstream pass will need, if tries of this exchange have one."""
        self._passport = ""
        if not self._tries or self.engine.passports is None:
            return None
        try:
            papers = papers_of(state, self._tries, self._request_id, self.engine.generation)
            self._passport = self.engine.passports.issue(papers)
        except TooLarge as error:
            return Denial(deny("bad_request", str(error)), "", Phase.REQUEST_HEADERS)
        return None

    def _metadata(self) -> dict[str, Any]:
        found = metadata(self._state, self._denial, self._journal)
        if self.engine.publishing and (beside := published(self.engine.publishing, self._state)):
            found[SHARED] = beside
        return found

    def _leave(self) -> None:
        """Give the place back that the peer took."""
        if self._peer is not None:
            self.engine.admission.leave(self._peer)
            self._peer = None
