"""When a change of its headers makes Envoy choose the route of a request anew: what the configuration has for it then.

Envoy matches the request as it leaves, once more, and tells nobody what it found (PROTOCOL 2.9). So what has run already must
be all that the new route wants to run, and no credential may be set yet: one is set at the try, where the cluster is known.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from extproc.core.chain import Chain
from extproc.core.engine import Engine, Routing, Selection
from extproc.core.headers import Value
from extproc.core.message import Request
from extproc.core.phase import UPSTREAM_PHASES
from extproc.core.state import State
from extproc.core.verdict import Respond, deny

Routed = tuple[tuple[Value, ...], ...]
"""The values of the headers by which routes are chosen."""


@dataclass(slots=True)
class Choosing:
    """What one exchange has chosen. `due`: Envoy is to be told to choose as well."""

    due: bool = False
    _found: Selection | None = None
    _routed: Routed | None = field(default=None, repr=False)

    def first(self, engine: Engine, request: Request, arrived: Request, cluster: str) -> Selection | Respond:
        """What `arrived` meets. If the caller of `request` has sent what routes are chosen by, Envoy's cluster counts for
        nothing where rules depend on it, and the route is chosen again, whatever becomes of these headers.
        """
        routing, found = engine.routing, None
        if routing:
            now = routed(arrived, routing.routing_headers)
            if now == routed(request, routing.routing_headers):
                self._routed = now
            else:
                found = routing.select_again(arrived)
        return found or engine.policy.select(arrived, cluster)

    def again(self, routing: Routing, state: State, chain: Chain) -> Selection | Respond | None:
        """What the request meets now, if a header has changed by which routes are chosen, and a rule depends on it."""
        now = routed(state.request, routing.routing_headers)
        if now == self._routed:
            return None
        self._routed, found = now, again(routing, state, chain)
        if isinstance(found, Selection):
            self._found, self.due = found, True
        return found

    def take(self) -> Selection | None:
        """What was chosen since it was last taken."""
        found, self._found = self._found, None
        return found

    def tell(self) -> bool:
        """Whether Envoy is to choose; it is told once."""
        due, self.due = self.due, False
        return due


def routed(request: Request, names: Iterable[str]) -> Routed:
    return tuple(request.headers.values(name) for name in sorted(names))


def again(routing: Routing, state: State, chain: Chain) -> Selection | Respond | None:
    """What the request of `state` meets, of which `chain` has run so far; or why it may not go on. None: Envoy need not choose:
    between Backends by weight nobody could tell whether it takes the one again whose chain has run.
    """
    found = routing.select_again(state.request)
    if found is None:
        return None
    if state.secrets or state.request.hidden_query:
        return deny("backend_mismatch", "a credential was set before the route was chosen for good")
    if isinstance(found, Selection) and downstream(found.chain) != downstream(chain):
        return deny("backend_mismatch", f"{found.route or 'the new route'} wants other extensions than those that ran")
    return found


def downstream(chain: Chain) -> frozenset[int]:
    """The extensions of an exchange but for those of its tries, each as the object that it is."""
    return frozenset(id(link) for link in chain.links if link.phases - UPSTREAM_PHASES)
