"""What the downstream pass of an exchange tells the upstream pass: the two are streams of their own, perhaps to two processes.

Between them lies Envoy, so it travels as a token that only this gateway's processes can make and read.
"""

from dataclasses import dataclass, field
from typing import Protocol

from extproc.core.chain import Chain
from extproc.core.message import Request
from extproc.core.peer import Backend, Peer, Route
from extproc.core.secret import Secret
from extproc.core.state import HIDDEN_FROM_CEL, State
from extproc.core.values import replace


@dataclass(frozen=True, slots=True)
class Places:
    """Names of headers (lower case) and of query parameters."""

    headers: frozenset[str] = frozenset()
    query: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Papers:
    """Who calls, and what was decided. `arrived` is the request as it came, without the headers that no expression sees;
    `backends` (namespace/name) are those that a try of this exchange may go to; `held` is where the downstream pass has put a
    credential; `generation` names the configuration that the exchange began with.
    """

    route: Route | None
    backends: frozenset[str]
    peer: Peer | None
    arrived: Request
    source: str = ""
    request_id: str = ""
    held: Places = field(default_factory=Places)
    generation: str = ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a try at one Backend meets. `left`: where an earlier try, at this Backend or another, may have left a credential."""

    chain: Chain
    backend: Backend
    left: Places = field(default_factory=Places)


class Passports(Protocol):
    """Makes and reads tokens."""

    def issue(self, papers: Papers) -> str:
        """Printable ASCII. Raises: TooLarge, if the request's headers make it larger than Envoy should carry."""
        ...

    def read(self, token: str) -> Papers | None:
        """What was issued, or None: it is forged, damaged, expired, another gateway's, or of another key."""
        ...


class Tries(Protocol):
    """The configuration as the upstream pass asks it."""

    def attempt(self, route: Route | None, backend: str) -> Attempt | None:
        """What a try at that Backend (namespace/name) meets; None if there is none such."""
        ...


def papers_of(state: State, backends: frozenset[str], request_id: str, generation: str = "") -> Papers:
    """The papers of an exchange whose request-headers are decided."""
    arrived = replace(state.arrived, headers=state.arrived.headers.without(state.proof | HIDDEN_FROM_CEL), body=None)
    request = state.request
    held = Places(
        frozenset(name for name, value in request.headers if isinstance(value, Secret)),
        frozenset(name.casefold() for name, _ in request.hidden_query),
    )
    return Papers(state.route, backends, state.peer, arrived, state.source, request_id, held, generation)
