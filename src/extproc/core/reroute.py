"""When a change of its headers makes Envoy choose the route of a request anew: what the configuration has for it then.

Envoy matches the request as it leaves, once more, and tells nobody what it found (PROTOCOL 2.9). So what has run already must
be all that the new route wants to run, and no credential may be set yet: one is set at the try, where the cluster is known.
"""

from collections.abc import Iterable

from extproc.core.chain import Chain
from extproc.core.engine import Routing, Selection
from extproc.core.headers import Value
from extproc.core.message import Request
from extproc.core.phase import UPSTREAM_PHASES
from extproc.core.state import State
from extproc.core.verdict import Respond, deny

Routed = tuple[tuple[Value, ...], ...]
"""The values of the headers by which routes are chosen."""


def routed(request: Request, names: Iterable[str]) -> Routed:
    return tuple(request.headers.values(name) for name in sorted(names))


def again(routing: Routing, state: State, chain: Chain) -> Selection | Respond:
    """What the request of `state` meets, of which `chain` has run so far; or why it may not go on."""
    if state.secrets or state.request.hidden_query:
        return deny("backend_mismatch", "a credential was set before the route was chosen for good")
    found = routing.select_again(state.request)
    if isinstance(found, Selection) and downstream(found.chain) != downstream(chain):
        return deny("backend_mismatch", f"{found.route or 'the new route'} wants other extensions than those that ran")
    return found


def downstream(chain: Chain) -> frozenset[int]:
    """The extensions of an exchange but for those of its tries, each as the object that it is."""
    return frozenset(id(link) for link in chain.links if link.phases - UPSTREAM_PHASES)
