"""Drive the engine with no event loop: a clock that stands still unless told, and filters of six lines."""

from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from extproc.core.chain import Chain, Denial, Turn
from extproc.core.exchange import Exchange
from extproc.core.headers import Headers
from extproc.core.journal import Journal
from extproc.core.link import Link, Pace
from extproc.core.message import Request, Response
from extproc.core.peer import Peer
from extproc.core.phase import Phase
from extproc.core.state import State
from extproc.core.verdict import Continue, Verdict

T = TypeVar("T")
PEER = Peer("system:serviceaccount:ai:default", namespace="ai", service_account="default")


def drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run to the end what awaits nothing."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    raise AssertionError("the engine waited for something")


@dataclass
class Clock:
    """`time` goes on only when a filter says so."""

    time: float = 0.0
    pauses: int = 0

    async def bounded(self, awaitable: Awaitable[T], seconds: float) -> T:
        start = self.time
        result = await awaitable
        if self.time - start > seconds:
            raise TimeoutError
        return result

    async def pause(self) -> None:
        self.pauses += 1

    def pace(self) -> Pace:
        return Pace(lambda: self.time, self.bounded, self.pause, drive)


@dataclass
class Says:
    """A filter that gives one verdict, raises one error, or calls a function of (phase, exchange)."""

    verdict: Verdict | BaseException | Callable[[Phase, Exchange], Verdict] = field(default_factory=Continue)
    seen: list[tuple[Phase, Exchange]] = field(default_factory=list)
    phases: ClassVar[frozenset[Phase]] = frozenset(Phase)

    async def decide(self, phase: Phase, exchange: Exchange) -> Verdict:
        self.seen.append((phase, exchange))
        if isinstance(self.verdict, BaseException):
            raise self.verdict
        return self.verdict(phase, exchange) if callable(self.verdict) else self.verdict


@dataclass
class Authenticates(Says):
    """An authenticator that reads `authorization`."""

    verdict: Any = field(default_factory=lambda: Continue(facts=(PEER,)))
    reads: frozenset[str] = frozenset({"authorization"})


class Takes(Says):
    """Takes one of something, and gives it back."""

    def __init__(self) -> None:
        super().__init__(lambda *_: Continue(state="receipt"))
        self.returned: list[object] = []

    async def give_back(self, phase: Phase, exchange: Exchange) -> None:
        self.returned.append(exchange.state)


def link(name: str, filter_: Any, phase: Phase = Phase.REQUEST_HEADERS, **options: Any) -> Link:
    return Link(name, phase, filter_, **options)


def authn(verdict: Any = None, **options: Any) -> Link:
    filter_ = Authenticates() if verdict is None else Authenticates(verdict)
    return link("authn", filter_, pre_auth=True, **{"priority": -100, **options})


def state(*headers: tuple[str, bytes], proof: Iterable[str] = (), response: Response | None = None) -> State:
    arrived = Request("POST", "https", "api.test", "api.test", "/v1?q=1", Headers(headers))
    hidden = frozenset(proof)
    shown = Request("POST", "https", "api.test", "api.test", "/v1?q=1", arrived.headers.without(hidden))
    return State(arrived, shown, response, proof=hidden)


def turn(clock: Clock | None = None, budget: float = 1.0, accept: Any = lambda _: None) -> Turn:
    pace = (clock or Clock()).pace()
    return Turn(pace, pace.now() + budget, accept, lambda *_: None, Journal())


def run(
    chain: Chain,
    phase: Phase = Phase.REQUEST_HEADERS,
    begin: State | None = None,
    at: Turn | None = None,
) -> tuple[State, Denial | None]:
    result = drive(chain.run(phase, begin or state(proof=chain.proof), at or turn()))
    return result if isinstance(result, tuple) else (result, None)
