"""What passes of trailers."""

import re
from typing import Final

from extproc.core.chain import Chain
from extproc.core.engine import OURS, Engine
from extproc.core.event import Event, Outcome
from extproc.core.headers import Headers, difference
from extproc.core.phase import Direction
from extproc.core.state import State

GRPC: Final = re.compile(r"(?i)\s*application/grpc\b")


def announced(headers: Headers) -> bool:
    """Whether an answer with these headers says that trailers follow (RFC 9110 section 6.6.2), or is one of gRPC, which ends
    with them. Envoy can tell only at the end, and to wait for it the stream of each exchange would stay open so long.
    """
    return "trailer" in headers or GRPC.match(headers.get("content-type") or "") is not None


def trailing(event: Event, engine: Engine, chain: Chain, state: State) -> Outcome:
    """Trailers of a request are removed but for a list: an upstream may read them as headers. Those of a response are masked
    as its headers are.
    """
    if event.direction is Direction.RESPONSE:
        kept = engine.mask(event.fields, state.secrets)
    else:
        kept = event.fields.without(name for name in event.fields.names() if not _may_pass(name, engine, chain))
    return Outcome(event.direction, event.part, difference(event.fields, kept))


def _may_pass(trailer: str, engine: Engine, chain: Chain) -> bool:
    """What is removed from every request's headers is removed from its trailers, listed or not."""
    removed = trailer.startswith(OURS) or trailer in engine.policy.identity_headers or trailer in chain.proof
    routes = engine.routing is not None and trailer in engine.routing.routing_headers
    return trailer in engine.policy.request_trailers and not removed and not routes
