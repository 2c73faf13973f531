"""Documents and extensions of other shapes: what becomes of them, and what is refused."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from extproc.core.engine import Selection
from extproc.core.link import Degraded, Scope
from extproc.core.phase import Phase
from extproc.errors import Cause, ConfigError, Refused
from extproc.policy.read import load
from extproc.policy.resolve import resolve
from extproc.policy.resolved import Resolved
from extproc_filters import FILTERS
from tests.policy import samples
from tests.policy.samples import (
    AUTHN,
    BACKEND,
    SETTINGS,
    backend,
    marked_line,
    outside,
    policy,
    request,
    route,
    to,
    write,
)

KINDS: Mapping[str, type[Any]] = {**samples.CATALOG, **FILTERS}
PLAIN = SETTINGS.rstrip() + "\nauthentication: none\n"


def resolved(directory: Path, *documents: str) -> Resolved:
    return resolve(load(write(directory, *documents)), KINDS, outside)


def refused(directory: Path, *documents: str) -> tuple[ConfigError, ...]:
    with pytest.raises(Refused) as caught:
        resolved(directory, *documents)
    return caught.value.errors


def processor(
    name: str, steps: str, *, phase: str = "PreRouting", target: str = "Gateway, name: egress", created: str = ""
) -> str:
    stamp = f", creationTimestamp: {created}" if created else ""
    return (
        "apiVersion: gateway.networking.k8s.io/v1alpha1\nkind: PayloadProcessor\n"
        f"metadata: {{name: {name}, namespace: egress{stamp}}}\nspec:\n"
        f"  targetRef: {{group: gateway.networking.k8s.io, kind: {target}}}\n  phase: {phase}\n  processors:\n{steps}"
    )


def step(
    name: str = "model", *, value: str = "json(request.body).model", header: str = "X-Model", more: str = ""
) -> str:
    return (
        f"  - name: {name}\n    type: InProcess\n{more}    inProcess:\n      request:\n        setHeaders:\n"
        f"        - name: {header}\n          value: '{value}' #!\n"
    )


# extensions as name, type and rawConfig


def test_name_type_and_raw_config_are_an_extension(tmp_path: Path) -> None:
    listed = (
        '  extensions:\n  - {name: b, type: "Body:v1", phase: request-body, priority: 5}\n'
        '  - {name: pii, type: "PIIDetector:v1", rawConfig: {redactionStyle: block}}\n'
    )
    found = resolved(tmp_path, SETTINGS, AUTHN, backend("openai", "api.openai.com", listed))
    [chain] = [chain for _, served, chain in found.chains() if served]
    assert [(link.name, link.phase) for link in chain.links[1:]] == [
        ("b", Phase.REQUEST_BODY),
        ("pii", Phase.REQUEST_BODY),
    ]
    assert [link.name for link in chain.at(Phase.REQUEST_BODY)] == ["b", "pii"]
    assert chain.links[2].covers == frozenset()


def test_they_run_in_the_order_of_the_list(tmp_path: Path) -> None:
    names = ["z", "a", "m"]
    listed = "  extensions:\n" + "".join(
        f'  - {{name: {name}, type: "PIIDetector:v1", rawConfig: {{}}}}\n' for name in names
    )
    found = resolved(tmp_path, SETTINGS, AUTHN, backend("openai", "api.openai.com", listed))
    [chain] = [chain for _, served, chain in found.chains() if served]
    assert [link.name for link in chain.at(Phase.REQUEST_BODY)] == names


def test_what_is_wrong_in_raw_config_is_told_by_that_name(tmp_path: Path) -> None:
    listed = '  extensions:\n  - {name: pii, type: "PIIDetector:v1", rawConfig: {redactionStil: x}} #!\n'
    documents = SETTINGS, AUTHN, backend("openai", "api.openai.com", listed)
    [error] = refused(tmp_path, *documents)
    assert error.place.field == "spec.extensions[0].rawConfig.redactionStil"
    assert error.place.line == marked_line(*documents)


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ('name: x, type: "PIIDetector:v1", rawConfig: {}, phase: request-body', "with 'phase' write `config`"),
        ('name: x, type: "PIIDetector:v1", rawConfig: {}, failOpen: true', "with 'failOpen' write `config`"),
        ('name: x, type: "PIIDetector:v1", rawConfig: 5', "this must be a mapping"),
        ('name: x, type: "PIIDetector:v1", rawConfig: null', "`rawConfig` is empty"),
        (
            'name: x, type: "Limit:v1", rawConfig: {}',
            "runs at request-headers, response-headers, and `rawConfig` does not",
        ),
        ('name: x, type: "Nothing:v1", rawConfig: {}', "there is no type 'Nothing:v1'"),
        ('name: x, type: "PIIDetector:v1"', "this field is required"),
    ],
)
def test_what_is_no_such_extension_is_refused(tmp_path: Path, entry: str, sentence: str) -> None:
    errors = refused(tmp_path, SETTINGS, AUTHN, backend("openai", "api.openai.com", f"  extensions: [{{{entry}}}]\n"))
    assert [sentence in error.message for error in errors] == [True], errors


def test_one_of_a_type_that_is_not_installed_is_degraded(tmp_path: Path) -> None:
    listed = '  extensions: [{name: x, type: "a.example/X:v1", rawConfig: {}}]\n'
    found = resolved(tmp_path, SETTINGS, AUTHN, backend("openai", "api.openai.com", listed))
    [chain] = [chain for _, served, chain in found.chains() if served]
    assert isinstance(chain.links[1].filter, Degraded)
    assert [finding.reason for finding in found.findings] == ["UnsupportedExtensionType"]


# XBackendDestination


def destination(
    more: str = "",
    *,
    hostname: str = "api.openai.com",
    port: str = "{number: 443, protocol: HTTP, tls: {mode: Simple}}",
) -> str:
    return (
        "apiVersion: ainetworking.prototype.x-k8s.io/v0alpha0\nkind: XBackendDestination\n"
        "metadata: {name: openai, namespace: egress}\nspec:\n"
        f"  destination:\n    type: Fqdn\n    fqdn: {{hostname: {hostname}}} #!\n    ports: [{port}]\n{more}"
    )


def test_a_destination_of_the_prototype_is_a_backend(tmp_path: Path) -> None:
    port = "{number: 8443, protocol: HTTP, tls: {mode: Simple, sni: x.openai.com}}"
    listed = '  extensions: [{name: pii, type: "PIIDetector:v1", rawConfig: {}}]\n'
    found = resolved(tmp_path, SETTINGS, AUTHN, destination(listed, port=port))
    [served] = found.backends
    assert (str(served.backend), served.backend.host, served.backend.port) == ("egress/openai", "api.openai.com", 8443)
    assert (served.fqdn.tls.mode, served.fqdn.tls.server_name) == ("SIMPLE", "x.openai.com")
    link = served.chain.links[1]
    assert (link.name, link.scope) == ("pii", Scope.BACKEND)
    assert found.extension_of(link).attachment.owner == "XBackendDestination egress/openai"


@pytest.mark.parametrize("tls", ["", ", tls: {mode: None}", ', tls: {mode: "None"}'])
def test_a_destination_without_tls(tmp_path: Path, tls: str) -> None:
    port = f"{{number: 80, protocol: HTTP{tls}}}"
    [served] = resolved(tmp_path, SETTINGS, AUTHN, destination(port=port)).backends
    assert served.fqdn.tls.mode == "NONE"


@pytest.mark.parametrize(
    ("document", "field", "sentence"),
    [
        (destination(hostname="localhost"), "spec.destination.fqdn.hostname", "would lead back in"),
        (destination(port="{number: 1, protocol: MCP}"), "spec.destination.ports[0].protocol", "must be 'HTTP'"),
        (destination(port="{number: 1, protocol: HTTP, tls: {mode: Mutual}}"), "spec.destination.ports[0].tls.mode",
         "'Simple'"),
        (
            destination(port="{number: 1, protocol: HTTP, tls: {mode: Simple, insecureSkipVerify: true}}"),
            "spec.destination.ports[0].tls.insecureSkipVerify",
            "is not implemented: remove it",
        ),
        (destination("  phase: x\n"), "spec.phase", "there is no field 'phase'"),
        (destination(port="{number: 1, protocol: HTTP, tls: {mode: None, sni: a.b}}"), "spec.destination.ports[0].tls",
         "connects without TLS"),
        (destination(port="{number: 1, protocol: HTTP, tls: {mode: Simple, sni: 'a b'}}"), "spec.destination.ports[0].tls.sni",
         "must match"),
    ],
)  # fmt: skip
def test_what_a_destination_cannot_be(tmp_path: Path, document: str, field: str, sentence: str) -> None:
    errors = refused(tmp_path, SETTINGS, AUTHN, document)
    assert [(error.place.field, sentence in error.message) for error in errors] == [(field, True)], errors


def test_a_destination_is_one_document(tmp_path: Path) -> None:
    [error] = refused(tmp_path, SETTINGS, AUTHN, BACKEND, destination())
    assert "there is a Backend egress/openai too" in error.message


# PayloadProcessor


def test_an_in_process_processor_is_an_extension(tmp_path: Path) -> None:
    found = resolved(tmp_path, PLAIN, BACKEND, processor("p", step() + step("again", header="x-again")))
    links = found.gateway_chain.at(Phase.REQUEST_BODY)
    assert [link.name for link in links] == ["p-model", "p-again"]
    assert links[0].reroutes == {"x-model"}
    assert found.routing_headers == {"x-model", "x-again"}
    assert found.extension_of(links[0]).attachment.owner == "PayloadProcessor egress/p"


def test_pre_routing_before_post_routing_and_the_oldest_first(tmp_path: Path) -> None:
    documents = (
        processor("post", step(header="a"), phase="PostRouting"),
        processor("young", step(header="b"), created="2026-02-02T00:00:00Z"),
        processor("old", step(header="c"), created="2026-01-01T00:00:00Z"),
    )
    body = (
        "apiVersion: egress.extproc.dev/v1alpha1\nkind: EgressPolicy\nmetadata: {name: b, namespace: egress}\n"
        "spec:\n  targetRefs: [{kind: Gateway, name: egress}]\n"
        '  extensions: [{name: mine, type: "Body:v1", phase: request-body, priority: -9999}]\n'
    )
    links = resolved(tmp_path, PLAIN, BACKEND, *documents, body).gateway_chain.at(Phase.REQUEST_BODY)
    assert [link.name for link in links] == ["old-model", "young-model", "mine", "post-model"]
    assert [link.reroutes for link in links] == [{"c"}, {"b"}, set(), set()]


def test_a_processor_of_a_route(tmp_path: Path) -> None:
    rule = f"  - backendRefs: [{to('openai')}]\n"
    documents = BACKEND, route("r", "[api.openai.com]", rule)
    found = resolved(
        tmp_path, PLAIN, *documents, processor("p", step(), phase="PostRouting", target="HTTPRoute, name: r")
    )
    selection = found.select(request("api.openai.com"), "")
    assert isinstance(selection, Selection)
    assert [link.scope for link in selection.chain.links] == [Scope.ROUTE]


def test_fail_open_covers_what_the_draft_says_and_a_timeout_is_kept(tmp_path: Path) -> None:
    more = '    failureMode: FailOpen\n    timeout: "500ms"\n'
    [link] = resolved(tmp_path, PLAIN, BACKEND, processor("p", step(more=more))).gateway_chain.links
    assert (link.timeout, Cause.MALFORMED in link.covers, Cause.DEFECT in link.covers) == (0.5, True, False)
    [link] = resolved(tmp_path, PLAIN, BACKEND, processor("p", step())).gateway_chain.links
    assert link.covers == frozenset()


@pytest.mark.parametrize(
    ("document", "field", "sentence"),
    [
        (
            processor("p", "  - {name: x, type: ExtProcess, extProcess: {backendRef: {name: s, port: 1}}}\n"),
            "spec.processors[0]", "ExtProcess is not served",
        ),
        (processor("p", "  - {name: x, type: InProcess}\n"), "spec.processors[0]", "needs `inProcess`"),
        (processor("p", step() + step()), "spec", "'model' is the name of two processors"),
        (
            processor("p", step() + '        setBodyFields: [{name: "$.a", value: "1"}]\n'),
            "spec.processors[0].inProcess.request.setBodyFields", "is not implemented: remove it",
        ),
        (processor("p", step(), target="HTTPRoute, name: r"), "spec", "before an HTTPRoute is chosen"),
        (processor("p", step(), target="ListenerSet, name: r"), "spec.targetRef.kind", "must be 'Gateway' or 'HTTPRoute'"),
        (processor("p", step(), phase="Routing"), "spec.phase", "must be 'PreRouting' or 'PostRouting'"),
        (processor("p", step(header="Host")), "spec.processors[0].inProcess.request.setHeaders[0].name", "cannot be named"),
        (
            processor("p", step(value='json(request.body).model + ""')),
            "spec.processors[0].inProcess.request.setHeaders[0].value", "only `json(request.body).name` is served",
        ),
        (
            processor("p", step(value="nobody.knows")),
            "spec.processors[0].inProcess.request.setHeaders[0].value", "nobody",
        ),
        (processor("p" * 60, step()), "spec.processors[0].name", "too long together"),
        (processor("p", step(more="    colour: red\n")), "spec.processors[0].colour", "there is no field 'colour'"),
        (processor("p", "    []\n"), "spec.processors", "at least 1"),
    ],
)  # fmt: skip
def test_what_a_processor_cannot_be(tmp_path: Path, document: str, field: str, sentence: str) -> None:
    errors = refused(tmp_path, PLAIN, BACKEND, document)
    assert [(error.place.field, sentence in error.message) for error in errors] == [(field, True)], errors


@pytest.mark.parametrize(("first", "second"), [(("a", "b-c"), ("a-b", "c")), (("a.b", "c"), ("a-b", "c"))])
def test_no_processor_is_lost_behind_another_one(
    tmp_path: Path, first: tuple[str, str], second: tuple[str, str]
) -> None:
    """Else the one that is open when it fails could take the place of the one that is closed."""
    documents = (
        processor(first[0], step(first[1], more="    failureMode: FailOpen\n"), phase="PostRouting"),
        processor(second[0], step(second[1]), phase="PostRouting"),
    )
    [error] = refused(tmp_path, PLAIN, BACKEND, *documents)
    assert error.place.field == "spec.processors[0].name"
    assert "becomes the extension 'a-b-c', and so does one of egress/a" in error.message


def test_an_expression_is_refused_at_its_line(tmp_path: Path) -> None:
    documents = PLAIN, BACKEND, processor("p", step(value="nobody.knows"))
    [error] = refused(tmp_path, *documents)
    assert (error.place.line, error.place.document) == (marked_line(*documents), 3)


def test_a_target_that_is_not_there(tmp_path: Path) -> None:
    [error] = refused(
        tmp_path, PLAIN, BACKEND, processor("p", step(), phase="PostRouting", target="HTTPRoute, name: none")
    )
    assert (error.place.field, "there is no HTTPRoute egress/none" in error.message) == ("spec.targetRef", True)


def shown(*kinds: str) -> list[str]:
    """The documents of these kinds on the page."""
    page = (Path(__file__).parents[2] / "docs" / "interop.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    return [block for block in blocks if any(f"kind: {kind}\n" in block for kind in kinds)]


def test_the_documents_of_the_page_are_taken(tmp_path: Path) -> None:
    documents = shown("XBackendDestination", "PayloadProcessor")
    found = resolved(tmp_path, PLAIN, *documents)
    assert found.findings == ()
    [chain] = [chain for _, served, chain in found.chains() if served]
    assert [link.name for link in chain.at(Phase.REQUEST_BODY)] == ["models-extract-model", "pii"]


def test_routes_and_policies_name_a_destination_as_a_backend(tmp_path: Path) -> None:
    rule = f"  - backendRefs: [{to('openai')}]\n"
    attached = policy("p", "Backend/openai", 'name: b, type: "Body:v1", phase: request-body')
    found = resolved(tmp_path, PLAIN, destination(), route("r", "[llm.test]", rule), attached)
    selection = found.select(request("llm.test"), "")
    assert isinstance(selection, Selection)
    assert (str(selection.backend), [link.name for link in selection.chain.links]) == ("egress/openai", ["b"])
