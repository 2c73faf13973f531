"""One exchange played against the engine, without an event loop."""

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar, cast

from extproc.core.admission import Admission
from extproc.core.chain import Chain
from extproc.core.engine import Engine, Policy, Routing, Selection
from extproc.core.event import BodyMode, Event, Record
from extproc.core.headers import Headers
from extproc.core.link import Pace
from extproc.core.message import Request
from extproc.core.peer import Backend, Route
from extproc.core.phase import Direction, Part
from extproc.core.secret import Secret
from extproc.core.session import Session
from extproc.core.verdict import Respond
from extproc.testing.answer import Answer, Immediate, answer
from extproc.testing.outside import Clock

T = TypeVar("T")

STRICTEST: Final = (BodyMode.BUFFERED, BodyMode.BUFFERED)
"""How Envoy is configured unless a test says otherwise."""

OPENAI: Final = Backend("egress", "openai", "api.openai.com", 443, frozenset({"egress/openai"}))


def run(work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns, or raises.

    Raises:
        RuntimeError: it waits for something: an event loop, a task, a socket. Give the filter a plain value instead.
    """
    try:
        work.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return] # a StopIteration carries what the coroutine returned
    work.close()
    raise RuntimeError("this waits for something real; what a filter asks must be answered at once in a test")


def pace(clock: Callable[[], float] | None = None) -> Pace:
    """Time as `clock` tells it. What took longer than it may, by that clock, has timed out when it is done."""
    now = clock or Clock()

    async def bounded(work: Awaitable[T], seconds: float) -> T:
        start = now()
        result = await work
        if now() - start > seconds:
            raise TimeoutError
        return result

    async def pause() -> None:
        return

    return Pace(now, bounded, pause, run)


@dataclass(slots=True)
class FixedPolicy:
    """The same answer to every request; a denial, where there is no Backend."""

    selection: Selection | Respond
    gateway: str = "egress/egress"
    budget: float = 0.8
    identity_headers: frozenset[str] = frozenset()
    request_trailers: frozenset[str] = frozenset()

    def select(self, request: Request, cluster: str) -> Selection | Respond:  # noqa: ARG002 - the protocol's signature
        return self.selection

    @property
    def routing_headers(self) -> frozenset[str]:
        return self.selection.chain.reroutes if isinstance(self.selection, Selection) else frozenset()

    def select_again(self, request: Request) -> Selection | Respond:
        return self.select(request, "")


def unmasked(headers: Headers, secrets: tuple[Secret, ...]) -> Headers:  # noqa: ARG001 - the engine's signature
    return headers


@dataclass(slots=True)
class Conversation:
    """A session and what it tells. `say` each event in turn, `end` at the end.

    The first event gets the body modes of `configured`, and each that names no cluster gets the Backend's.
    """

    policy: Policy | Chain
    backend: Backend | None = OPENAI
    route: Route | None = None
    clock: Callable[[], float] = field(default_factory=Clock)
    admission: Admission = field(default_factory=Admission)
    mask: Callable[[Headers, tuple[Secret, ...]], Headers] = unmasked
    configured: tuple[BodyMode, BodyMode] | None = STRICTEST
    records: list[Record] = field(default_factory=list)
    session: Session = field(init=False)
    _begun: bool = False

    def __post_init__(self) -> None:
        chain = self.policy
        policy = FixedPolicy(Selection(chain, self.route, self.backend)) if isinstance(chain, Chain) else chain
        routing = cast("Routing", policy) if getattr(policy, "routing_headers", None) else None
        engine = Engine(policy, pace(self.clock), self.admission, self.mask, self.records.append, routing=routing)
        self.session = Session(engine)

    def say(self, event: Event) -> Answer:
        """The answer, at once. Raises: ProtocolError, as the session does; RuntimeError, as `run` does."""
        return run(self.ask(event))

    async def ask(self, event: Event) -> Answer:
        """The same for filters that do need an event loop."""
        answers = await self.session.step(self._as_envoy(event))
        if len(answers) != 1:
            raise RuntimeError(f"this piece of a stream has {len(answers)} answers: use `stream`")
        return answer(answers[0])

    def stream(self, *events: Event) -> list[Answer]:
        """All answers to these events: a piece of a body that is streamed both ways has none, one, or several."""
        return [answer(outcome) for event in events for outcome in run(self.session.step(self._as_envoy(event)))]

    def end(self) -> Record | None:
        """The stream is over: what was told of it, if anything was."""
        self.session.close()
        return self.records[-1] if self.records else None

    def _as_envoy(self, event: Event) -> Event:
        if not self._begun:
            event = replace(event, configured=event.configured or self.configured)
            self._begun = True
        if event.part is Part.HEADERS and event.direction is Direction.REQUEST:
            event = replace(event, attributes={**self._attributes(), **event.attributes})
        return event

    def _attributes(self) -> Mapping[str, str]:
        cluster = min(self.backend.clusters, default="") if self.backend else ""
        return {"xds.cluster_name": cluster, "source.address": "192.0.2.1:40000"}


def play(policy: Policy | Chain, *events: Event, **settings: Any) -> list[Answer]:
    """The answers, up to the denial that ends the exchange: one for each event, unless a body is streamed both ways.
    `settings` are those of `Conversation`.

    Raises:
        ProtocolError: an event that cannot come there.
        RuntimeError: a filter waits for something real.
    """
    conversation = Conversation(policy, **settings)
    answers: list[Answer] = []
    try:
        for event in events:
            answers += conversation.stream(event)
            if answers and isinstance(answers[-1], Immediate):
                break
    finally:
        conversation.end()
    return answers
