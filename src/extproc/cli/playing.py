"""One request, played through its chain as Envoy would, up to what leaves: what `extproc explain` tells."""

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol, runtime_checkable
from urllib.parse import quote

from extproc.core.admission import Admission
from extproc.core.chain import Chain
from extproc.core.engine import Engine, Selection
from extproc.core.event import BodyMode, Event, Outcome, Record
from extproc.core.exchange import Exchange
from extproc.core.filter import Authenticator
from extproc.core.headers import Headers, apply, text
from extproc.core.link import Link
from extproc.core.message import Request, read_request
from extproc.core.peer import Peer
from extproc.core.phase import Direction, Part, Phase
from extproc.core.session import Session
from extproc.core.verdict import Continue, Respond, Verdict
from extproc.policy.resolved import Resolved
from extproc.wire.codec import mask
from extproc.wire.pace import PACE, settled

SETTLING = 2.0
"""Seconds to wait for what the extensions settle when the exchange is over."""


async def play(
    resolved: Resolved, peer: Peer | None, fields: Headers, body: bytes | None, cluster: str | None
) -> dict[str, Any]:
    """What becomes of a request, as values for JSON. `peer` is taken for the caller; without one the authenticator is asked.
    `cluster` is Envoy's, where it has a choice.
    """
    try:
        return await _play(Explained(resolved, peer), fields, body, cluster)
    finally:
        if resolved.outside is not None:
            await resolved.outside.close()


@dataclass(slots=True)
class Explained:
    """A policy whose authenticator, if `peer` is said, takes everybody for that peer; and which remembers its answer."""

    inner: Resolved
    peer: Peer | None
    gateway: str = field(init=False)
    budget: float = field(init=False)
    identity_headers: frozenset[str] = field(init=False)
    request_trailers: frozenset[str] = field(init=False)
    selection: Selection | None = None
    routing_headers: frozenset[str] = field(init=False)
    _links: dict[int, Link] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.routing_headers = self.inner.routing_headers
        self.gateway, self.budget = self.inner.gateway, self.inner.budget
        self.identity_headers, self.request_trailers = self.inner.identity_headers, self.inner.request_trailers

    def select(self, request: Request, cluster: str) -> Selection | Respond:
        return self._asked(self.inner.select(request, cluster))

    def select_again(self, request: Request) -> Selection | Respond | None:
        found = self.inner.select_again(request)
        return None if found is None else self._asked(found)

    def _asked(self, found: Selection | Respond) -> Selection | Respond:
        if isinstance(found, Selection):
            self.selection = replace(found, chain=self._as_peer(found.chain))
            return self.selection
        return found

    def _as_peer(self, chain: Chain) -> Chain:
        if self.peer is None:
            return chain
        return Chain(tuple(self._link(link, self.peer) for link in chain.links), chain.authentication)

    def _link(self, link: Link, peer: Peer) -> Link:
        """The same link in all chains, as it is in those of the configuration."""
        if link.authenticator is None:
            return link
        return self._links.setdefault(id(link), replace(link, filter=_Known(link.authenticator, peer)))


@runtime_checkable
class Welcoming(Protocol):
    """An authenticator that says of a caller it knows whether it may go on."""

    def welcome(self, peer: Peer) -> Verdict: ...


class _Known:
    """Stands in for the authenticator: the same headers, one peer, and the same judgement of it."""

    phases: ClassVar[frozenset[Phase]] = frozenset({Phase.REQUEST_HEADERS})

    def __init__(self, instead_of: Authenticator, peer: Peer) -> None:
        self.reads = instead_of.reads
        self._verdict = instead_of.welcome(peer) if isinstance(instead_of, Welcoming) else Continue(facts=(peer,))

    async def decide(self, phase: Phase, exchange: Exchange) -> Verdict:  # noqa: ARG002 - the protocol's signature
        return self._verdict


async def _play(policy: Explained, fields: Headers, body: bytes | None, cluster: str | None) -> dict[str, Any]:
    records: list[Record] = []
    routing = policy if policy.routing_headers else None
    session = Session(Engine(policy, PACE, Admission(), mask, records.append, routing=routing))
    attributes = {
        "xds.cluster_name": cluster if cluster is not None else _cluster(policy, fields),
        "source.address": "",
    }
    strictest = (BodyMode.BUFFERED, BodyMode.BUFFERED)
    first = Event(Direction.REQUEST, Part.HEADERS, fields, b"", body is None, attributes, strictest)
    outcomes = [*await session.step(first)]
    if body is not None and not outcomes[0].respond:
        outcomes += await session.step(Event(Direction.REQUEST, Part.BODY, body=body, end=True))
    session.close()
    await settled(SETTLING)
    return _told(policy, attributes["xds.cluster_name"], fields, body, outcomes, records[0])


def _cluster(policy: Explained, fields: Headers) -> str:
    """The cluster that Envoy would have chosen, where there is only one choice."""
    request = read_request(fields)
    found = policy.inner.select(request, "") if isinstance(request, Request) else None
    return min(found.backend.clusters, default="") if isinstance(found, Selection) and found.backend else ""


def _told(
    policy: Explained, cluster: str, fields: Headers, body: bytes | None, outcomes: list[Outcome], record: Record
) -> dict[str, Any]:
    words = {(d.extension, d.phase): d.word for d in record.decisions}
    words |= {(s.extension, s.phase): f"skipped ({s.cause}: {s.reason})" for s in record.skips}
    chain = policy.selection.chain if policy.selection else Chain()
    found: dict[str, Any] = {
        "route": record.route,
        "backend": record.backend,
        "cluster": cluster,
        "peer": {"namespace": record.namespace, "serviceAccount": record.service_account},
        "chain": [
            {
                "phase": phase,
                "extension": link.name,
                "priority": link.priority,
                "scope": link.scope.name.capitalize(),
                "decision": words.get((link.name, phase), "not run"),
            }
            for phase in Phase
            for link in chain.at(phase)
        ],
        "reports": {
            link.name: dict(record.reports[link.name])
            for link in chain.links
            if link.name in record.reports and link.settling is None  # what it costs, only an answer could tell
        },
    }
    if respond := outcomes[-1].respond:
        answer = {"status": respond.status, "code": respond.code, "reason": respond.reason}
        return {**found, "answer": answer, "extension": record.extension}
    return {**found, "leaves": _leaves(fields, body, outcomes)}


def _leaves(fields: Headers, body: bytes | None, outcomes: list[Outcome]) -> dict[str, Any]:
    """The request as the upstream gets it; a secret shows as `***`."""
    path = fields.get(":path") or ""
    for outcome in outcomes:
        fields = apply(outcome.change, fields)
        path = path if outcome.path is None else outcome.path + _hidden(outcome)
        body = body if outcome.body is None else outcome.body
    return {
        "method": fields.get(":method"),
        "path": path,
        "headers": [[name, text(value)] for name, value in fields if not name.startswith(":")],
        "body": None if body is None else body.decode("utf-8", "replace"),
    }


def _hidden(outcome: Outcome) -> str:
    joined = "&".join(f"{quote(name, safe='')}=***" for name, _ in outcome.hidden_query)
    if not joined:
        return ""
    return f"{'&' if '?' in (outcome.path or '') else '?'}{joined}"
