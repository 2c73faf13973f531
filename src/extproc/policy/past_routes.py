"""Extensions of an HTTPRoute that a caller could leave aside, by naming the Backend's own host where no HTTPRoute lists it."""

from typing import Final

from extproc.core.link import Scope
from extproc.policy.findings import Findings
from extproc.policy.resolved import Resolved

REASON: Final = "PassedBy"


def judge(resolved: Resolved, findings: Findings) -> None:
    """One finding for each. What chooses a route is of no use past the routes, so nobody gains by leaving it aside."""
    direct = {served.backend for served in resolved.by_host.values()}
    for route, served, chain in resolved.chains():
        if route is None or served is None or served.backend not in direct:
            continue
        for link in chain.links:
            if link.scope is Scope.ROUTE and not link.reroutes:
                attachment = resolved.extension_of(link).attachment
                findings.degraded(
                    f"{attachment.title} does not run for requests that name the host {served.backend.host}: they reach the"
                    f" Backend {served.backend} past the HTTPRoute {route}. Attach it to the Backend, or list this host in an"
                    " HTTPRoute (a rule without backendRefs denies it)",
                    attachment.place("name"),
                    REASON,
                )
