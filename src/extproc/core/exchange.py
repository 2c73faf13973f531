"""What one extension sees of an exchange."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from extproc.core.message import Request, Response
from extproc.core.peer import Backend, Peer, Route
from extproc.core.values import swift

T = TypeVar("T")


@swift
@dataclass(frozen=True, slots=True)
class Exchange:
    """One HTTP request and its response, as one extension may see it: the result of the extensions before it, without the
    headers that the authenticator reads, and without the peer for an extension that says `preAuth`. The body of a request is
    there in its own phase, and not kept for those of the answer.

    `state` is what this extension left for itself in an earlier phase. `source` is the address that called the gateway
    (ip:port, from Envoy's `source.address`), or empty.
    """

    request: Request
    response: Response | None = None
    route: Route | None = None
    backend: Backend | None = None
    state: object = None
    source: str = ""
    variables: Mapping[str, object] = field(default_factory=dict, repr=False)
    """What CEL sees (DESIGN section 3): `request` as it arrived, `route`, `backend`, and `peer` unless hidden."""
    _facts: Mapping[type, object] = field(default_factory=dict, repr=False)

    def fact(self, kind: type[T]) -> T | None:
        """The fact of that class that an earlier extension stated, or None."""
        found = self._facts.get(kind)
        return found if isinstance(found, kind) else None

    @property
    def peer(self) -> Peer | None:
        """The authenticated caller; None before authentication and for a preAuth extension."""
        return self.fact(Peer)
