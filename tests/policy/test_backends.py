"""Backends: internal hosts, and two with one hostname."""

from pathlib import Path

import pytest

from extproc.core.engine import Selection
from extproc.core.verdict import Respond
from extproc.policy.findings import FindingKind
from tests.policy.samples import AUTHN, SETTINGS, backend, marked_line, policy, refused, request, resolved


@pytest.mark.parametrize(
    "host", ["10.0.0.1", "::1", "vault", "LocalHost", "kubernetes.default.svc", "a.cluster.local."]
)
def test_an_internal_host_needs_to_be_allowed(tmp_path: Path, host: str) -> None:
    documents = SETTINGS, AUTHN, backend("a", host).replace("443}", "443} #!")
    (error,) = refused(tmp_path, *documents)
    assert "is an address or a name inside" in error.message
    assert (error.reason, error.place.field, error.place.line) == (
        "InternalHost",
        "spec.fqdn.hostname",
        marked_line(*documents),
    )
    found = resolved(tmp_path, SETTINGS, AUTHN, backend("a", host, "  allowInternal: true\n"))
    assert len(found.by_host) == 1


@pytest.mark.parametrize(
    ("host", "sentence"),
    [
        ("127.1", "reads as an IP address, and is none in its usual form"),
        ("0x7f.0.0.1", "reads as an IP address"),
        ("2130706433", "reads as an IP address"),
        ("*.openai.com", "is a wildcard: a Backend is one host"),
        ("https://api.openai.com", "is not a host name"),
        ("fe80::1%eth0", "has a zone"),
    ],
)
def test_what_is_no_host_is_refused_even_if_internal_ones_are_allowed(tmp_path: Path, host: str, sentence: str) -> None:
    documents = SETTINGS, AUTHN, backend("a", host, "  allowInternal: true\n").replace("443}", "443} #!")
    errors = [error for error in refused(tmp_path, *documents) if sentence in error.message]
    assert errors
    assert (errors[0].place.field, errors[0].place.line) == ("spec.fqdn.hostname", marked_line(*documents))


@pytest.mark.parametrize(
    ("document", "field"),
    [
        (backend("a", "127.0.0.1", "  allowInternal: true #!\n", namespace="team"), "spec.allowInternal"),
        (
            backend("a", "a.example", namespace="team", tls="{mode: MUTUAL, cert: /x.pem, key: /x.key}").replace(
                "key}}", "key}} #!"
            ),
            "spec.fqdn.tls.cert",
        ),
    ],
)
def test_what_is_beside_the_gateway_is_its_own_namespaces(tmp_path: Path, document: str, field: str) -> None:
    """Else who may write in one namespace reads the gateway's own ports, or calls with its certificate."""
    documents = SETTINGS, AUTHN, document
    (error,) = refused(tmp_path, *documents)
    assert (error.reason, error.place.field, error.place.line) == ("NotPermitted", field, marked_line(*documents))
    assert len(resolved(tmp_path, SETTINGS, AUTHN, document.replace("team", "egress")).by_host) == 1


def test_upper_case_and_a_dot_are_the_same_host(tmp_path: Path) -> None:
    found = resolved(tmp_path, SETTINGS, AUTHN, backend("a", "API.OpenAI.com."))
    assert isinstance(found.select(request("api.openai.COM.:443"), ""), Selection)


def test_of_two_with_one_hostname_the_gateways_namespace_wins(tmp_path: Path) -> None:
    """Whatever the other's age and name."""
    other = backend("a", "API.openai.com", namespace="a-tenant", created='"2001-01-01T00:00:00Z"')
    mine = 'name: mine, type: "Limit:v1", phase: request-headers, priority: 9'
    extended = policy("p", "Backend/a", mine, namespace="a-tenant")
    found = resolved(tmp_path, SETTINGS, AUTHN, other, backend("openai", "api.openai.com"), extended)
    selection = found.select(request("api.openai.com"), "")
    assert isinstance(selection, Selection)
    assert str(selection.backend) == "egress/openai"
    assert [link.name for link in selection.chain.links] == ["authn"]
    (finding,) = found.findings
    assert (finding.kind, finding.reason) == (FindingKind.CONFLICTED, "HostnameConflict")
    assert (
        "Backend a-tenant/a serves nothing: the hostname api.openai.com belongs to Backend egress/openai"
        in finding.message
    )
    assert (finding.place.document, finding.place.field) == (3, "spec.fqdn.hostname")
    assert [str(served.backend) for served in found.backends if served.conflicted] == ["a-tenant/a"]


def test_then_the_oldest_wins_then_the_first_by_name(tmp_path: Path) -> None:
    young = backend("a", "x.example", created='"2025-01-01T00:00:00Z"')
    old = backend("b", "x.example", created="2024-01-01")
    ageless = backend("c", "x.example")
    found = resolved(tmp_path, SETTINGS, AUTHN, young, ageless, old)
    assert str(found.by_host["x.example"].backend) == "egress/b"
    found = resolved(tmp_path, SETTINGS, AUTHN, backend("z", "x.example"), ageless)
    assert str(found.by_host["x.example"].backend) == "egress/c"


def test_clusters_default_to_the_name(tmp_path: Path) -> None:
    found = resolved(
        tmp_path, SETTINGS, AUTHN, backend("a", "a.example"), backend("b", "b.example", "  clusters: [x, y]\n")
    )
    assert [served.backend.clusters for served in found.backends] == [{"egress/a"}, {"x", "y"}]


def test_a_host_without_a_backend(tmp_path: Path) -> None:
    denied = resolved(tmp_path, SETTINGS, AUTHN, backend("a", "a.example")).select(request("b.example"), "egress/a")
    assert isinstance(denied, Respond)
    assert (denied.status, denied.code) == (403, "no_backend")
    allowed = resolved(tmp_path, f"{SETTINGS}trafficPolicy: Allow\n", AUTHN, backend("a", "a.example"))
    selection = allowed.select(request("b.example"), "everything_else")
    assert isinstance(selection, Selection)
    assert (selection.backend, selection.route) == (None, None)
    assert [link.name for link in selection.chain.links] == ["authn"]
    assert_mismatch(allowed.select(request("b.example"), "egress/a"))


def assert_mismatch(denied: Selection | Respond) -> None:
    assert isinstance(denied, Respond)
    assert (denied.status, denied.code) == (403, "backend_mismatch")


def test_the_cluster_of_another_backend_is_denied(tmp_path: Path) -> None:
    """Its extensions would not run, whether a credential is at stake or not. A cluster of no Backend is somebody's own name."""
    found = resolved(tmp_path, SETTINGS, AUTHN, backend("a", "a.example"), backend("b", "b.example"))
    assert_mismatch(found.select(request("a.example"), "egress/b"))
    for cluster in ("", "egress/a", "a-name-of-their-own"):
        assert isinstance(found.select(request("a.example"), cluster), Selection)
