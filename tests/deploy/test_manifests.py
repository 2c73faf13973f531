"""Every manifest, as it is rendered, before a real API server that knows all its kinds: a server-side dry run, in which an
unknown field is an error; and each pod in a namespace that enforces the restricted Pod Security Standard.
"""

import re
from pathlib import Path

import pytest

from tests.deploy import cluster, rendered
from tests.deploy.rendered import KUSTOMIZE, PLATFORMS, Object, kustomized, overlay, pod_of, with_component

COMPONENTS = sorted(path.name for path in (KUSTOMIZE / "components").iterdir())
POD = {"kind": "Pod", "apiVersion": "v1"}

needs_kustomize = pytest.mark.skipif(bool(rendered.NO_KUSTOMIZE), reason=rendered.NO_KUSTOMIZE)
needs_cluster = pytest.mark.skipif(bool(cluster.MISSING), reason=cluster.MISSING)


@needs_kustomize
@needs_cluster
@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_api_server_takes_every_object_of_a_platform(platform: str) -> None:
    assert [said for each in overlay(platform) if (said := cluster.cluster().dry_run(each))] == []


@needs_kustomize
@needs_cluster
def test_the_api_server_takes_the_namespace_of_workloads() -> None:
    objects = kustomized(KUSTOMIZE / "workloads")
    assert [said for each in objects if (said := cluster.cluster().dry_run(each))] == []


@needs_kustomize
@needs_cluster
@pytest.mark.parametrize("component", COMPONENTS)
def test_the_api_server_takes_a_component(component: str, tmp_path: Path) -> None:
    objects = with_component(component, tmp_path / "joined")
    assert [said for each in objects if (said := cluster.cluster().dry_run(each))] == []
    assert len(objects) == len(overlay("sidecar")) + {"monitoring": 2}.get(component, 1)


@needs_cluster
def test_the_api_server_takes_other_peoples_kinds_as_the_pages_show_them() -> None:
    """Of Envoy Gateway; those that we read ourselves are looked at by tests/docs."""
    text = (rendered.ROOT / "docs" / "interop.md").read_text()
    shown = [
        each
        for block in re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        for each in rendered.parsed(block)
    ]
    theirs = [each for each in shown if each.get("apiVersion", "").startswith("gateway.envoyproxy.io/")]
    assert len(theirs) == 1
    assert [said for each in theirs if (said := cluster.cluster().dry_run(each))] == []


@needs_cluster
def test_the_api_server_refuses_what_is_no_field() -> None:
    wrong = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "x", "namespace": "egress"},
        "spec": {"prots": []},
    }
    assert "prots" in cluster.cluster().dry_run(wrong)


@needs_kustomize
@needs_cluster
@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_pods_keep_the_restricted_standard(platform: str) -> None:
    pod = pod_of(overlay(platform))
    assert _judged("egress", pod) == ""
    loosened = {**pod, "containers": [{**pod["containers"][0], "securityContext": {"runAsUser": 0}}]}
    assert "violates PodSecurity" in _judged("egress", loosened)


@needs_kustomize
@needs_cluster
def test_the_workload_keeps_the_restricted_standard() -> None:
    objects = kustomized(KUSTOMIZE / "workloads")
    assert _judged("ai-workloads", rendered.only(objects, "Deployment")["spec"]["template"]["spec"]) == ""


def _judged(namespace: str, pod: Object) -> str:
    here = cluster.cluster()
    labelled = next(
        each
        for each in (*overlay("sidecar"), *kustomized(KUSTOMIZE / "workloads"))
        if each["kind"] == "Namespace" and each["metadata"]["name"] == namespace
    )
    here.apply(labelled)
    return here.dry_run({**POD, "metadata": {"name": "gateway", "namespace": namespace}, "spec": pod})
