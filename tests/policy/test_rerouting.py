"""Extensions that choose routes: which configurations could let a request escape its chain, and are refused."""

from pathlib import Path

import pytest

from extproc.core.engine import Selection
from extproc.core.verdict import Respond
from extproc.policy.describe import needs
from tests.policy.samples import AUTHN, BACKEND, SETTINGS, backend, policy, request, route, to
from tests.policy.test_convert import refused, resolved

PLAIN = SETTINGS.rstrip() + "\nauthentication: none\n"
UPSTREAM = (
    PLAIN.rstrip() + "\nupstreamPass: true\nsecretSources: {keys: {env: {names: [K]}, backends: [egress/openai]}}\n"
)
ROUTER = 'name: model, type: "ModelRouter:v1", phase: request-body'
OTHER = backend("other", "other.example")
BY_MODEL = (
    f"  - backendRefs: [{to('openai')}]\n"
    "  - matches: [{headers: [{name: X-Gateway-Model-Name, value: big}]}]\n"
    f"    backendRefs: [{to('other')}]\n"
)
ROUTE = route("r", "[api.test]", BY_MODEL)
GATEWAY = policy("models", "Gateway/egress", ROUTER)


def test_the_route_is_the_one_of_the_header_and_not_of_the_callers(tmp_path: Path) -> None:
    found = resolved(tmp_path, PLAIN, BACKEND, OTHER, ROUTE, GATEWAY)
    assert found.routing_headers == {"x-gateway-model-name"}
    assert needs(found)["routingHeaders"] == ["x-gateway-model-name"]
    big = found.select_again(request("api.test", x_gateway_model_name="big"))
    small = found.select_again(request("api.test", x_gateway_model_name="small"))
    assert isinstance(big, Selection)
    assert isinstance(small, Selection)
    assert (big.backend.name, small.backend.name) == ("other", "openai")  # type: ignore[union-attr]
    assert found.select_again(request("nobody.test")) is None


def test_of_several_backends_nobody_knows_which(tmp_path: Path) -> None:
    rules = BY_MODEL.replace(to("other"), to("other", "openai"))
    found = resolved(tmp_path, PLAIN, BACKEND, OTHER, route("r", "[api.test]", rules), GATEWAY)
    big = found.select_again(request("api.test", x_gateway_model_name="big"))
    assert isinstance(big, Selection)
    assert (big.backend, str(big.route)) == (None, "egress/r")


ELSE = f"  extensions: [{{{ROUTER}, config: {{header: x-else}}}}]\n"
INJECT = 'name: key, type: "Inject:v1", phase: {}'
BODY = 'name: b, type: "Body:v1", phase: request-body'


@pytest.mark.parametrize(
    ("documents", "reason", "sentence"),
    [
        (
            (backend("openai", "api.openai.com", f"  extensions: [{{{INJECT.format('request-headers')}}}]\n"), OTHER, ROUTE),
            "AmbiguousBackend", "releases a credential in request-headers, and the extension 'model' chooses",
        ),
        (
            (BACKEND, OTHER, ROUTE, policy("b", "Backend/other", BODY)),
            "AmbiguousBackend", "runs before that is known, for some of them only",
        ),
        (
            (BACKEND, OTHER, ROUTE, policy("b", "Gateway/egress", BODY + ", when: backend.name == \"other\"")),
            "AmbiguousBackend", "names `backend` in an expression",
        ),
        (
            (BACKEND, OTHER, route("r", "[api.test]", BY_MODEL.partition("\n")[2])),
            "NoDefaultRule", "add a rule without that match",
        ),
        (
            (BACKEND, backend("mine", "mine.example", ELSE, namespace="team")),
            "NotPermitted", "chooses routes by x-else, which would be taken from all callers of the Gateway",
        ),
    ],
)  # fmt: skip
def test_what_could_escape_is_refused(tmp_path: Path, documents: tuple[str, ...], reason: str, sentence: str) -> None:
    errors = refused(tmp_path, UPSTREAM, *documents, GATEWAY)
    assert reason in {error.reason for error in errors}
    assert any(sentence in error.message for error in errors), errors


def test_where_no_rule_depends_on_it_the_choice_of_envoy_stands(tmp_path: Path) -> None:
    """Nobody could tell whether it takes the same Backend again, whose extensions have run."""
    weighted = route("w", "[weighted.test]", f"  - backendRefs: [{to('openai', 'third')}]\n")
    found = resolved(tmp_path, PLAIN, BACKEND, OTHER, ROUTE, weighted, policy("b", "Backend/third", BODY), GATEWAY,
                     backend("third", "third.example"))  # fmt: skip
    assert found.select_again(request("weighted.test", x_gateway_model_name="big")) is None
    assert found.select_again(request("third.example", x_gateway_model_name="big")) is None


def test_every_header_of_the_rules_has_one_that_sets_it_there(tmp_path: Path) -> None:
    two = BY_MODEL + BY_MODEL.partition("\n")[2].replace("X-Gateway-Model-Name", "X-Else")
    third = backend(
        "third", "third.example", f"  extensions: [{{{ROUTER.replace('model', 'm')}, config: {{header: x-else}}}}]\n"
    )
    errors = refused(tmp_path, PLAIN, BACKEND, OTHER, route("r", "[api.test]", two), third, GATEWAY)
    assert ["match on x-else, and what sets it does not run there" in error.message for error in errors] == [True]


def test_a_router_that_runs_elsewhere_sets_nothing_here(tmp_path: Path) -> None:
    errors = refused(
        tmp_path, PLAIN, BACKEND, OTHER, ROUTE, backend("third", "third.example", f"  extensions: [{{{ROUTER}}}]\n")
    )
    assert ["what sets it does not run there" in error.message for error in errors] in ([True], [True, True]), errors


def test_credentials_of_each_try_are_no_matter(tmp_path: Path) -> None:
    extensions = f"  extensions: [{{{INJECT.format('backend-request')}}}]\n"
    found = resolved(tmp_path, UPSTREAM, backend("openai", "api.openai.com", extensions), OTHER, ROUTE, GATEWAY)
    assert found.upstream == {"egress/openai"}


def test_nobody_is_known_by_what_routes_are_chosen_by(tmp_path: Path) -> None:
    taken = policy("models", "Gateway/egress", f"{ROUTER}, config: {{header: Authorization}}")
    [error] = refused(tmp_path, SETTINGS, AUTHN, BACKEND, taken)
    assert "chooses routes by authorization, which the authenticator reads" in error.message
    assert error.place.field == "spec.extensions[0].config"


def test_where_the_route_stays_a_credential_may_be_set_at_once(tmp_path: Path) -> None:
    extensions = f"  extensions: [{{{INJECT.format('request-headers')}}}]\n"
    stays = policy("models", "Gateway/egress", ROUTER + ", config: {clearRouteCache: false}")
    found = resolved(tmp_path, UPSTREAM, backend("openai", "api.openai.com", extensions), stays)
    assert found.routing_headers == frozenset()


def test_backends_that_share_a_cluster_are_known_at_each_try(tmp_path: Path) -> None:
    shared = "  clusters: [egress/{}, egress/llm]\n  extensions: [{{" + INJECT.format("backend-request") + "}}]\n"
    backends = (
        backend("openai", "api.openai.com", shared.format("openai")),
        backend("other", "other.example", shared.format("other")),
    )
    rules = BY_MODEL.replace(to("other"), to("openai", "other"))
    found = resolved(tmp_path, UPSTREAM, *backends, route("r", "[api.test]", rules), GATEWAY)
    big = found.select_again(request("api.test", x_gateway_model_name="big"))
    assert isinstance(big, Selection)
    assert (big.backend, big.tries) == (None, {"egress/openai", "egress/other"})
    small = found.select_again(request("api.test"))
    assert isinstance(small, Selection)
    assert small.tries == {"egress/openai"}


def test_a_rule_without_a_backend_leads_nowhere(tmp_path: Path) -> None:
    rules = BY_MODEL.replace(f"[{to('other')}]", "[]")
    found = resolved(tmp_path, PLAIN, BACKEND, OTHER, route("r", "[api.test]", rules), GATEWAY)
    big = found.select_again(request("api.test", x_gateway_model_name="big"))
    assert isinstance(big, Respond)
    assert big.code == "no_backend"
