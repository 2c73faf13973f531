"""HTTPRoutes: which rule a request meets, which Backend it may have, and what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.core.engine import Selection
from extproc.core.headers import Headers
from extproc.core.message import Request
from extproc.core.phase import Phase
from extproc.core.verdict import Respond
from extproc.policy.describe import needs
from extproc.policy.gateway_api import RouteMatch
from extproc.policy.matching import Match, patterns
from extproc.policy.read import load
from extproc.policy.resolve import resolve
from extproc.policy.resolved import Resolved
from extproc.policy.routes import compile_match
from extproc.ports import FilterContext
from tests.policy.samples import (
    AUTHN,
    CATALOG,
    SETTINGS,
    Inject,
    backend,
    marked_line,
    outside,
    policy,
    refused,
    request,
    resolved,
    route,
    to,
    write,
)

A, B, C = (backend(name, f"{name}.example") for name in "abc")
KEYS = "secretSources:\n  keys: {file: {root: secrets}, backends: [egress/a]}\n"
QUOTA = 'name: quota, type: "Limit:v1", phase: request-headers, priority: 10'
INJECT = 'name: inject, type: "Inject:v1", phase: request-headers, priority: 30'


def rule(refs: str, match: str = "", more: str = "") -> str:
    matches = f"matches: [{{{match}}}], " if match else ""
    return f"  - {{{matches}backendRefs: [{refs}]{more}}}\n"


def chosen(found: Resolved, asked: Request, cluster: str = "") -> str:
    """The Backend of a request, or the code of its denial."""
    selection = found.select(asked, cluster)
    return selection.code if isinstance(selection, Respond) else str(selection.backend)


def test_a_route_decides_about_its_hosts(tmp_path: Path) -> None:
    rules = rule(to("a"), "path: {value: /v1}") + rule(to("b"), "path: {type: Exact, value: /v2}")
    found = resolved(tmp_path, SETTINGS, AUTHN, A, B, route("r", "[a.example, api.example]", rules))
    assert chosen(found, request("api.example", "/v1/chat?x=1")) == "egress/a"
    assert chosen(found, request("API.example:443", "/v1")) == "egress/a"
    assert chosen(found, request("a.example", "/v2")) == "egress/b"
    selection = found.select(request("a.example", "/v2"), "")
    assert isinstance(selection, Selection)
    assert str(selection.route) == "egress/r"


def test_a_listed_host_is_decided_by_routes_alone(tmp_path: Path) -> None:
    """The Backend's own hostname does not help a request that no rule matches."""
    found = resolved(tmp_path, SETTINGS, AUTHN, A, B, route("r", "[a.example]", rule(to("a"), "path: {value: /v1}")))
    assert chosen(found, request("a.example", "/v10")) == "no_backend"
    assert chosen(found, request("a.example", "/")) == "no_backend"
    assert chosen(found, request("b.example", "/")) == "egress/b"
    assert "a.example" not in found.by_host
    assert [(str(where), str(served and served.backend)) for where, served, _ in found.chains()] == [
        ("None", "egress/b"),
        ("egress/r", "egress/a"),
    ]


def test_a_rule_without_backends_denies(tmp_path: Path) -> None:
    text = rule("") + rule(to("a").replace("name: a", "name: a, weight: 0"), "path: {value: /zero}")
    found = resolved(tmp_path, SETTINGS, AUTHN, A, route("r", "[x.example]", text))
    assert chosen(found, request("x.example", "/")) == "no_backend"
    assert chosen(found, request("x.example", "/zero")) == "no_backend"


def test_exact_hostnames_come_before_wildcards_and_long_ones_before_short_ones(tmp_path: Path) -> None:
    found = resolved(
        tmp_path,
        SETTINGS,
        AUTHN,
        A,
        B,
        C,
        route("one", '["*.x.example"]', rule(to("a"))),
        route("two", '["*.y.x.example"]', rule(to("b"))),
        route("three", "[z.y.x.example]", rule(to("c"))),
    )
    assert chosen(found, request("z.y.x.example")) == "egress/c"
    assert chosen(found, request("q.z.y.x.example")) == "egress/b"
    assert chosen(found, request("q.x.example")) == "egress/a"
    assert chosen(found, request("x.example")) == "no_backend"


def test_precedence_is_gateway_apis(tmp_path: Path) -> None:
    """Each rule is less specific than the one after it, and the order of the document says the opposite."""
    backends = [backend(f"b{number}", f"b{number}.example") for number in range(7)]
    rules = [
        rule(to("b0")),
        rule(to("b1"), "queryParams: [{name: q, value: x}]"),
        rule(to("b2"), "headers: [{name: X-A, value: x}]"),
        rule(to("b3"), "method: GET"),
        rule(to("b4"), "path: {value: /v1}"),
        rule(to("b5"), "path: {value: /v1/chat}"),
        rule(to("b6"), "path: {type: Exact, value: /v1/chat/x}"),
    ]
    full = {"path": "/v1/chat/x?q=x", "method": "GET", "x_a": "x"}
    for last in range(7, 0, -1):
        found = resolved(tmp_path, SETTINGS, AUTHN, *backends, route("r", "[x.example]", "".join(rules[:last])))
        assert chosen(found, request("x.example", **full)) == f"egress/b{last - 1}"


@pytest.mark.parametrize("values", [("x", "x"), ("x", ""), ("", "x"), ("x", "y")])
def test_a_header_that_decides_is_there_once(tmp_path: Path, values: tuple[str, str]) -> None:
    """Envoy matches each value by itself (1.40), or all of them joined (before): nobody knows which rule it takes."""
    rules = rule(to("a")) + rule(to("b"), "headers: [{name: X-A, value: x}]")
    found = resolved(tmp_path, SETTINGS, AUTHN, A, B, route("r", "[x.example]", rules))
    twice = Headers([*(("x-a", value.encode()) for value in values), ("x-b", b"1"), ("x-b", b"2")])
    assert chosen(found, replace(request("x.example"), headers=twice)) == "bad_request"
    assert chosen(found, replace(request("b.example"), headers=twice)) == "egress/b"  # no rule lists this host
    once = Headers([("x-a", b"x"), ("x-b", b"1"), ("x-b", b"2")])
    assert chosen(found, replace(request("x.example"), headers=once)) == "egress/b"


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"x_http_method_override": "DELETE"}, "bad_request"),
        ({"x_http_method": "delete"}, "bad_request"),
        ({"x_method_override": "POST"}, "egress/a"),
        ({"path": "/?%24httpMethod=DELETE"}, "bad_request"),
        ({"path": "/?a=b;$HttpMethod=DELETE"}, "bad_request"),
        ({"path": "/?$httpMethod=POST&q=$httpMethod=DELETE"}, "egress/a"),
        ({}, "egress/a"),
    ],
)
def test_where_the_method_decides_no_other_is_named(tmp_path: Path, more: dict[str, str], code: str) -> None:
    """A destination may obey it, as Google's do: what only POST may reach would be deleted."""
    rules = rule(to("a"), "method: POST")
    found = resolved(tmp_path, SETTINGS, AUTHN, A, B, route("r", "[x.example]", rules))
    assert chosen(found, request("x.example", method="POST", **more)) == code
    assert chosen(found, request("b.example", method="POST", **more)) == "egress/b"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("alt=media", "egress/b"),
        ("alt=media&alt=json", "bad_request"),
        ("alt=json;alt=media", "bad_request"),
        ("alt=json&%61lt=json", "bad_request"),
        ("%61lt=media", "bad_request"),
        ("alt=%6dedia", "bad_request"),
        ("alt=media&q=%6dedia&q=2", "egress/b"),
        ("alt=a%20b", "egress/a"),
        ("alt", "egress/a"),
        ("", "egress/a"),
    ],
)
def test_a_parameter_that_decides_has_one_reading(tmp_path: Path, query: str, code: str) -> None:
    rules = rule(to("a")) + rule(to("b"), "queryParams: [{name: alt, value: media}]")
    found = resolved(tmp_path, SETTINGS, AUTHN, A, B, route("r", "[x.example]", rules))
    assert chosen(found, request("x.example", f"/?{query}")) == code


def test_the_cluster_of_another_rule_is_denied(tmp_path: Path) -> None:
    found = resolved(tmp_path, SETTINGS, AUTHN, A, B, route("r", "[x.example]", rule(to("a"))))
    assert chosen(found, request("x.example"), "egress/b") == "backend_mismatch"
    assert chosen(found, request("x.example"), "egress/a") == "egress/a"


def test_ties_go_to_the_oldest_route_then_the_first_name_then_the_first_rule(tmp_path: Path) -> None:
    young = route("a", "[x.example]", rule(to("a")), created='"2025-01-01T00:00:00Z"')
    old = route("b", "[x.example]", rule(to("b")), created='"2024-01-01T00:00:00Z"')
    ageless = route("c", "[x.example]", rule(to("c")) + rule(to("a")))
    assert chosen(resolved(tmp_path, SETTINGS, AUTHN, A, B, C, young, ageless, old), request("x.example")) == "egress/b"
    assert chosen(resolved(tmp_path, SETTINGS, AUTHN, A, B, C, ageless), request("x.example")) == "egress/c"
    later = route("d", "[x.example]", rule(to("a")))
    assert chosen(resolved(tmp_path, SETTINGS, AUTHN, A, B, C, later, ageless), request("x.example")) == "egress/c"


def test_with_several_backends_the_cluster_tells_which(tmp_path: Path) -> None:
    chat = policy("p", "Backend/b", 'name: quota, type: "Limit:v1", phase: request-headers, priority: 10')
    rules = rule(to("a", "b") + ", {group: egress.extproc.dev, kind: Backend, name: c, weight: 0}")
    found = resolved(tmp_path, SETTINGS, AUTHN, A, B, C, chat, route("r", "[x.example]", rules))
    assert chosen(found, request("x.example"), "egress/a") == "egress/a"
    assert chosen(found, request("x.example"), "egress/b") == "egress/b"
    for wrong in ("", "egress/c", "egress"):
        assert chosen(found, request("x.example"), wrong) == "backend_mismatch"
    selection = found.select(request("x.example"), "egress/b")
    assert isinstance(selection, Selection)
    assert [link.name for link in selection.chain.links] == ["authn", "quota"]
    weights = [(str(one.served.backend), one.weight) for one in found.routes[0].rules[0].destinations]
    assert weights == [("egress/a", 1), ("egress/b", 1)]


def test_extensions_of_a_route(tmp_path: Path) -> None:
    """The route's is the narrowest, and it runs for that route only."""
    wide = policy("wide", "Backend/a", 'name: quota, type: "Limit:v1", phase: request-headers, priority: 10')
    narrow = policy("narrow", "HTTPRoute/r", 'name: quota, type: "Limit:v1", phase: request-headers, priority: 20')
    routes = route("r", "[x.example]", rule(to("a"))), route("s", "[y.example]", rule(to("a")))
    found = resolved(tmp_path, SETTINGS, AUTHN, A, wide, narrow, *routes)
    for host, priority in (("x.example", 20), ("y.example", 10), ("a.example", 10)):
        selection = found.select(request(host), "")
        assert isinstance(selection, Selection)
        assert [link.priority for link in selection.chain.links if link.name == "quota"] == [priority]
    assert "at HTTPRoute/egress/r, which is narrower" in found.findings[0].message


def test_what_may_not_be_overridden_at_a_backend_is_not(tmp_path: Path) -> None:
    wide = policy(
        "wide", "Backend/a", 'name: quota, type: "Limit:v1", phase: request-headers, priority: 10, overridable: false'
    )
    narrow = policy("narrow", "HTTPRoute/r", 'name: quota, type: "Limit:v1", phase: request-headers, priority: 20')
    errors = refused(tmp_path, SETTINGS, AUTHN, A, wide, narrow, route("r", "[x.example]", rule(to("a"))))
    assert [(error.reason, error.place.document) for error in errors] == [("NotOverridable", 5)]


def test_routes_of_others_are_told(tmp_path: Path) -> None:
    elsewhere = route("r", "[a.example]", rule(to("b")), parent="other")
    foreign = route("s", "[a.example]", rule(to("b")), namespace="tenant")
    found = resolved(
        tmp_path,
        SETTINGS,
        AUTHN,
        A,
        B,
        elsewhere,
        foreign,
        policy("p", "HTTPRoute/r", 'name: x, type: "Limit:v1", phase: request-headers, priority: 9'),
    )
    assert chosen(found, request("a.example")) == "egress/a"
    assert [finding.reason for finding in found.findings] == ["OtherGateway"] * 3
    assert "belongs to egress/other" in found.findings[0].message
    assert "is not of the Gateway's namespace" in found.findings[1].message


def test_a_backend_of_another_namespace_needs_a_grant(tmp_path: Path) -> None:
    shared = backend("shared", "shared.example", namespace="team")
    ref = "{group: egress.extproc.dev, kind: Backend, name: shared, namespace: team}"
    asking = route("r", "[x.example]", rule(ref))
    grant = (
        "apiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\nmetadata: {name: g, namespace: team}\n"
        "spec:\n  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: egress}]\n"
        "  to: [{group: egress.extproc.dev, kind: Backend, name: shared}]\n"
    )
    (error,) = refused(tmp_path, SETTINGS, AUTHN, shared, asking)
    assert (error.reason, error.place.field) == ("RefNotPermitted", "spec.rules[0].backendRefs[0]")
    for wrong in (
        grant.replace("namespace: team", "namespace: egress"),
        grant.replace("namespace: egress}]", "namespace: other}]"),
        grant.replace("name: shared", "name: other"),
        grant.replace("kind: Backend", "kind: Service"),
    ):
        assert refused(tmp_path, SETTINGS, AUTHN, shared, asking, wrong)[0].reason == "RefNotPermitted"
    assert chosen(resolved(tmp_path, SETTINGS, AUTHN, shared, asking, grant), request("x.example")) == "team/shared"


def test_a_rule_that_names_a_backend_without_a_host_denies(tmp_path: Path) -> None:
    loser = backend("z", "a.example")
    found = resolved(tmp_path, SETTINGS, AUTHN, A, loser, route("r", "[x.example]", rule(to("z"))))
    assert chosen(found, request("x.example"), "egress/z") == "no_backend"


MARK = "  - {{{}}} #!\n"
REFS = f"backendRefs: [{to('a')}]"

# what is wrong: the rules, the field, the sentence
REFUSALS = {
    "a regular expression": (
        MARK.format(f"matches: [{{path: {{type: RegularExpression, value: '/(a+)+'}}}}], {REFS}"),
        "spec.rules[0].matches[0].path.type",
        "RegularExpression is not implemented",
    ),
    "a regular expression for a header": (
        MARK.format(f"matches: [{{headers: [{{type: RegularExpression, name: a, value: b}}]}}], {REFS}"),
        "spec.rules[0].matches[0].headers[0]",
        "RegularExpression is not implemented",
    ),
    "a header twice": (
        MARK.format(f"matches: [{{headers: [{{name: a, value: b}}, {{name: A, value: c}}]}}], {REFS}"),
        "spec.rules[0].matches[0].headers[1]",
        "'A' is matched twice",
    ),
    "no header": (
        MARK.format(f"matches: [{{headers: [{{name: 'a b', value: b}}]}}], {REFS}"),
        "spec.rules[0].matches[0].headers[0]",
        "'a b' is not a header name",
    ),
    "a path with dots": (
        MARK.format(f"matches: [{{path: {{value: /a/../b}}}}], {REFS}"),
        "spec.rules[0].matches[0].path.value",
        "is no path in normal form",
    ),
    "a path with a query": (
        MARK.format(f"matches: [{{path: {{value: '/a?b=c'}}}}], {REFS}"),
        "spec.rules[0].matches[0].path.value",
        "is no path in normal form",
    ),
    "a filter": (
        MARK.format(f"filters: [{{type: URLRewrite, urlRewrite: {{}}}}], {REFS}"),
        "spec.rules[0].filters[0]",
        "the filter URLRewrite is not implemented",
    ),
    "a mirror": (
        MARK.format(f"filters: [{{type: RequestMirror, requestMirror: {{}}}}], {REFS}"),
        "spec.rules[0].filters[0]",
        "a mirror would receive an injected credential too",
    ),
    "a Service": (
        MARK.format("backendRefs: [{name: a, port: 80}]"),
        "spec.rules[0].backendRefs[0]",
        "a backendRef names a Backend of the group egress.extproc.dev, not core/Service",
    ),
    "a Backend that is not there": (
        MARK.format(f"backendRefs: [{to('none')}]"),
        "spec.rules[0].backendRefs[0].name",
        "there is no Backend egress/none",
    ),
    "another port": (
        MARK.format(f"backendRefs: [{to('a').replace('name: a', 'name: a, port: 80')}]"),
        "spec.rules[0].backendRefs[0].port",
        "the Backend egress/a has the port 443",
    ),
}


@pytest.mark.parametrize(("rules", "field", "sentence"), REFUSALS.values(), ids=REFUSALS.keys())
def test_a_refusal(tmp_path: Path, rules: str, field: str, sentence: str) -> None:
    documents = SETTINGS, AUTHN, A, route("r", "[x.example]", rules)
    (error,) = refused(tmp_path, *documents)
    assert sentence in error.message
    assert (error.place.line, error.place.document, error.place.field) == (marked_line(*documents), 4, field)


def test_hosts_of_a_route_are_refused(tmp_path: Path) -> None:
    (error,) = refused(tmp_path, SETTINGS, AUTHN, A, route("r", "['127.0.0.1']", rule(to("a"))))
    assert (error.place.field, error.place.document) == ("spec.hostnames[0]", 4)
    (error,) = refused(tmp_path, SETTINGS, AUTHN, A, route("r", "[]", rule(to("a"))))
    assert "without any it would take every host" in error.message


def test_a_credential_beside_several_backends_is_refused(tmp_path: Path) -> None:
    inject = policy("p", "Backend/a", INJECT)
    several = route("r", "[x.example]", rule(to("a", "b")).replace("}\n", "} #!\n"))
    documents = SETTINGS + KEYS, AUTHN, A, B, inject, several
    (error,) = refused(tmp_path, *documents)
    assert error.reason == "AmbiguousBackend"
    assert (
        "this rule has several Backends, and extension 'inject' of EgressPolicy egress/p releases a credential"
        in error.message
    )
    assert (error.place.line, error.place.field) == (marked_line(*documents), "spec.rules[0].backendRefs")
    one = route("r", "[x.example]", rule(to("a", "a")) + rule(to("b"), "path: {value: /b}"))
    assert chosen(resolved(tmp_path, SETTINGS + KEYS, AUTHN, A, B, inject, one), request("x.example"), "") == "egress/a"
    upstream = policy("p", "Backend/a", INJECT.replace("request-headers", "backend-request"))
    assert resolved(tmp_path, SETTINGS + KEYS, AUTHN, A, B, upstream, several).findings[0].reason == "PhaseNotServed"


UPSTREAM = f"{SETTINGS}{KEYS}upstreamPass: true\n"
EACH_TRY = INJECT.replace("request-headers", "backend-request")
SHARED = [backend(name, f"{name}.example", f"  clusters: [egress/{name}, both]\n") for name in "ab"]
SEVERAL = route("r", "[x.example]", rule(to("a", "b")))


def selected(found: Resolved, host: str, cluster: str = "") -> Selection:
    selection = found.select(request(host), cluster)
    assert isinstance(selection, Selection)
    return selection


def test_a_credential_of_each_try_beside_several_backends(tmp_path: Path) -> None:
    """The Backend that injects nothing carries the filter too: what was set for the other must not reach it."""
    found = resolved(tmp_path, UPSTREAM, AUTHN, A, B, C, policy("p", "Backend/a", EACH_TRY), SEVERAL)
    assert found.findings == ()
    assert found.upstream == {"egress/a", "egress/b"}
    assert needs(found)["upstreamClusters"] == ["egress/a", "egress/b"]
    first = selected(found, "x.example", "egress/a")
    assert (str(first.backend), first.tries) == ("egress/a", {"egress/a", "egress/b"})
    assert selected(found, "a.example").tries == {"egress/a"}
    assert selected(found, "b.example").tries == {"egress/b"}  # the filter is there, and denies what has no token
    assert selected(found, "c.example").tries == frozenset()
    at_a, at_b = (found.attempt(first.route, name) for name in ("egress/a", "egress/b"))
    assert at_a is not None
    assert at_b is not None
    assert [link.name for link in at_a.chain.at(Phase.BACKEND_REQUEST)] == ["inject"]
    assert at_b.chain.at(Phase.BACKEND_REQUEST) == ()
    assert (at_b.left.headers, at_b.left.query) == ({"x-key"}, {"key"})
    assert found.attempt(first.route, "egress/c") is None
    assert found.attempt(None, "egress/none") is None


def test_what_is_taken_from_a_try_is_what_another_try_of_the_exchange_may_have_left(tmp_path: Path) -> None:
    """Where somebody else's injector writes is no matter: else it could take any header from everybody."""
    keys = UPSTREAM.replace("[egress/a]", "[egress/a, egress/b]")
    policies = policy("p", "Backend/a", EACH_TRY), policy("q", "Backend/b", EACH_TRY)

    class Elsewhere(Inject):
        def __init__(self, config: Any, context: FilterContext) -> None:
            super().__init__(config, context)
            if context.scope == "Backend/egress/b":
                self.sets_headers, self.sets_query = {"Content-Type"}, set()

    catalog = {**CATALOG, "Inject:v1": Elsewhere}
    documents = load(write(tmp_path, keys, AUTHN, A, B, *policies, route("r", "[x.example]", rule(to("a")))))
    found = resolve(documents, catalog, outside)
    attempts = [found.attempt(*key) for key in ((None, "egress/b"), (found.routes[0].route, "egress/a"))]
    assert [one and one.left.headers for one in attempts] == [{"content-type"}, {"x-key"}]
    documents = load(write(tmp_path, keys, AUTHN, A, B, *policies, SEVERAL))
    found = resolve(documents, catalog, outside)
    attempts = [found.attempt(found.routes[0].route, name) for name in ("egress/a", "egress/b")]
    assert [one and one.left.headers for one in attempts] == [{"content-type", "x-key"}] * 2


def test_without_the_upstream_pass_there_is_none(tmp_path: Path) -> None:
    found = resolved(tmp_path, SETTINGS + KEYS, AUTHN, A, B, policy("p", "Backend/a", EACH_TRY), SEVERAL)
    assert found.upstream == frozenset()
    assert selected(found, "b.example").tries == frozenset()
    assert found.attempt(None, "egress/a") is None


def test_backends_that_share_a_cluster_are_told_apart_at_each_try(tmp_path: Path) -> None:
    found = resolved(tmp_path, UPSTREAM, AUTHN, *SHARED, policy("p", "Backend/a", EACH_TRY), SEVERAL)
    undecided = selected(found, "x.example", "both")
    assert (undecided.backend, undecided.tries) == (None, {"egress/a", "egress/b"})
    assert [link.name for link in undecided.chain.links] == ["authn"]
    assert str(selected(found, "x.example", "egress/b").backend) == "egress/b"
    assert (undecided.route, None, undecided.chain) in [
        (route, served, chain) for route, served, chain in found.chains()
    ]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (policy("p", "Backend/b", QUOTA), "extension 'quota' of EgressPolicy egress/p would have to know which"),
        (policy("p", "Gateway/egress", f"{QUOTA}, when: 'backend.name == \"a\"'"), "would have to know which"),
        (policy("p", "Gateway/egress", INJECT), "releases a credential in request-headers"),
    ],
)
def test_what_has_to_know_the_backend_is_no_neighbour_of_a_shared_cluster(
    tmp_path: Path, more: str, sentence: str
) -> None:
    errors = refused(tmp_path, UPSTREAM, AUTHN, *SHARED, more, SEVERAL)
    assert {error.reason for error in errors} == {"AmbiguousBackend"}
    assert sentence in errors[0].message


def test_a_retry_is_read(tmp_path: Path) -> None:
    retry = ", retry: {codes: [500, 503], attempts: 3, backoff: 100ms}"
    found = resolved(tmp_path, SETTINGS, AUTHN, A, route("r", "[x.example]", rule(to("a"), more=retry)))
    read = found.routes[0].rules[0].retry
    assert read is not None
    assert (read.codes, read.attempts, read.backoff) == ((500, 503), 3, 0.1)


@pytest.mark.parametrize("retry", ["attempts: 0", "attempts: 99", "codes: [200]", "backoff: 2h", "forever: true"])
def test_a_retry_that_is_none_is_refused(tmp_path: Path, retry: str) -> None:
    documents = SETTINGS, AUTHN, A, route("r", "[x.example]", rule(to("a"), more=f", retry: {{{retry}}}"))
    (error,) = refused(tmp_path, *documents)
    assert ".retry." in error.place.field


def test_backends_of_a_rule_that_share_a_cluster_are_refused(tmp_path: Path) -> None:
    shared = [backend(name, f"{name}.example", "  clusters: [out]\n") for name in "ab"]
    (error,) = refused(tmp_path, SETTINGS, AUTHN, *shared, route("r", "[x.example]", rule(to("a", "b"))))
    assert error.reason == "AmbiguousBackend"
    assert "share the cluster 'out'" in error.message
    assert chosen(resolved(tmp_path, SETTINGS, AUTHN, *shared), request("b.example"), "out") == "egress/b"


def asked(path: str = "/", method: str = "GET", *headers: tuple[str, bytes]) -> Request:
    return Request(method, "https", "x.example", "x.example", path, Headers(headers))


@pytest.mark.parametrize(
    ("match", "path", "holds"),
    [
        ({"path": {"value": "/foo"}}, "/foo", True),
        ({"path": {"value": "/foo"}}, "/foo/", True),
        ({"path": {"value": "/foo"}}, "/foo/bar?x", True),
        ({"path": {"value": "/foo"}}, "/foobar", False),
        ({"path": {"value": "/foo/"}}, "/foo", True),
        ({"path": {"value": "/foo"}}, "/FOO", False),
        ({"path": {"value": "/"}}, "/anything", True),
        ({"path": {"value": "/"}}, "*", False),
        ({"path": {"type": "Exact", "value": "/foo"}}, "/foo?x=1", True),
        ({"path": {"type": "Exact", "value": "/foo"}}, "/foo/", False),
        ({"queryParams": [{"name": "a", "value": "1"}]}, "/?b=2&a=1", True),
        ({"queryParams": [{"name": "a", "value": "1"}]}, "/?a=2&a=1", False),
        ({"queryParams": [{"name": "a", "value": "1"}]}, "/?A=1", False),
        ({"queryParams": [{"name": "a", "value": "1"}]}, "/", False),
        ({"method": "POST"}, "/", False),
    ],
)
def test_matches(match: dict[str, object], path: str, holds: bool) -> None:
    assert compile_match(RouteMatch.model_validate(match)).holds(asked(path)) is holds


def test_header_matches() -> None:
    match = compile_match(RouteMatch.model_validate({"headers": [{"name": "X-Team", "value": "a,b"}]}))
    assert match.holds(asked("/", "GET", ("x-team", b"a,b")))
    assert not match.holds(asked("/", "GET", ("x-team", b"a")))
    assert not match.holds(asked("/", "GET", ("x-team", b"a"), ("x-team", b"b")))
    assert not match.holds(asked("/", "GET", ("x-team", b"a,b"), ("x-team", b"c")))
    assert not match.holds(asked())
    beyond = compile_match(RouteMatch.model_validate({"headers": [{"name": "X-Team", "value": "é"}]}))
    assert beyond.holds(asked("/", "GET", ("x-team", "é".encode())))
    assert not beyond.holds(asked("/", "GET", ("x-team", "é".encode("latin-1"))))


NAMES = st.lists(st.sampled_from("ab"), min_size=1, max_size=4).map(".".join)
PATTERNS = st.one_of(NAMES, NAMES.map(lambda name: f"*.{name}"))


@settings(max_examples=200, deadline=None)
@given(NAMES, st.sets(PATTERNS))
def test_the_most_specific_hostname_is_found(host: str, listed: set[str]) -> None:
    def holds(pattern: str) -> bool:
        return host == pattern or (
            pattern.startswith("*.") and host.endswith(pattern[1:]) and len(host) > len(pattern) - 1
        )

    matching = [pattern for pattern in listed if holds(pattern)]
    best = max(matching, key=lambda pattern: (not pattern.startswith("*"), len(pattern)), default=None)
    assert next((pattern for pattern in patterns(host) if pattern in listed), None) == best


PATHS = st.sampled_from(["", "/a", "/a/b", "/a/b/c"])
PAIRS = st.sets(st.sampled_from([("x", "1"), ("y", "1")])).map(lambda found: tuple(sorted(found)))
MATCHES = st.builds(
    lambda path, exact, method, headers, query: Match(
        (path or "/") if exact else None, None if exact else path, method, headers, query
    ),
    PATHS,
    st.booleans(),
    st.sampled_from([None, "GET"]),
    PAIRS,
    PAIRS,
)


@settings(max_examples=200, deadline=None)
@given(MATCHES, MATCHES)
def test_rank_is_the_documented_precedence(one: Match, other: Match) -> None:
    """Characters of an exact path, then of a prefix, then a method, then headers, then parameters."""

    def weight(match: Match) -> tuple[int, int, bool, int, int]:
        exact, prefix = match.exact, match.prefix
        return (
            1 if exact is not None else 0,
            len(exact if exact is not None else prefix or ""),
            match.method is not None,
            len(match.headers),
            len(match.query),
        )

    assert (one.rank < other.rank) == (weight(one) > weight(other))


@pytest.mark.parametrize("name", ["X-Extproc-Peer", "x-team"])
def test_a_match_of_a_header_that_is_removed_is_refused(tmp_path: Path, name: str) -> None:
    """Envoy would see it and choose by it; we would judge by another rule."""
    settings_ = SETTINGS + "identityHeaders: [X-Team]\n"
    rules = rule(to("a"), f"headers: [{{name: {name}, value: b}}]")
    error = refused(tmp_path, settings_, AUTHN, A, route("r", "[a.example]", rules))[0]
    assert "is removed from every request" in error.message
    assert error.place.field == "spec.rules[0].matches[0].headers[0]"
