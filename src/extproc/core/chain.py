"""The extensions of one exchange, in order; and what happens when one of them denies, fails, or takes too long."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from extproc.core.exchange import Exchange
from extproc.core.filter import Reading
from extproc.core.journal import Journal
from extproc.core.link import Link, Pace
from extproc.core.phase import Phase
from extproc.core.secret import Secret
from extproc.core.state import State, check_headers, fold
from extproc.core.verdict import Continue, Respond, answer_to, deny
from extproc.core.whole import Deciding, deciding
from extproc.errors import Cause, Defect, ExpressionError, Failure, TimedOut, TooLarge

UNAUTHENTICATED: Final = deny("unauthenticated", "no peer was established", {"www-authenticate": "Bearer"})


@dataclass(frozen=True, slots=True)
class Denial:
    """A response, and who gave it. `failure` says that nobody decided: an extension failed, closed."""

    respond: Respond
    extension: str
    phase: Phase
    failure: Cause | None = None


class Turn(NamedTuple):
    """The work on one ext_proc message. `deadline` as `pace.now` tells; `accept` takes the state that an extension left, and
    `complete` the one that a phase left, or says what the engine itself has against it. What was accepted is known, though the
    phase may never end: a client can go away at any time.
    """

    pace: Pace
    deadline: float
    accept: Callable[[State], Respond | None]
    complete: Callable[[Phase, State], Denial | None]
    journal: Journal

    def left(self) -> float:
        """Seconds left of the budget. Raises: TimedOut, if there are none."""
        left = self.deadline - self.pace.now()
        if left <= 0:
            raise TimedOut("the budget of this message is spent")
        return left


@dataclass(frozen=True, slots=True)
class Chain:
    """Sorted when it is made, walked at run time. `authentication`: whether this gateway requires an authenticator; `proof`
    are the headers that it reads; by the headers `reroutes` its extensions choose routes.
    """

    links: tuple[Link, ...] = ()
    authentication: bool = True
    authenticator: Link | None = field(init=False)
    proof: frozenset[str] = field(init=False)
    needs_peer: bool = field(init=False)
    reroutes: frozenset[str] = field(init=False)
    _settling: tuple[Link, ...] = field(init=False, repr=False, compare=False)
    _phases: dict[Phase, tuple[Link, ...]] = field(init=False, repr=False, compare=False)
    _conditional: frozenset[Phase] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ordered = sorted(self.links, key=lambda link: link.order)
        phases = {phase: tuple(link for link in ordered if phase in link.phases) for phase in Phase}
        backwards = {phase: links[::-1] if phase.is_response else links for phase, links in phases.items()}
        object.__setattr__(self, "_phases", backwards)
        object.__setattr__(self, "_conditional", frozenset(p for p in Phase if any(one.when for one in phases[p])))
        first = next((link for link in ordered if link.authenticator), None)
        object.__setattr__(self, "authenticator", first)
        object.__setattr__(self, "_settling", tuple(link for link in self.links if link.settling))
        object.__setattr__(self, "needs_peer", self.authentication or first is not None)
        reads = first.authenticator.reads if first and first.authenticator else frozenset()
        object.__setattr__(self, "proof", reads)
        names = (name for link in self.links for name in link.reroutes)
        object.__setattr__(self, "reroutes", frozenset(names))

    def at(self, phase: Phase) -> tuple[Link, ...]:
        """The links of `phase` in the order in which they run."""
        return self._phases[phase]

    def unsettled(self, state: State) -> list[Link]:
        """The links that have something to settle when the exchange is over."""
        return [link for link in self._settling if link.name in state.states]

    def lacks_peer(self, link: Link, state: State) -> bool:
        """Whether `link` may not run because nobody is established who called (DESIGN section 5)."""
        return self.needs_peer and not link.pre_auth and state.peer is None

    def active(self, phase: Phase, state: State) -> tuple[Link, ...]:
        """The links of `phase` whose `when` holds for this exchange. One that lacks its peer counts: it will deny.

        Raises:
            ExpressionError: a `when` has no value.
        """
        links = self._phases[phase]
        if phase not in self._conditional:
            return links
        return tuple(link for link in links if self.lacks_peer(link, state) or _holds(link, state))

    def reading(self, phase: Phase, state: State) -> Reading:
        """How much of the body the extensions of this exchange need. One that lacks its peer needs it all, and denies.

        Raises:
            ExpressionError: a `when` has no value.
        """
        found = Reading.NOTHING
        for link in self.active(phase, state):
            if link.streaming is None or self.lacks_peer(link, state):
                return Reading.WHOLE
            found = max(found, link.reading(phase, state.view(link)))
        return found

    async def run(self, phase: Phase, state: State, turn: Turn) -> State | tuple[State, Denial]:
        """Run the links of `phase` over `state`, each seeing the result of the one before.

        A denial or a closed failure ends the phase, and what Compensating links took in it is given back.
        """
        taken: list[tuple[Link, Exchange]] = []
        for link in self._phases[phase]:
            started = turn.pace.now()
            if self.needs_peer and self.lacks_peer(link, state):
                result: State | Denial | None = Denial(UNAUTHENTICATED, link.name, phase)
            else:
                result = await attempt(link, phase, state, turn, deciding)
            if isinstance(result, State):
                if link.compensating and not (phase.is_response and link.settling):  # what an answer costs is settled
                    taken.append((link, result.view(link)))
                if result is not state and (refusal := turn.accept(result)):
                    result = Denial(refusal, link.name, phase)
            if isinstance(result, Denial):
                turn.journal.decided(link.name, phase, turn.pace.now() - started, result.respond.code, started)
                return await _undone(taken, phase, state, turn), result
            if result is not None:
                turn.journal.decided(link.name, phase, turn.pace.now() - started, "continue", started)
                state = result
        if denial := turn.complete(phase, state):
            return await _undone(taken, phase, state, turn), denial
        return state


async def attempt(link: Link, phase: Phase, state: State, turn: Turn, how: Deciding) -> State | Denial | None:
    """What `link` makes of `state` by `how`, or its denial; None if it did not run, or failed and was passed over.

    Once the budget is spent every link left fails with a timeout, so the first that is not open for it denies.
    """
    started = turn.pace.now()
    try:
        if link.when is not None and not _holds(link, state):
            return None
        seconds = min(link.timeout, turn.left())
        verdict = await turn.pace.bounded(how(link, phase, state.view(link), turn.pace), seconds)
        return judge(link, phase, state, verdict)
    except ExpressionError as error:
        return Denial(deny("policy_error", f"{link.name}: {error}"), link.name, phase, Cause.DEFECT)
    except TimeoutError:
        within = f"within {link.timeout:g} s" if seconds == link.timeout else "in what was left of the budget"
        failure: Failure = TimedOut(f"no verdict {within}")
    except Failure as error:
        failure = error
    except Exception as error:  # noqa: BLE001 - a filter may raise anything; its failOpen decides, and nothing passes unseen
        failure = defect(error)
    if failure.cause in link.covers:
        turn.journal.skipped(link.name, phase, failure.cause, str(failure), turn.pace.now() - started, started)
        return None
    reason = f"{link.name}: {failure}"
    return Denial(
        answer_to(failure.cause, in_response=phase.is_response, reason=reason), link.name, phase, failure.cause
    )


def _holds(link: Link, state: State) -> bool:
    if link.when is None:
        return True
    value = link.when(state.variables(link))
    if not isinstance(value, bool):
        raise ExpressionError(f"`when` is a {type(value).__name__}, not a bool")
    return value


def judge(link: Link, phase: Phase, state: State, verdict: object) -> State | Denial:
    """What a verdict makes of `state`. Raises: Defect, if it is none or asks for what no filter may."""
    if isinstance(verdict, Continue):
        if verdict.body is not None and link.room is not None and len(verdict.body) > link.room:
            raise TooLarge(f"the body became larger than {link.room} bytes, which is what the gateway buffers")
        return fold(state, link, phase, verdict)
    if isinstance(verdict, Respond):
        if any(isinstance(value, Secret) for _, values in check_headers(verdict.headers) for value in values):
            raise Defect("a credential does not go to a client")
        if not 200 <= verdict.status <= 599:
            raise Defect(f"{verdict.status} is no status to respond with")
        return Denial(verdict, link.name, phase)
    raise Defect(f"a {type(verdict).__name__} is no verdict")


async def _undone(taken: list[tuple[Link, Exchange]], phase: Phase, state: State, turn: Turn) -> State:
    """`state` without what was taken in this phase: it is given back, in reverse. The denial stands, whatever happens here."""
    for link, exchange in reversed(taken):
        state = state.forgetting(link.name)
        turn.accept(state)  # nobody is asked to settle what he was asked to give back
        if link.compensating:
            with suppress(Exception):  # what cannot be given back stays taken: the safe side of a limit
                await turn.pace.bounded(link.compensating.give_back(phase, exchange), link.timeout)
    return state


def defect(error: BaseException) -> Defect:
    """The kind and place of what a filter raised, without its text: that may hold a header or a body."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    place = f" at {trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}" if trace else ""
    return Defect(f"{type(error).__name__}{place}")
