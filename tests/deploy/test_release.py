"""A release before a real API server: installed beside another, upgraded, rolled back, and taken away without a trace."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.deploy import rendered
from tests.deploy.rendered import CHART, HELM, Object, charted, run
from tests.servers import kubernetes
from tests.servers.kubernetes import ApiServer, write_kubeconfig

MISSING = kubernetes.MISSING or rendered.NO_HELM
pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

OWN = ("--set-json", 'configuration.files={"all.yaml":""}', "--set", "envoy.bootstrap=a: b")
"""For a release in another namespace than that of the chart's own configuration."""

KINDS = {
    "ClusterRole": "apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "ConfigMap": "api/v1/configmaps",
    "Deployment": "apis/apps/v1/deployments",
    "NetworkPolicy": "apis/networking.k8s.io/v1/networkpolicies",
    "PodDisruptionBudget": "apis/policy/v1/poddisruptionbudgets",
    "Service": "api/v1/services",
    "ServiceAccount": "api/v1/serviceaccounts",
}
"""Where those of all namespaces are listed."""

Helm = Callable[..., str]


@pytest.fixture(scope="module")
def server() -> ApiServer:
    return kubernetes.shared()


@pytest.fixture
def helm(server: ApiServer, tmp_path: Path) -> Helm:
    """The command, as somebody who may do anything in the cluster."""
    url = f"https://127.0.0.1:{server.port}"
    config = write_kubeconfig(tmp_path, url, server.authority.file, {"token": "admin-token"})
    homes = {
        "HOME": str(tmp_path),
        **{f"HELM_{name}_HOME": str(tmp_path / "helm") for name in ("CACHE", "CONFIG", "DATA")},
    }

    def command(*words: object) -> str:
        return run([HELM, "--kubeconfig", config, "--kube-context", "there", *words], env=homes)

    return command


def of(server: ApiServer, release: str) -> dict[str, Any]:
    """What the cluster has of it, by kind and name."""
    found = {}
    for kind, path in KINDS.items():
        listed = server._admin.get(f"/{path}", params={"labelSelector": f"app.kubernetes.io/instance={release}"})
        for each in listed.raise_for_status().json()["items"]:
            found[f"{kind} {each['metadata']['name']}"] = each
    return found


def names(objects: tuple[Object, ...]) -> set[str]:
    return {rendered.name(each) for each in objects}


def bootstrap(objects: dict[str, Any]) -> str:
    """The ConfigMap that Envoy's container mounts."""
    volumes = objects["Deployment egress-gateway"]["spec"]["template"]["spec"]["volumes"]
    return next(str(each["configMap"]["name"]) for each in volumes if each["name"] == "bootstrap")


def test_a_release_from_its_begin_to_its_end(server: ApiServer, helm: Helm) -> None:
    helm("install", "first", CHART, "--namespace", "egress", "--create-namespace")
    helm("install", "second", CHART, "--namespace", "second", "--create-namespace", *OWN)
    first, second = of(server, "first"), of(server, "second")
    assert set(first) == names(charted())
    assert len(second) == len(first)

    helm("upgrade", "first", CHART, "--namespace", "egress", "--reuse-values", "--set", "envoy.bootstrap=a: b")
    upgraded = of(server, "first")
    assert f"ConfigMap {bootstrap(upgraded)}" in upgraded
    assert bootstrap(upgraded) != bootstrap(first), "another bootstrap, and the same pods"
    template = upgraded["Deployment egress-gateway"]["spec"]["template"]
    assert template["metadata"] == first["Deployment egress-gateway"]["spec"]["template"]["metadata"]

    helm("rollback", "first", "1", "--namespace", "egress")
    assert set(of(server, "first")) == set(first)
    assert bootstrap(of(server, "first")) == bootstrap(first)

    helm("uninstall", "first", "--namespace", "egress")
    assert of(server, "first") == {}
    assert set(of(server, "second")) == set(second), "what the other release needs is still there"
    helm("uninstall", "second", "--namespace", "second")
    assert of(server, "second") == {}
