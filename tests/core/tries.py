"""Tries of an exchange, played against the upstream pass."""

from dataclasses import dataclass, field, replace
from typing import Any

from extproc.adapters.passport import SealedPassports
from extproc.core.admission import Admission
from extproc.core.chain import Chain
from extproc.core.engine import Engine, Selection
from extproc.core.event import Event, Record
from extproc.core.link import Link
from extproc.core.message import Request, read_request
from extproc.core.passport import Attempt, Papers, Places
from extproc.core.peer import Backend, Route
from extproc.core.phase import Phase
from extproc.core.secret import seal
from extproc.core.upstream import UpstreamSession
from extproc.core.verdict import Continue
from extproc.testing import Answer, headers
from extproc.testing.answer import answer
from extproc.testing.conversation import FixedPolicy, pace, run
from extproc.testing.outside import Clock
from extproc.wire.codec import mask
from tests.core.driving import PEER, Says, authn

BACKEND = Backend("egress", "openai", "api.openai.com", 443, frozenset({"egress/openai"}))
OTHER = Backend("egress", "other", "other.test", 443, frozenset({"egress/other"}))
ROUTE = Route("egress", "chat")
AT = {"xds.cluster_name": "egress/openai"}
KEY = b"sk-canary"
HEADER, QUERY = Places(frozenset({"authorization"})), Places(query=frozenset({"key"}))
CONNECT, REQUEST, RESPONSE = Phase.CONNECT, Phase.BACKEND_REQUEST, Phase.BACKEND_RESPONSE


def injects(value: bytes = KEY, name: str = "authorization") -> Says:
    return Says(lambda phase, _: Continue() if phase.is_response else Continue(set_headers={name: seal(value)}))


def in_query(value: bytes = KEY) -> Says:
    return Says(Continue(set_query={"key": seal(value)}))


@dataclass
class Gate:
    """An engine, and what it tells. `chains` are those of each Backend; `left` is where tries of it put credentials."""

    chains: dict[Backend, Chain]
    left: Places = field(default_factory=Places)
    records: list[Record] = field(default_factory=list)
    clock: Clock = field(default_factory=Clock)
    key: bytes = bytes(32)
    gateway: str = "egress/egress"

    def attempt(self, route: Route | None, backend: str) -> Attempt | None:
        found = next((one for one in self.chains if str(one) == backend), None)
        return Attempt(self.chains[found], found, self.left) if found and route == ROUTE else None

    @property
    def passports(self) -> SealedPassports:
        return SealedPassports(self.gateway, self.key, self.clock)

    def engine(self, selection: Selection | None = None) -> Engine:
        chosen = selection or Selection(next(iter(self.chains.values())), ROUTE, BACKEND, self.names)
        policy = FixedPolicy(chosen, self.gateway)
        return Engine(policy, pace(self.clock), Admission(), mask, self.records.append, self.passports, self)

    @property
    def names(self) -> frozenset[str]:
        return frozenset(map(str, self.chains))

    def papers(self, **changes: Any) -> Papers:
        arrived = read_request(headers(x_team="a").fields)
        assert isinstance(arrived, Request)
        return replace(Papers(ROUTE, self.names, PEER, arrived, "192.0.2.1:1", "request-1"), **changes)

    def token(self, **changes: Any) -> str:
        return self.passports.issue(self.papers(**changes))

    def session(self, backend: Backend = BACKEND) -> UpstreamSession:
        return UpstreamSession(self.engine(), backend=str(backend))

    def try_(self, *events: Event, token: str | None = None, backend: Backend = BACKEND) -> list[Answer]:
        """The answers to one try; its first event gets the token and the cluster unless it has them."""
        session = self.session(backend)
        first = replace(events[0], passport=self.token() if token is None else token)
        cluster = min(backend.clusters, default="")
        first = replace(first, attributes=first.attributes or {"xds.cluster_name": cluster})
        try:
            return [answer(outcome) for event in (first, *events[1:]) for outcome in run(session.step(event))]
        finally:
            session.close()


def gate(*links: Link, left: Places | None = None) -> Gate:
    return Gate({BACKEND: Chain((authn(), *links))}, left or Places())


def asked(session: UpstreamSession, event: Event) -> Answer:
    (outcome,) = run(session.step(event))
    return answer(outcome)
