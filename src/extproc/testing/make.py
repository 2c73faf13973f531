"""Exchanges, chains and events, in one call each."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar, Final

from extproc.core.chain import Chain
from extproc.core.event import Event
from extproc.core.exchange import Exchange
from extproc.core.filter import Filter
from extproc.core.headers import Headers, Value, to_bytes
from extproc.core.link import Condition, Link, Scope
from extproc.core.message import Request, Response, read_request
from extproc.core.peer import Backend, Peer, Route
from extproc.core.phase import ORDER, Direction, Part, Phase
from extproc.core.secret import Secret
from extproc.core.state import State
from extproc.core.verdict import Continue, HeaderValue, Verdict
from extproc.errors import Cause
from extproc.testing.outside import compiled

Fields = Mapping[str, HeaderValue] | Iterable[tuple[str, str | Value]]
"""Headers as a test writes them: a name with its value or values, or pairs where their order matters."""

OPEN: Final = frozenset({Cause.UNAVAILABLE, Cause.TIMEOUT, Cause.UNSUPPORTED})
"""What `failOpen: true` covers if `failOpenOn` does not say."""

DEFAULT_HOST: Final = "api.openai.com"
DEFAULT_PATH: Final = "/v1/chat/completions"


def exchange(
    *,
    method: str = "POST",
    host: str = DEFAULT_HOST,
    path: str = DEFAULT_PATH,
    headers: Fields = (),
    body: bytes | None = None,
    response: Response | None = None,
    peer: Peer | None = None,
    route: Route | None = None,
    backend: Backend | None = None,
    facts: Iterable[object] = (),
    state: object = None,
    source: str = "192.0.2.1:40000",
) -> Exchange:
    """An exchange as a filter may see it. `response` is there in the response phases.

    Raises:
        ValueError: the engine would refuse such a request before any filter sees it.
    """
    request = read_request(_request_fields(method, host, path, headers))
    if not isinstance(request, Request):
        raise ValueError(f"no filter would see this request: {request.reason}")  # noqa: TRY004 - the value is wrong
    request = Request(method, "https", host, request.host, path, request.headers, body)
    stated = {type(fact): fact for fact in (*facts, *([peer] if peer else []))}
    whole = State(request, request, response, route, backend, peer=peer)
    return Exchange(request, response, route, backend, state, source, whole.named(with_peer=peer is not None), stated)


def link(
    filter: Filter,  # noqa: A002 - it is what it is
    name: str | None = None,
    *,
    phase: Phase | None = None,
    priority: int = 0,
    scope: Scope = Scope.GATEWAY,
    fail_open: bool | Iterable[Cause] = False,
    pre_auth: bool | None = None,
    timeout: float = 0.25,
    when: str | Condition | None = None,
) -> Link:
    """`filter` in its place. `phase` is the first that it supports, `name` its class's (`RateLimit` is `rate-limit`), and an
    authenticator is always preAuth, unless it is said otherwise. `fail_open` may name causes; `when` may be CEL.
    """
    covers = OPEN if fail_open is True else frozenset(fail_open or ())
    return Link(
        name or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", type(filter).__name__).lower(),
        phase or min(filter.phases, key=ORDER.index),
        filter,
        priority,
        scope,
        covers,
        timeout=timeout,
        when=compiled(when) if isinstance(when, str) else when,
        pre_auth=hasattr(filter, "reads") if pre_auth is None else pre_auth,
    )


def chain(*links: Link | Filter, authentication: bool = False) -> Chain:
    """A chain of these links; a filter alone stands for `link(filter)`. `authentication`: whether the gateway requires an
    authenticator.
    """
    return Chain(tuple(each if isinstance(each, Link) else link(each) for each in links), authentication)


def caller(peer: Peer) -> Link:
    """An authenticator that takes everybody for `peer`, before everything else."""
    return link(_Known(peer), "caller", priority=-1_000_000)


class _Known:
    phases: ClassVar[frozenset[Phase]] = frozenset({Phase.REQUEST_HEADERS})
    reads: frozenset[str] = frozenset()

    def __init__(self, peer: Peer) -> None:
        self.peer = peer

    async def decide(self, phase: Phase, exchange: Exchange) -> Verdict:  # noqa: ARG002 - the protocol's signature
        return Continue(facts=(self.peer,))


def headers(
    fields: Fields = (),
    /,
    *,
    method: str = "POST",
    host: str = DEFAULT_HOST,
    path: str = DEFAULT_PATH,
    end: bool = False,
    attributes: Mapping[str, str] | None = None,
    **named: HeaderValue,
) -> Event:
    """The request's headers. A keyword is a header as well, with `-` for `_`; `end` if no body follows."""
    more = {name.replace("_", "-"): value for name, value in named.items()}
    found = _request_fields(method, host, path, [*_pairs(fields), *_pairs(more)])
    return Event(Direction.REQUEST, Part.HEADERS, found, end=end, attributes=attributes or {})


def body(data: bytes = b"", *, end: bool = True) -> Event:
    return Event(Direction.REQUEST, Part.BODY, body=data, end=end)


def trailers(fields: Fields = ()) -> Event:
    return Event(Direction.REQUEST, Part.TRAILERS, Headers(_pairs(fields)))


def response(
    status: int = 200,
    fields: Fields = (),
    /,
    *,
    end: bool = False,
    attributes: Mapping[str, str] | None = None,
    **named: HeaderValue,
) -> Event:
    """The response's headers, written as those of `headers`."""
    more = {name.replace("_", "-"): value for name, value in named.items()}
    found = Headers([(":status", str(status).encode()), *_pairs(fields), *_pairs(more)])
    return Event(Direction.RESPONSE, Part.HEADERS, found, end=end, attributes=attributes or {})


def response_body(data: bytes = b"", *, end: bool = True) -> Event:
    return Event(Direction.RESPONSE, Part.BODY, body=data, end=end)


def response_trailers(fields: Fields = ()) -> Event:
    return Event(Direction.RESPONSE, Part.TRAILERS, Headers(_pairs(fields)))


def _request_fields(method: str, host: str, path: str, fields: Fields) -> Headers:
    pseudo = {":method": method, ":scheme": "https", ":authority": host, ":path": path}
    return Headers([*_pairs(pseudo), *_pairs(fields)])


def _pairs(fields: Fields) -> Iterator[tuple[str, Value]]:
    """Single values, as bytes, in the order in which they are written."""
    for name, value in fields.items() if isinstance(fields, Mapping) else fields:
        values = (value,) if isinstance(value, str | bytes | Secret) else value
        for each in values:
            yield name, to_bytes(each)
