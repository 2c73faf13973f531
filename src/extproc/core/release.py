"""Whether the credentials of a request may go where Envoy is about to send it (DESIGN section 3, "Which Backend")."""

from extproc.core.secret import may_reach
from extproc.core.state import State
from extproc.core.verdict import Respond, deny


def misdirected(state: State) -> Respond | None:
    """The denial, if a credential would go to a cluster that is not its Backend's, or to a Backend that its source does not
    release it to.
    """
    if not state.secrets:
        return None
    if state.backend is None or state.cluster not in state.backend.clusters:
        return deny("backend_mismatch", f"Envoy would send this to cluster {state.cluster!r}")
    if not all(may_reach(secret, str(state.backend)) for secret in state.secrets):
        return deny("backend_mismatch", f"the source of a credential does not release it to {state.backend}")
    return None
