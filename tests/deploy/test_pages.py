"""What docs/deployment*.md name is there: files, objects, values of the chart, and what they say of numbers."""

import re
from pathlib import Path

import pytest
import yaml

from tests.deploy import rendered
from tests.deploy.rendered import CHART, ROOT, overlay, pod_of

PAGES = sorted((ROOT / "docs").glob("deployment*.md"))
PLATFORM_PAGES = [(page, page.stem.removeprefix("deployment-")) for page in PAGES if page.stem != "deployment"]
KINDS = (
    "ClientTrafficPolicy|BackendTrafficPolicy|Backend|HTTPRoute|GatewayClass|Gateway|EnvoyProxy|EnvoyExtensionPolicy|"
    "EnvoyPatchPolicy|EnvoyFilter|ServiceEntry|DestinationRule|VirtualService|NetworkPolicy|Deployment|Service|ConfigMap|ClusterRole"
)


OWN = sorted(
    path for path in rendered.DEPLOY.rglob("*") if path.suffix in (".yaml", ".sh", ".py", ".hcl", ".md", ".txt")
)


def test_files_that_deploy_names_of_itself_are_there() -> None:
    named = {(path, one) for path in OWN for one in re.findall(r"(?<![\w./-])deploy/[\w./-]*\w", path.read_text())}
    assert named
    assert [(str(path), one) for path, one in sorted(named) if not (ROOT / one).exists()] == []


def test_the_versions_that_are_named_are_those_that_are_tried() -> None:
    told = (ROOT / "docs" / "deployment-envoy-gateway.md").read_text()
    modules = (ROOT / "tools" / "deploy" / "modules.txt").read_text()
    (version,) = re.findall(r"--version (v[\d.]+)", told)
    assert f"github.com/envoyproxy/gateway@{version} " in modules
    assert rendered.PINNED["egctl"] == version
    (gateway_api,) = re.findall(r"Gateway API (\d+\.\d+)", told)
    assert f"sigs.k8s.io/gateway-api@v{gateway_api}." in modules
    (istio,) = re.findall(
        r"Istio (1\.\d+)\. Istio must", (ROOT / "docs" / "deployment-istio.md").read_text().replace("\n", " ")
    )
    assert f"istio.io/api@v{istio}." in modules


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_files_that_are_named_are_there(page: Path) -> None:
    named = set(re.findall(r"(?<![\w./-])(?:deploy|examples|tests|requirements)/[\w./-]*\w", page.read_text()))
    assert named
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


@pytest.mark.skipif(bool(rendered.NO_KUSTOMIZE), reason=rendered.NO_KUSTOMIZE)
@pytest.mark.parametrize(("page", "platform"), PLATFORM_PAGES, ids=lambda each: getattr(each, "stem", each))
def test_objects_that_are_named_are_there(page: Path, platform: str) -> None:
    rows = [line.split("|")[1] for line in page.read_text().splitlines() if line.startswith("| ")]
    known = {(each["kind"], each["metadata"]["name"]) for each in overlay(platform)}
    named = 0
    for row in rows:
        name = ""
        for kind, found in reversed(re.findall(rf"\b({KINDS})\b(?: `([\w.-]+)`)?", row)):
            name = found or name  # `Backend, HTTPRoute `openai``: the name is of both
            named += 1
            assert any(kind == one and called.startswith(name.rstrip(".-")) for one, called in known), (kind, name)
    assert named >= 4


def test_values_that_are_named_are_the_charts() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    text = "\n".join(page.read_text() for page in PAGES)
    named = set(re.findall(r"(?:--set(?:-file)? '?|`)((?:[a-zA-Z]+\.)*[a-zA-Z]+)=", text))
    named |= set(re.findall(r"`(networkPolicy\.\w+|autoscaling\.\w+)`", text))
    assert named >= {"platform", "image.repository", "envoy.bootstrap", "autoscaling.kind", "podMonitor"}
    for name in named:
        found = values
        for part in name.split("."):
            assert part in found, name
            found = found[part]


@pytest.mark.skipif(bool(rendered.NO_KUSTOMIZE), reason=rendered.NO_KUSTOMIZE)
def test_users_and_times_are_those_of_the_pods() -> None:
    pod = pod_of(overlay("sidecar"))
    (envoy,) = pod["containers"]
    text = (ROOT / "docs" / "deployment-sidecar.md").read_text()
    assert f"Envoy is user {envoy['securityContext']['runAsUser']}" in text
    assert f"both of group {pod['securityContext']['runAsGroup']}" in text
    seconds = envoy["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert f"`preStop`'s {seconds} s" in (ROOT / "docs" / "deployment.md").read_text()
