"""A configuration as a whole: chains, findings, and everything that is refused though each document is valid."""

from pathlib import Path
from typing import Any

import pytest

from extproc.core.engine import Selection
from extproc.core.link import Degraded, Scope
from extproc.core.phase import Phase
from extproc.errors import Cause, ConfigError, Place, Refused
from extproc.policy.findings import FindingKind
from extproc.policy.read import load
from extproc.policy.resolve import resolve
from extproc.policy.resolved import Resolved
from extproc.ports import FilterContext
from tests.policy.samples import (
    AUTHN,
    BACKEND,
    CATALOG,
    SETTINGS,
    Inject,
    Outside,
    backend,
    marked_line,
    outside,
    policy,
    refused,
    request,
    resolved,
    write,
)

KEYS = "secretSources:\n  keys: {file: {root: secrets}, backends: [egress/openai]}\n"
INJECT = 'name: inject, type: "Inject:v1", phase: request-headers, priority: 30'
LIMIT = 'name: quota, type: "Limit:v1", phase: request-headers, priority: 10'
BODY = 'name: pii, type: "Body:v1", phase: request-body, priority: 20, config: {maxBodyBytes: 4096}'


def extensions(*found: str) -> str:
    return "  extensions:\n" + "".join(f"  - {{{one}}}\n" for one in found)


def names(found: Resolved, host: str = "api.openai.com", phase: Phase = Phase.REQUEST_HEADERS) -> list[str]:
    selection = found.select(request(host), "")
    assert isinstance(selection, Selection)
    return [link.name for link in selection.chain.at(phase)]


def at_gateway(*found: str) -> str:
    return AUTHN + "".join(f"  - {{{one}}} #!\n" for one in found)


def at_backend(*found: str, tls: str = "") -> str:
    return backend(
        "openai", "api.openai.com", "  extensions:\n" + "".join(f"  - {{{one}}} #!\n" for one in found), tls=tls
    )


def test_the_chain_of_a_backend(tmp_path: Path) -> None:
    found = resolved(tmp_path, SETTINGS + KEYS, at_gateway(LIMIT), at_backend(INJECT, BODY))
    selection = found.select(request("api.openai.com"), "egress/openai")
    assert isinstance(selection, Selection)
    assert str(selection.backend) == "egress/openai"
    assert selection.route is None
    assert names(found) == ["authn", "quota", "inject"]
    assert names(found, phase=Phase.REQUEST_BODY) == ["pii"]
    assert (found.needs.request_body, found.needs.response_body, found.needs.max_body_bytes) == (True, False, 4096)
    assert (found.gateway, found.budget, found.findings) == ("egress/egress", 0.8, ())


def test_an_extension_becomes_the_link_that_it_describes(tmp_path: Path) -> None:
    text = f"{LIMIT}, failOpen: true, failOpenOn: [timeout], timeout: 10ms, when: 'request.method == \"GET\"'"
    found = resolved(tmp_path, SETTINGS, at_gateway(text), BACKEND)
    (link,) = [one for _, _, chain in found.chains() for one in chain.links if one.name == "quota"]
    assert (link.priority, link.scope, link.timeout, link.pre_auth) == (10, Scope.GATEWAY, 0.01, False)
    assert link.covers == {Cause.TIMEOUT}
    assert link.when is not None
    assert link.when({"request": {"method": "GET"}}) is True
    described = found.extension_of(link).attachment
    assert (described.owner, described.scope_name) == ("EgressPolicy egress/baseline", "Gateway/egress/egress")


def test_one_link_is_shared_by_all_chains(tmp_path: Path) -> None:
    found = resolved(tmp_path, SETTINGS, AUTHN, BACKEND, backend("other", "other.example"))
    links = [chain.links[0] for _, _, chain in found.chains()]
    assert len(links) == 2
    assert links[0] is links[1]


def test_the_authenticator_is_always_pre_auth(tmp_path: Path) -> None:
    found = resolved(tmp_path, SETTINGS, AUTHN, BACKEND)
    (link,) = found.by_host["api.openai.com"].chain.links
    assert link.pre_auth
    assert link.authenticates


def test_settings_reach_the_engine(tmp_path: Path) -> None:
    text = f"{SETTINGS}identityHeaders: [X-User]\nrequestTrailers: [X-Checksum]\nbudget: 200ms\n"
    found = resolved(tmp_path, text, AUTHN, BACKEND)
    assert found.identity_headers == {"x-user"}
    assert found.request_trailers == {"x-checksum"}
    assert found.budget == 0.2


def test_a_context_says_what_a_filter_is_told(tmp_path: Path) -> None:
    found = resolved(tmp_path, SETTINGS, AUTHN, at_backend(f"{LIMIT}, failOpen: true"))
    link = next(link for link in found.by_host["api.openai.com"].chain.links if link.name == "quota")
    context = link.filter.context  # type: ignore[attr-defined]
    assert (context.gateway, context.scope, context.extension) == ("egress/egress", "Backend/egress/openai", "quota")
    assert (context.namespace, context.phase, context.fail_open, context.pre_auth) == (
        "egress",
        Phase.REQUEST_HEADERS,
        True,
        False,
    )
    assert context.directory == tmp_path
    assert context.backend_scope == "egress/openai"


def settings_with(text: str) -> tuple[str, ...]:
    return f"{SETTINGS}{text} #!\n", AUTHN, BACKEND


PRE_AUTH = f"{LIMIT}, preAuth: true, config: {{key: request.host}}"
LATER = LIMIT.replace("request-headers", "response-headers")
TWICE = AUTHN.replace("egress}]", "egress}, {kind: Gateway, name: egress}] #!")
UPSTREAM = 'name: inject, type: "Inject:v1", phase: backend-request'

# what is wrong: the documents, the number of the wrong one, its field, the reason, the sentence
REFUSALS = {
    "a phase that hosts with no Backend never reach": (
        (f"{SETTINGS}{KEYS}upstreamPass: true\ntrafficPolicy: Allow\n", at_gateway(UPSTREAM), BACKEND),
        2,
        "spec.extensions[1].phase",
        "PhaseNotServed",
        "backend-request, which hosts with no Backend never reach",
    ),
    "a source for no Backend": (
        settings_with("secretSources: {keys: {file: {root: x}, backends: [egress/none]}}"),
        1,
        "secretSources.keys.backends[0]",
        "BackendNotFound",
        "there is no Backend egress/none",
    ),
    "two listeners in one place": (
        settings_with('listen: [{address: "unix:///x"}, {address: "unix:///x"}]'),
        1,
        "listen[1].address",
        "Invalid",
        "is listened on twice",
    ),
    "a listener among the workers of another one": (
        settings_with(
            'workers: 3\nlisten: [{address: "127.0.0.1:9002", insecure: true}, {address: "127.0.0.1:9000", insecure: true}]'
        ),
        1,
        "listen[1].address",
        "Invalid",
        "leave each worker a port of its own",
    ),
    "workers without ports": (
        settings_with('workers: 4\nlisten: [{address: "127.0.0.1:65533", insecure: true}]'),
        1,
        "listen[0].address",
        "Invalid",
        "4 workers need as many ports",
    ),
    "an authenticator's own header": (
        settings_with("identityHeaders: [x-user, Authorization]"),
        1,
        "identityHeaders[1]",
        "Invalid",
        "reads 'authorization', which would be removed before it runs",
    ),
    "no policy": (
        (SETTINGS.replace("gateway: egress/egress", "gateway: egress/egress #!"), BACKEND),
        1,
        "gateway",
        "NoPolicy",
        "no EgressPolicy attaches an extension to the Gateway egress/egress: attach an authenticator",
    ),
    "a slip in the name of the Gateway": (
        (
            SETTINGS.replace("gateway: egress/egress", "gateway: egress/egress #!"),
            policy("a", "Gateway/egres", PRE_AUTH),
            BACKEND,
        ),
        1,
        "gateway",
        "NoPolicy",
        "the Gateway egress/egress (policies name egress/egres): attach an authenticator",
    ),
    "no authenticator": (
        (
            f"{SETTINGS}authentication: required #!\n",
            policy("a", "Gateway/egress", PRE_AUTH),
            BACKEND,
        ),
        1,
        "authentication",
        "NoAuthenticator",
        "no extension at the Gateway egress/egress is an authenticator",
    ),
    "an authenticator on purpose of none": (
        (f"{SETTINGS}authentication: none #!\n", AUTHN, BACKEND),
        1,
        "authentication",
        "Invalid",
        "says that this Gateway has no authenticator",
    ),
    "unknown kind of the catalog": (
        (SETTINGS, at_gateway('name: x, type: "Limits:v1", phase: request-headers'), BACKEND),
        2,
        "spec.extensions[1].type",
        "UnknownType",
        "there is no type 'Limits:v1' in the catalog: did you mean 'Limit:v1'?",
    ),
    "phase": (
        (SETTINGS, at_gateway('name: x, type: "Limit:v1", phase: request-body'), BACKEND),
        2,
        "spec.extensions[1].phase",
        "UnsupportedPhase",
        "Limit:v1 does not run at request-body: it runs at request-headers, response-headers",
    ),
    "unknown field of a config": (
        (SETTINGS, at_gateway(f"{LIMIT}, config: {{kye: a}}"), BACKEND),
        2,
        "spec.extensions[1].config.kye",
        "Invalid",
        "there is no field 'kye': did you mean 'key'?",
    ),
    "unknown field deep in a config": (
        (SETTINGS, at_gateway(f"{LIMIT}, config: {{limits: [{{name: a, request: 1}}]}}"), BACKEND),
        2,
        "spec.extensions[1].config.limits[0].request",
        "Invalid",
        "did you mean 'requests'?",
    ),
    "what the filter itself refuses": (
        (SETTINGS, at_gateway(f"{LIMIT}, config: {{limits: [{{name: a, requests: 0}}]}}"), BACKEND),
        2,
        "spec.extensions[1].config.limits[0].requests",
        "Invalid",
        "a limit of none admits nobody",
    ),
    "a filter that breaks": (
        (SETTINGS, at_gateway(f"{LIMIT}, config: {{broken: true}}"), BACKEND),
        2,
        "spec.extensions[1].config",
        "Invalid",
        "Limit:v1 could not be built: RuntimeError in its constructor",
    ),
    "when": (
        (SETTINGS, at_gateway(f"{LIMIT}, when: 'request.hots == \"a\"'"), BACKEND),
        2,
        "spec.extensions[1].when",
        "Invalid",
        "'request' has no member 'hots'",
    ),
    "a bomb in when": (
        (SETTINGS, at_gateway(f"{LIMIT}, when: '{'!' * 300}true'"), BACKEND),
        2,
        "spec.extensions[1].when",
        "Invalid",
        "more than 200 nodes",
    ),
    "peer in a preAuth when": (
        (
            SETTINGS,
            at_gateway(f"{LIMIT}, preAuth: true, config: {{key: request.host}}, when: 'peer.uid == \"\"'"),
            BACKEND,
        ),
        2,
        "spec.extensions[1].when",
        "Invalid",
        "never sees the peer",
    ),
    "peer in a preAuth config": (
        (SETTINGS, at_gateway(f"{LIMIT}, preAuth: true, config: {{key: request.host + peer.uid}}"), BACKEND),
        2,
        "spec.extensions[1].config",
        "Invalid",
        "never sees the peer",
    ),
    "peer in the default key of a preAuth extension": (
        (SETTINGS, at_gateway(f"{LIMIT}, preAuth: true"), BACKEND),
        2,
        "spec.extensions[1].config",
        "Invalid",
        "never sees the peer",
    ),
    "peer in the authenticator's when": (
        (SETTINGS, AUTHN.replace("priority: 0}", "when: 'peer.uid == \"\"'} #!"), BACKEND),
        2,
        "spec.extensions[0].when",
        "Invalid",
        "an authenticator establishes the peer",
    ),
    "peer in the authenticator's config": (
        (SETTINGS, AUTHN.replace("priority: 0}", "config: {key: peer.uid}} #!"), BACKEND),
        2,
        "spec.extensions[0].config",
        "Invalid",
        "an authenticator establishes the peer",
    ),
    "an overridable authenticator": (
        (SETTINGS, AUTHN.replace("priority: 0}", "overridable: true} #!"), BACKEND),
        2,
        "spec.extensions[0].overridable",
        "Invalid",
        "an authenticator is never overridable",
    ),
    "an authenticator of responses": (
        (SETTINGS, AUTHN.replace("request-headers, priority: 0}", "response-headers} #!"), BACKEND),
        2,
        "spec.extensions[0].phase",
        "UnsupportedPhase",
        "an authenticator runs at request-headers",
    ),
    "an authenticator at a Backend": (
        (SETTINGS, AUTHN, at_backend('name: other, type: "Authn:v1", phase: request-headers')),
        3,
        "spec.extensions[0].type",
        "AuthenticatorScope",
        "only an EgressPolicy that targets the Gateway attaches one",
    ),
    "the authenticator overridden by name": (
        (SETTINGS, AUTHN, at_backend('name: authn, type: "Authn:v1", phase: request-headers')),
        3,
        "spec.extensions[0].type",
        "AuthenticatorScope",
        "only an EgressPolicy that targets the Gateway attaches one",
    ),
    "the authenticator overridden by another type": (
        (SETTINGS, AUTHN, at_backend('name: authn, type: "Limit:v1", phase: request-headers, priority: 1')),
        3,
        "spec.extensions[0].name",
        "TypeConflict",
        "is Limit:v1 at request-headers, and that of EgressPolicy egress/baseline with the same name is Authn:v1",
    ),
    "two authenticators": (
        (SETTINGS, at_gateway('name: second, type: "Authn:v1", phase: request-headers, priority: 5'), BACKEND),
        2,
        "spec.extensions[1].type",
        "SecondAuthenticator",
        "is a second authenticator: a chain has at most one",
    ),
    "an extension before the authenticator": (
        (SETTINGS, AUTHN, at_backend('name: early, type: "Limit:v1", phase: request-headers, priority: -1')),
        3,
        "spec.extensions[0].priority",
        "OrderBeforeAuthentication",
        "runs before the authenticator 'authn' (priority 0)",
    ),
    "what is not overridable": (
        (SETTINGS, AUTHN + f"  - {{{LIMIT}}}\n", at_backend(LIMIT)),
        3,
        "spec.extensions[0].name",
        "NotOverridable",
        "would take the place of that of EgressPolicy egress/baseline at Gateway/egress/egress, which is not overridable",
    ),
    "another phase under the same name": (
        (
            SETTINGS,
            AUTHN + f"  - {{{LIMIT}, overridable: true}}\n",
            at_backend(LATER),
        ),
        3,
        "spec.extensions[0].name",
        "TypeConflict",
        "with the same name is Limit:v1 at request-headers",
    ),
    "a name twice in one list": (
        (
            SETTINGS,
            at_gateway('name: authn, type: "Limit:v1", phase: request-headers'),
            BACKEND,
        ),
        2,
        "spec.extensions[1].name",
        "Invalid",
        "'authn' is already the name of an extension of this list",
    ),
    "a target that is not there": (
        (SETTINGS, AUTHN, BACKEND, policy("p", "Backend/none", LIMIT).replace("name: none}]", "name: none}] #!")),
        4,
        "spec.targetRefs[0]",
        "TargetNotFound",
        "there is no Backend egress/none: a targetRef names an object of the policy's own namespace",
    ),
    "a Backend of another namespace as a target": (
        (
            SETTINGS,
            AUTHN,
            BACKEND,
            policy("p", "Backend/openai", LIMIT, namespace="tenant").replace("openai}]", "openai}] #!"),
        ),
        4,
        "spec.targetRefs[0]",
        "TargetNotFound",
        "there is no Backend tenant/openai",
    ),
    "a target of another group": (
        (SETTINGS, AUTHN.replace("[{kind", "[{group: apps, kind").replace("egress}]", "egress}] #!"), BACKEND),
        2,
        "spec.targetRefs[0]",
        "Invalid",
        "the group of Gateway is gateway.networking.k8s.io, not 'apps'",
    ),
    "a target twice": (
        (
            SETTINGS,
            TWICE,
            BACKEND,
        ),
        2,
        "spec.targetRefs[1]",
        "Invalid",
        "is targeted twice",
    ),
    "an unknown secret source": (
        (SETTINGS, AUTHN, at_backend(INJECT)),
        3,
        "spec.extensions[0].config.source",
        "Invalid",
        "there is no secret source 'keys': secretSources has none",
    ),
    "a secret source of another namespace": (
        (
            SETTINGS + KEYS,
            AUTHN,
            BACKEND,
            backend("mine", "evil.example", extensions(INJECT).replace("}\n", "} #!\n"), namespace="tenant"),
        ),
        4,
        "spec.extensions[0].config.source",
        "Invalid",
        "the secret source 'keys' is not for policies of the namespace 'tenant'",
    ),
    "a credential in plaintext": (
        (SETTINGS + KEYS, AUTHN, at_backend(INJECT, tls="{mode: NONE}")),
        3,
        "spec.extensions[0].config",
        "PlaintextCredential",
        "would send a credential to the Backend egress/openai in plaintext",
    ),
}


@pytest.mark.parametrize(("documents", "number", "field", "reason", "sentence"), REFUSALS.values(), ids=REFUSALS.keys())
def test_a_refusal(
    tmp_path: Path, documents: tuple[str, ...], number: int, field: str, reason: str, sentence: str
) -> None:
    errors = refused(tmp_path, *documents)
    error = next((one for one in errors if sentence in one.message), None)
    assert error is not None, errors
    assert (error.place.line, error.place.document, error.place.field) == (marked_line(*documents), number, field)
    assert error.reason == reason


def test_the_text_of_a_broken_filter_is_not_shown(tmp_path: Path) -> None:
    errors = refused(tmp_path, SETTINGS, at_gateway(f"{LIMIT}, config: {{broken: true}}"), BACKEND)
    assert "s3cret" not in str(Refused(list(errors)))


def test_all_errors_are_told_at_once(tmp_path: Path) -> None:
    errors = refused(
        tmp_path,
        SETTINGS,
        at_gateway(f"{LIMIT}, when: 'x'", 'name: y, type: "None:v1", phase: request-body'),
        backend("a", "127.0.0.1"),
        policy("p", "Backend/none", LIMIT),
    )
    assert [error.place.document for error in errors] == [2, 2, 3, 4]


def test_more_is_attached_than_could_be_built_in_time(tmp_path: Path) -> None:
    """A policy has each of its extensions at each of its targets."""
    backends = [backend(f"b{number}", f"b{number}.example") for number in range(100)]
    many = [f'name: x{number}, type: "Limit:v1", phase: request-headers' for number in range(101)]
    targets = ", ".join(f"{{kind: Backend, name: b{number}}}" for number in range(100))
    crowd = policy("p", "Backend/b0", *many).replace("{kind: Backend, name: b0}", targets)
    (error,) = refused(tmp_path, SETTINGS, AUTHN, *backends, crowd)
    assert "more than 10000 extensions are attached, each counted at each of its targets" in error.message
    assert (error.place.document, error.place.field) == (103, "spec.extensions[0].name")


def test_no_policy_is_fine_without_authentication(tmp_path: Path) -> None:
    found = resolved(tmp_path, f"{SETTINGS}authentication: none\n", at_backend(LIMIT))
    assert names(found) == ["quota"]
    assert not found.by_host["api.openai.com"].chain.needs_peer


def test_plaintext_is_allowed_on_request_and_harmless_without_a_credential(tmp_path: Path) -> None:
    allowed = f"{INJECT}, config: {{allowPlaintext: true}}"
    assert names(resolved(tmp_path, SETTINGS + KEYS, AUTHN, at_backend(allowed, tls="{mode: NONE}")))
    assert names(resolved(tmp_path, SETTINGS, AUTHN, at_backend(LIMIT, tls="{mode: NONE}")))
    elsewhere = at_gateway(f"{INJECT}, config: {{backends: [egress/other]}}")
    assert names(
        resolved(tmp_path, SETTINGS + KEYS, elsewhere, backend("openai", "api.openai.com", tls="{mode: NONE}"))
    )


def test_a_secret_source_for_several_namespaces(tmp_path: Path) -> None:
    keys = KEYS.replace("backends: [egress/openai]", "backends: [egress/openai], namespaces: [tenant]")
    tenants = backend("mine", "mine.example", extensions(INJECT), namespace="tenant")
    assert names(resolved(tmp_path, SETTINGS + keys, AUTHN, BACKEND, tenants), "mine.example") == ["authn", "inject"]
    errors = refused(tmp_path, SETTINGS + keys, AUTHN, at_backend(INJECT))
    assert "not for policies of the namespace 'egress'" in errors[0].message


def test_a_policy_of_another_namespace_attaches_nothing(tmp_path: Path) -> None:
    """It names a Gateway of its own namespace, whatever that is called."""
    intruder = policy(
        "intruder", "Gateway/egress", 'name: z, type: "Limit:v1", phase: request-headers', namespace="tenant"
    )
    found = resolved(tmp_path, SETTINGS, AUTHN, BACKEND, intruder)
    assert names(found) == ["authn"]
    (finding,) = found.findings
    assert finding.kind is FindingKind.NOT_SERVED_HERE
    assert "targets the Gateway tenant/egress, and this process serves egress/egress" in finding.message
    assert finding.place.field == "spec.targetRefs[0]"


def test_another_gateways_policy_is_told_and_does_not_count(tmp_path: Path) -> None:
    errors = refused(tmp_path, SETTINGS, AUTHN.replace("name: egress}]", "name: other}]"), BACKEND)
    assert errors[0].reason == "NoPolicy"


def test_overriding_is_reported(tmp_path: Path) -> None:
    wide = f"{LIMIT}, overridable: true"
    found = resolved(
        tmp_path, SETTINGS, AUTHN + f"  - {{{wide}}}\n", at_backend(LIMIT.replace("10", "7")), backend("b", "b.example")
    )
    chain = found.by_host["api.openai.com"].chain
    assert [(link.name, link.priority) for link in chain.links if link.name == "quota"] == [("quota", 7)]
    assert [link.priority for link in found.by_host["b.example"].chain.links if link.name == "quota"] == [10]
    (finding,) = found.findings
    assert (finding.kind, finding.place.document) == (FindingKind.CONFLICTED, 2)
    assert "gives way to that of Backend egress/openai at Backend/egress/openai, which is narrower" in finding.message


def test_of_two_on_one_scope_the_oldest_wins(tmp_path: Path) -> None:
    old = policy("z", "Gateway/egress", LIMIT.replace("10", "5"), created='"2024-01-01T00:00:00Z"')
    new = policy("a", "Gateway/egress", LIMIT, created='"2025-01-01T00:00:00+01:00"')
    none = policy("b", "Gateway/egress", LIMIT.replace("10", "6"))
    found = resolved(tmp_path, SETTINGS, AUTHN, BACKEND, none, new, old)
    assert [link.priority for link in found.gateway_chain.links] == [0, 5]
    assert [finding.kind for finding in found.findings] == [FindingKind.CONFLICTED] * 2


def test_an_unknown_type_of_somebody_is_degraded(tmp_path: Path) -> None:
    text = 'name: x, type: "acme.example.com/PIIDetector:v9", phase: request-headers, priority: 10'
    found = resolved(tmp_path, SETTINGS, at_gateway(text), BACKEND)
    link = found.gateway_chain.links[1]
    assert isinstance(link.filter, Degraded)
    assert (link.phase, link.covers) == (Phase.REQUEST_HEADERS, frozenset())
    (finding,) = found.findings
    assert (finding.kind, finding.reason) == (FindingKind.DEGRADED, "UnsupportedExtensionType")
    assert finding.place.field == "spec.extensions[1].type"
    assert "its exchanges are answered 503" in finding.message
    assert found.extension_of(link).degraded == "UnsupportedExtensionType"
    opened = resolved(tmp_path, SETTINGS, at_gateway(f"{text}, failOpen: true"), BACKEND)
    assert "its failOpen skips it" in opened.findings[0].message


def test_a_degraded_authenticator_is_still_one(tmp_path: Path) -> None:
    jwt = 'name: authn, type: "acme.example.com/JWT:v1", phase: request-headers, preAuth: true, overridable: true'
    found = resolved(tmp_path, SETTINGS, policy("p", "Gateway/egress", jwt), BACKEND)
    assert found.gateway_chain.needs_peer
    errors = refused(tmp_path, SETTINGS, policy("p", "Gateway/egress", jwt), at_backend(jwt))
    assert errors[0].reason == "NotOverridable"


@pytest.mark.parametrize(
    ("more", "covers"), [("", set()), (", failOpen: true", {"unavailable", "timeout", "unsupported"})]
)
def test_a_phase_that_is_not_served_fails_in_request_headers(tmp_path: Path, more: str, covers: set[str]) -> None:
    found = resolved(tmp_path, SETTINGS + KEYS, AUTHN, at_backend(LIMIT, UPSTREAM + more))
    links = found.by_host["api.openai.com"].chain.at(Phase.REQUEST_HEADERS)
    assert [link.name for link in links] == ["authn", "quota", "inject"]
    assert isinstance(links[-1].filter, Degraded)
    assert links[-1].covers == covers
    assert not found.by_host["api.openai.com"].chain.at(Phase.BACKEND_REQUEST)
    (finding,) = found.findings
    assert (finding.reason, finding.place.field) == ("PhaseNotServed", "spec.extensions[1].phase")


def test_a_filter_says_where_its_tries_leave_credentials(tmp_path: Path) -> None:
    class Silent(Inject):
        def __init__(self, config: Any, context: FilterContext) -> None:
            super().__init__(config, context)
            self.sets_headers, self.sets_query = set(), set()

    documents = load(write(tmp_path, f"{SETTINGS}{KEYS}upstreamPass: true\n", AUTHN, at_backend(UPSTREAM)))
    assert resolve(documents, CATALOG, outside).upstream == {"egress/openai"}
    with pytest.raises(Refused, match="does not say where: its class needs `sets_headers`"):
        resolve(documents, {**CATALOG, "Inject:v1": Silent}, outside)


def test_what_the_outside_refuses_has_its_place(tmp_path: Path) -> None:
    def none(settings: object, directory: Path) -> Outside:
        raise ConfigError("'secrets' is not a directory", Place(field="secretSources.keys.file.root"))

    documents = load(write(tmp_path, SETTINGS + KEYS, AUTHN, BACKEND))
    with pytest.raises(Refused) as caught:
        resolve(documents, CATALOG, none)
    (error,) = caught.value.errors
    assert (error.place.line, error.place.document, error.place.field) == (5, 1, "secretSources.keys.file.root")


def test_chains_of_everything_with_traffic_policy_allow(tmp_path: Path) -> None:
    found = resolved(tmp_path, f"{SETTINGS}trafficPolicy: Allow\n", AUTHN, BACKEND)
    assert [(route, str(served.backend) if served else None) for route, served, _ in found.chains()] == [
        (None, None),
        (None, "egress/openai"),
    ]
    assert found.extension_of(found.gateway_chain.links[0]).name == "authn"
    other = resolve(load(write(tmp_path, SETTINGS, AUTHN, BACKEND)), CATALOG, outside)
    with pytest.raises(KeyError):
        other.extension_of(found.gateway_chain.links[0])
