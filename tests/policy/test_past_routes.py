"""What a caller could leave aside by naming the Backend's own host is told when the configuration is checked."""

from pathlib import Path

import pytest

from extproc.core.engine import Selection
from extproc.policy.findings import FindingKind
from tests.policy.samples import AUTHN, BACKEND, SETTINGS, backend, policy, request, resolved, route, to
from tests.policy.test_convert import resolved as with_all_filters
from tests.policy.test_rerouting import OTHER, PLAIN, ROUTE, ROUTER

RULES = f"  - {{backendRefs: [{to('a')}]}}\n"
QUOTA = 'name: quota, type: "Limit:v1", phase: request-headers, priority: 10'
A = backend("a", "a.example")


def test_an_extension_of_a_route_does_not_run_past_it(tmp_path: Path) -> None:
    found = resolved(tmp_path, SETTINGS, AUTHN, A, route("r", "[x.example]", RULES), policy("p", "HTTPRoute/r", QUOTA))
    chains = {}
    for host in ("x.example", "a.example"):
        selection = found.select(request(host), "egress/a")
        assert isinstance(selection, Selection)
        chains[host] = [link.name for link in selection.chain.links]
    assert chains == {"x.example": ["authn", "quota"], "a.example": ["authn"]}
    [finding] = found.findings
    assert (finding.kind, finding.reason) == (FindingKind.DEGRADED, "PassedBy")
    assert "'quota' of EgressPolicy egress/p does not run for requests that name the host a.example" in finding.message


@pytest.mark.parametrize(
    ("hosts", "target"),
    [
        ("[x.example]", "Backend/a"),
        ("[x.example]", "Gateway/egress"),
        ("[x.example, a.example]", "HTTPRoute/r"),
        ('["*.example"]', "HTTPRoute/r"),
    ],
)
def test_what_runs_on_every_way_is_no_finding(tmp_path: Path, hosts: str, target: str) -> None:
    found = resolved(tmp_path, SETTINGS, AUTHN, A, route("r", hosts, RULES), policy("p", target, QUOTA))
    assert found.findings == ()


def test_a_rule_without_backends_closes_the_other_way(tmp_path: Path) -> None:
    closed = route("closed", "[a.example]", "  - {backendRefs: []}\n")
    parts = route("r", "[x.example]", RULES), closed, policy("p", "HTTPRoute/r", QUOTA)
    found = resolved(tmp_path, SETTINGS, AUTHN, A, *parts)
    assert found.findings == ()
    assert not isinstance(found.select(request("a.example"), ""), Selection)


def test_what_only_chooses_routes_is_no_loss(tmp_path: Path) -> None:
    router = policy("models", "HTTPRoute/r", ROUTER)
    found = with_all_filters(tmp_path, PLAIN, BACKEND, OTHER, ROUTE, router)
    assert [link.name for _, _, chain in found.chains() for link in chain.links] == ["model", "model"]
    assert found.findings == ()
