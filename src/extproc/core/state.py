"""Everything the engine knows of one exchange, as a value: undoing an extension is dropping a value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from extproc.core.exchange import Exchange
from extproc.core.headers import Headers, check_name, check_value
from extproc.core.link import Link
from extproc.core.message import Message, Request, Response
from extproc.core.peer import Backend, Peer, Route
from extproc.core.phase import Phase
from extproc.core.secret import Secret
from extproc.core.values import replace, swift
from extproc.core.verdict import Continue, HeaderValue
from extproc.errors import Defect

NO_CHANGE: Final = Continue()
HIDDEN_FROM_CEL: Final = frozenset({"cookie", "proxy-authorization"})

MOST_REPORTED: Final = 2**53
LONGEST_WORD: Final = 256
"""Ceilings of a report: metadata have doubles for numbers, and are no place for content."""

RELEASING: Final = frozenset({Phase.REQUEST_HEADERS, Phase.CONNECT, Phase.BACKEND_REQUEST})
"""Where a credential may be set: later it is too late to ask Envoy for the answer's headers, in which it is masked."""


@swift
@dataclass(frozen=True, slots=True)
class State:
    """One exchange between two extensions.

    `arrived` is the request as it came (without `x-extproc-*` and the identity headers), which the authenticator reads;
    `request` and `response` are the result so far. `proof` are the headers that the authenticator reads: nobody else's.
    """

    arrived: Request
    request: Request
    response: Response | None = None
    route: Route | None = None
    backend: Backend | None = None
    cluster: str = ""
    source: str = ""
    proof: frozenset[str] = frozenset()
    peer: Peer | None = None
    facts: Mapping[type, object] = field(default_factory=dict)
    public_facts: Mapping[type, object] = field(default_factory=dict)
    states: Mapping[str, object] = field(default_factory=dict)
    reports: Mapping[str, Mapping[str, int | str]] = field(default_factory=dict)
    secrets: tuple[Secret, ...] = ()
    _variables: dict[bool, dict[str, object]] = field(default_factory=dict, compare=False, repr=False)
    _views: dict[tuple[bool, bool], Exchange] = field(default_factory=dict, init=False, compare=False, repr=False)

    def view(self, link: Link) -> Exchange:
        """What `link` may see. The authenticator sees the request as it arrived; a preAuth extension sees no peer, and
        only what other preAuth extensions stated. Extensions that may see the same and left nothing for themselves share it.
        """
        own = self.states.get(link.name)
        kind = (link.pre_auth, link.authenticates)
        if own is None and kind in self._views:
            return self._views[kind]
        seen = Exchange(
            self.arrived if link.authenticates else self.request,
            self.response,
            self.route,
            self.backend,
            own,
            self.source,
            self.variables(link),
            self.public_facts if link.pre_auth else self.facts,
        )
        if own is None:
            self._views[kind] = seen
        return seen

    def variables(self, link: Link) -> "Variables":
        return Variables(self, with_peer=not link.pre_auth)

    def forgetting(self, extension: str) -> "State":
        """Without what it left for itself: it gives back what that stood for."""
        return replace(self, states={name: left for name, left in self.states.items() if name != extension})

    def reporting(self, extension: str, report: Mapping[str, int | str]) -> "State":
        """With `report` as the last that was told of `extension`. Raises: Defect, if it is none."""
        return replace(self, reports={**self.reports, extension: _report(report)}) if report else self

    def named(self, *, with_peer: bool) -> dict[str, object]:
        """The CEL variables of DESIGN section 3, made when first asked for. The peer never changes once it is there."""
        peer = self.peer if with_peer else None
        key = peer is not None
        if key not in self._variables:
            self._variables[key] = _cel_variables(self, peer)
        return self._variables[key]


class Variables(Mapping[str, object]):
    """The CEL variables, built only if an expression is evaluated."""

    __slots__ = ("_state", "_with_peer")

    def __init__(self, state: State, *, with_peer: bool) -> None:
        self._state, self._with_peer = state, with_peer

    def __getitem__(self, name: str) -> object:
        return self._state.named(with_peer=self._with_peer)[name]

    def __iter__(self) -> Any:
        return iter(self._state.named(with_peer=self._with_peer))

    def __len__(self) -> int:
        return len(self._state.named(with_peer=self._with_peer))


def fold(state: State, link: Link, phase: Phase, verdict: Continue) -> State:
    """`state` with the changes that `link` wants.

    Raises:
        Defect: a change that no filter may make.
    """
    if verdict == NO_CHANGE:
        return state
    secrets = _secrets(verdict)
    if secrets and phase.is_response:
        raise Defect("a credential does not go to a client")
    if secrets and phase not in RELEASING:
        raise Defect(f"a credential is set in {Phase.REQUEST_HEADERS}, not in {phase}")
    message = _changed(state, link, phase, verdict)
    facts = _stated(state, link, verdict) if verdict.facts else {}
    public = state.public_facts
    if facts and link.pre_auth and not link.authenticates:
        public = {**public, **{kind: fact for kind, fact in facts.items() if kind is not Peer}}
    return replace(
        state,
        request=message if isinstance(message, Request) else state.request,
        response=message if isinstance(message, Response) else state.response,
        facts={**state.facts, **facts} if facts else state.facts,
        public_facts=public,
        peer=facts.get(Peer, state.peer),
        states={**state.states, link.name: verdict.state} if verdict.state is not None else state.states,
        reports={**state.reports, link.name: _report(verdict.report)} if verdict.report else state.reports,
        secrets=(*state.secrets, *secrets),
    )


def check_headers(wanted: Mapping[str, HeaderValue]) -> list[tuple[str, tuple[bytes | Secret, ...]]]:
    """What a filter wants to set, validated. Raises: Defect."""
    return [(check_name(name), tuple(map(check_value, _several(value)))) for name, value in wanted.items()]


def _changed(state: State, link: Link, phase: Phase, verdict: Continue) -> Message:
    message: Message | None = state.response if phase.is_response else state.request
    if message is None:
        raise Defect("there is no response yet")
    if verdict.body is None and not any(
        (verdict.set_headers, verdict.remove_headers, verdict.set_query, verdict.remove_query)
    ):
        return message
    headers = message.headers.without(map(check_name, verdict.remove_headers))
    for name, values in check_headers(verdict.set_headers):
        if name in state.proof and state.peer is None:
            raise Defect(f"{name!r} cannot be set before the authenticator ran")
        headers = headers.replaced(name, *values)
    if verdict.body is not None and not phase.has_body:
        raise Defect(f"a body cannot be set in {phase}")
    body = message.body if verdict.body is None else verdict.body
    if isinstance(message, Response):
        if verdict.set_query or verdict.remove_query:
            raise Defect("a response has no query")
        return replace(message, headers=headers, body=body)
    if verdict.set_query and link.authenticates:
        raise Defect("an authenticator cannot change the query")
    return replace(message, headers=headers, body=body).with_query(verdict.remove_query, verdict.set_query)


def _stated(state: State, link: Link, verdict: Continue) -> dict[type, Any]:
    facts: dict[type, Any] = {type(fact): fact for fact in verdict.facts}
    if Peer in facts and not link.authenticates:
        raise Defect("only an authenticator states the peer")
    if Peer in facts and state.peer is not None:
        raise Defect("the peer is written once")
    return facts


def _report(given: Mapping[str, int | str]) -> dict[str, int | str]:
    """What the dynamic metadata can hold. Anything else would break the answer that is otherwise right."""
    report = dict(given)
    if not all(isinstance(name, str) and _is_word(name) and _is_word(value) for name, value in report.items()):
        raise Defect("a report has names, and for each a whole number or a printable word")
    return report


def _is_word(value: object) -> bool:
    if isinstance(value, int):
        return abs(value) <= MOST_REPORTED
    return isinstance(value, str) and len(value) <= LONGEST_WORD and value.isprintable()


def _secrets(verdict: Continue) -> list[Secret]:
    if not verdict.set_headers and not verdict.set_query:
        return []
    values = [value for wanted in verdict.set_headers.values() for value in _several(wanted)]
    return [value for value in (*values, *verdict.set_query.values()) if isinstance(value, Secret)]


def _several(value: HeaderValue) -> tuple[Any, ...]:
    if isinstance(value, str | bytes | Secret):
        return (value,)
    if not isinstance(value, Sequence):
        raise Defect(f"the values of a header are a list, not a {type(value).__name__}")
    return tuple(value)


def _cel_variables(state: State, peer: Peer | None) -> dict[str, object]:
    """Read-only throughout: all extensions of the exchange share them, and an extension's changes must be undoable."""
    request = state.arrived
    hidden = state.proof | HIDDEN_FROM_CEL
    visible = Headers(field for field in request.headers if field[0] not in hidden)
    variables: dict[str, object] = {
        "request": MappingProxyType(
            {
                "method": request.method,
                "host": request.host,
                "path": request.path_only,
                "query": request.query,
                "scheme": request.scheme,
                "headers": MappingProxyType({name: ",".join(_latin(visible, name)) for name in visible.names()}),
            }
        ),
        "route": MappingProxyType(
            {"name": state.route.name, "namespace": state.route.namespace} if state.route else {}
        ),
        "backend": _cel_backend(state.backend),
    }
    if peer is not None:
        variables["peer"] = MappingProxyType(
            {
                "username": peer.username,
                "uid": peer.uid,
                "groups": tuple(peer.groups),
                "namespace": peer.namespace,
                "serviceAccount": peer.service_account,
                "pod": peer.pod,
            }
        )
    return variables


def _cel_backend(backend: Backend | None) -> Mapping[str, object]:
    if backend is None:
        return MappingProxyType({})
    return MappingProxyType(
        {"name": backend.name, "namespace": backend.namespace, "host": backend.host, "port": backend.port}
    )


def _latin(headers: Headers, name: str) -> list[str]:
    return [value.decode("latin-1") for value in headers.values(name) if isinstance(value, bytes)]
