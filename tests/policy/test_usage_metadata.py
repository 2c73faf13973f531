"""Where the usage is published: names that the operator chooses, and none that steer Envoy."""

from pathlib import Path

import pytest

from extproc.envoy.bootstrap import bootstrap, text
from extproc.envoy.resolved import plan_of
from extproc.policy.describe import needs
from tests.policy.samples import AUTHN, BACKEND, SETTINGS, marked_line, refused, resolved


def settings(usage: str) -> str:
    return f"{SETTINGS}usageMetadata: {usage} #!\n"


def test_the_names_are_those_of_envoy_ai_gateway_unless_it_is_said_otherwise(tmp_path: Path) -> None:
    found = resolved(tmp_path, settings("{namespace: io.envoy.ai_gateway, total: all}"), AUTHN, BACKEND)
    assert found.publishing is not None
    assert (found.publishing.namespace, dict(found.publishing.keys)) == (
        "io.envoy.ai_gateway",
        {"input_tokens": "llm_input_token", "output_tokens": "llm_output_token", "total_tokens": "all"},
    )
    assert needs(found)["metadataNamespaces"] == ["io.envoy.ai_gateway"]
    assert "- io.envoy.ai_gateway" in text(bootstrap(plan_of(found)))


def test_without_it_nothing_is_published(tmp_path: Path) -> None:
    found = resolved(tmp_path, SETTINGS, AUTHN, BACKEND)
    assert (found.publishing, needs(found)["metadataNamespaces"]) == (None, [])


@pytest.mark.parametrize(
    ("usage", "sentence"),
    [
        ("{namespace: envoy.lb}", "belongs to Envoy's own filters or to this server"),
        ("{namespace: envoy}", "belongs to Envoy's own filters"),
        ("{namespace: extproc.internal}", "belongs to Envoy's own filters or to this server"),
        ('{namespace: ""}', "this text must match"),
        ("{namespace: a b}", "this text must match"),
        ("{}", "this field is required"),
        ("{namespace: a, input: x, total: x}", "give each its own name"),
        ("{namespace: a, limit: llm_total_token}", "give each its own name"),
        ('{namespace: a, input: "a:b"}', "this text must match"),
        ("{namespace: a, cost: x}", "there is no field 'cost'"),
    ],
)
def test_names_that_it_cannot_have(tmp_path: Path, usage: str, sentence: str) -> None:
    documents = settings(usage), AUTHN, BACKEND
    [error] = refused(tmp_path, *documents)
    assert (sentence in error.message, error.place.line) == (True, marked_line(*documents)), error
