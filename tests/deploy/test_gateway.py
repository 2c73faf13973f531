"""The gateway's pods and what belongs to them: what only shows when the parts are put together."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from deploy import generate
from extproc.compose import configure
from extproc.telemetry import Metrics
from extproc.telemetry.metrics import LABELS
from extproc.wire.listener import Listener, claim
from tests.deploy import rendered
from tests.deploy.rendered import (
    CONFIG,
    PLATFORMS,
    ROOT,
    Object,
    kustomized,
    only,
    overlay,
    pod_of,
    run,
    with_component,
)
from tests.e2e.processes import short_directory

needs_kustomize = pytest.mark.skipif(bool(rendered.NO_KUSTOMIZE), reason=rendered.NO_KUSTOMIZE)
every_platform = pytest.mark.parametrize("platform", PLATFORMS)

RUN = "/run/egress"


def container(pod: Mapping[str, Any], name: str) -> dict[str, Any]:
    return next(dict(one) for one in (*pod["initContainers"], *pod["containers"]) if one["name"] == name)


def proxy(pod: Mapping[str, Any]) -> dict[str, Any]:
    (found,) = pod["containers"]
    return dict(found)


def mounts(one: Mapping[str, Any]) -> dict[str, str]:
    return {mount["name"]: mount["mountPath"] for mount in one.get("volumeMounts", [])}


def test_the_configuration_is_served_without_a_finding() -> None:
    resolved = configure(CONFIG)
    assert resolved.findings == ()
    assert resolved.settings.gateway == "egress/egress"


def test_what_is_generated_is_of_today() -> None:
    old = [
        str(path.relative_to(ROOT))
        for path, text in generate.generated()
        if not path.exists() or path.read_text() != text
    ]
    assert old == [], "run python deploy/generate.py"


@needs_kustomize
@every_platform
def test_the_mounted_configuration_is_the_one_that_was_checked(platform: str) -> None:
    mounted = only(overlay(platform), "ConfigMap", "extproc")["data"]
    assert mounted == {path.name: path.read_text() for path in CONFIG.iterdir()}


@needs_kustomize
@every_platform
def test_the_sidecar_is_a_native_one_and_is_started_first(platform: str) -> None:
    folder, extproc = pod_of(overlay(platform))["initContainers"]
    assert (folder["name"], extproc["name"]) == ("socket-folder", "extproc")
    assert extproc["restartPolicy"] == "Always"
    assert extproc["startupProbe"]["httpGet"] == {"path": "/startupz", "port": "metrics"}
    assert extproc["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert {"name": "metrics", "containerPort": 9090} in extproc["ports"]


@needs_kustomize
@every_platform
def test_a_dependency_that_is_away_takes_no_pod_out_of_the_service(platform: str) -> None:
    """/readyz tells of dependencies, which all pods share: with it Vault's end would be the end of what needs no Vault."""
    extproc = container(pod_of(overlay(platform)), "extproc")
    assert extproc["readinessProbe"]["httpGet"] == {"path": "/healthz", "port": "metrics"}


@needs_kustomize
def test_extproc_is_the_same_on_every_platform() -> None:
    def own(platform: str) -> dict[str, Any]:
        one = container(pod_of(overlay(platform)), "extproc")
        return {key: value for key, value in one.items() if key not in ("securityContext", "lifecycle")}

    assert own("sidecar") == own("envoy-gateway") == own("istio")


@needs_kustomize
@every_platform
def test_only_extproc_has_tokens_and_passwords(platform: str) -> None:
    pod = pod_of(overlay(platform))
    secret = {volume["name"] for volume in pod["volumes"] if "projected" in volume or "secret" in volume}
    assert secret == {"kubernetes-token", "vault-token", "redis-password"}
    assert secret <= mounts(container(pod, "extproc")).keys()
    assert not secret & mounts(proxy(pod)).keys()
    assert pod["serviceAccountName"] == "extproc"


@needs_kustomize
@every_platform
def test_the_account_is_made_once(platform: str) -> None:
    """Envoy Gateway makes what its EnvoyProxy names, and stops at anything of that name that is another's (checkOwnership in
    its internal/infrastructure/kubernetes/infra_resource.go, 1.9).
    """
    objects = overlay(platform)
    made = {(each["kind"], each["metadata"]["name"]) for each in objects}
    if platform == "envoy-gateway":
        own = only(objects, "EnvoyProxy")["spec"]["provider"]["kubernetes"]
        named = {(kind, own[f"envoy{kind}"]["name"]) for kind in ("ServiceAccount", "Deployment", "Service")}
        assert not made & {*named, ("ConfigMap", only(objects, "Gateway")["metadata"]["name"])}
    else:
        assert only(objects, "ServiceAccount", "extproc")["automountServiceAccountToken"] is False


@needs_kustomize
@every_platform
def test_what_the_configuration_names_is_mounted(platform: str) -> None:
    pod, settings = pod_of(overlay(platform)), configure(CONFIG).settings
    own = mounts(container(pod, "extproc"))
    redis, vault = settings.connections.redis, settings.connections.vault
    assert redis is not None
    assert redis.password is not None
    assert vault is not None
    assert vault.auth.kubernetes is not None
    assert redis.password.path == f"{own['redis-password']}/password"
    assert vault.auth.kubernetes.token_path == f"{own['vault-token']}/token"
    assert settings.listen[0].address == f"unix://{own['sockets']}/extproc/extproc.sock"
    assert mounts(proxy(pod))["sockets"] == own["sockets"] == RUN
    assert container(pod, "extproc")["args"][-1] == own["configuration"]


@needs_kustomize
@every_platform
def test_extproc_outlives_the_proxy_within_the_grace_of_the_pod(platform: str) -> None:
    objects, drain = overlay(platform), configure(CONFIG).settings.drain_seconds
    if platform == "envoy-gateway":
        shutdown = only(objects, "EnvoyProxy")["spec"]["shutdown"]
        assert shutdown["drainTimeout"] == "60s"  # Envoy Gateway gives the pod 300 s more than that
        return
    pod = pod_of(objects)
    if platform == "istio":
        annotations = only(objects, "Deployment")["spec"]["template"]["metadata"]["annotations"]
        assert "terminationDrainDuration: 60s" in annotations["proxy.istio.io/config"]
    else:
        assert proxy(pod)["lifecycle"]["preStop"] == {"sleep": {"seconds": 60}}
    assert pod["terminationGracePeriodSeconds"] >= 60 + drain + 15


@needs_kustomize
def test_envoy_is_full_before_its_container_is() -> None:
    limit = proxy(pod_of(overlay("sidecar")))["resources"]["limits"]["memory"]
    assert limit == "1Gi"
    heap = configure(CONFIG).settings.envoy.max_heap_bytes
    assert heap == 3 * 2**30 // 4


@needs_kustomize
@every_platform
def test_the_folder_of_the_socket_is_one_that_the_server_takes(platform: str) -> None:
    """The very command of the init container, in the place of an emptyDir: which is another's, and open to everybody."""
    program, flag, code = container(pod_of(overlay(platform)), "socket-folder")["command"]
    assert (program, flag) == ("/usr/bin/python3", "-c")
    with short_directory() as volume:
        volume.chmod(0o777)
        for _ in range(2):  # the containers of a pod may be started once more
            run([sys.executable, flag, code.replace(RUN, str(volume))])
        claim(Listener(f"unix://{volume}/extproc/extproc.sock"))
        assert (volume / "extproc").stat().st_mode & 0o777 == 0o750


@needs_kustomize
@every_platform
def test_the_proxy_may_connect_to_the_socket(platform: str) -> None:
    """Its folder is 0750 and itself 0660: so the proxy is another user, of the same group."""
    pod = pod_of(overlay(platform))

    def who(one: Mapping[str, Any]) -> tuple[int, int]:
        both = {**pod.get("securityContext", {}), **one["securityContext"]}
        return both["runAsUser"], both["runAsGroup"]

    extproc, envoy = who(container(pod, "extproc")), who(proxy(pod))
    assert extproc[0] != envoy[0]
    assert extproc[1] in {envoy[1], *pod["securityContext"].get("supplementalGroups", [])}
    assert who(container(pod, "socket-folder")) == extproc


@needs_kustomize
@every_platform
def test_selectors_find_the_pods(platform: str) -> None:
    objects = overlay(platform)
    if platform == "envoy-gateway":
        labels = only(objects, "EnvoyProxy")["spec"]["provider"]["kubernetes"]["envoyDeployment"]["pod"]["labels"]
    else:
        labels = only(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]
        assert only(objects, "Service")["spec"]["selector"].items() <= labels.items()
        assert only(objects, "Deployment")["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert only(objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"].items() <= labels.items()
    for constraint in pod_of(objects)["topologySpreadConstraints"]:
        assert constraint["labelSelector"]["matchLabels"].items() <= labels.items()


@needs_kustomize
@every_platform
def test_the_gateway_may_review_tokens_and_nothing_else(platform: str) -> None:
    objects = overlay(platform)
    rules = [rule for each in objects if each["kind"] in ("ClusterRole", "Role") for rule in each["rules"]]
    assert rules == [{"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]}]
    (subject,) = only(objects, "ClusterRoleBinding")["subjects"]
    assert (subject["name"], subject["namespace"]) == ("extproc", "egress")


@needs_kustomize
@pytest.mark.parametrize("component", ["keda", "hpa"])
def test_an_autoscaler_alone_says_how_many(component: str, tmp_path: Path) -> None:
    objects = with_component(component, tmp_path / "joined")
    (scaler,) = (each for each in objects if each["kind"] in ("ScaledObject", "HorizontalPodAutoscaler"))
    deployment = only(objects, "Deployment")
    assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"]


@needs_kustomize
def test_the_scaler_asks_for_metrics_that_there_are() -> None:
    (scaler,) = rendered.parsed((rendered.KUSTOMIZE / "components" / "keda" / "scaled-object.yaml").read_text())
    query = scaler["spec"]["triggers"][0]["metadata"]["query"]
    registry = CollectorRegistry()
    Metrics(registry)
    known = {sample for family in registry.collect() for sample in (family.name, f"{family.name}_total")}
    assert set(re.findall(r"extproc_[a-z_]+", query)) <= known
    assert f'gateway="{configure(CONFIG).settings.gateway}"' in query


def test_a_callers_namespace_is_not_taken_for_the_gateways() -> None:
    """The Prometheus operator labels a target with its own namespace; of two labels of one name the metric's has to count."""
    monitor = rendered.parsed((rendered.KUSTOMIZE / "components" / "monitoring" / "pod-monitor.yaml").read_text())
    (endpoint,) = only(monitor, "PodMonitor")["spec"]["podMetricsEndpoints"]
    targets = {"namespace", "pod", "container", "endpoint", "job", "instance"}
    assert set(LABELS) & targets == {"namespace"}
    assert endpoint["honorLabels"] is True


@needs_kustomize
@every_platform
def test_the_monitor_reads_extproc_alone(platform: str) -> None:
    """By the name of its port; a proxy of Envoy Gateway's has one of the same name (internal/infrastructure/kubernetes/proxy/
    resource.go of 1.9), and nothing at /metrics.
    """
    monitor = rendered.parsed((rendered.KUSTOMIZE / "components" / "monitoring" / "pod-monitor.yaml").read_text())
    (endpoint,) = only(monitor, "PodMonitor")["spec"]["podMetricsEndpoints"]
    (kept,) = endpoint["relabelings"]
    assert (kept["action"], kept["sourceLabels"]) == ("keep", ["__meta_kubernetes_pod_container_name"])
    named = {
        one["name"]: one
        for one in (*pod_of(overlay(platform))["initContainers"], *pod_of(overlay(platform))["containers"])
    }
    assert {"name": endpoint["port"], "containerPort": 9090} in named[kept["regex"]]["ports"]


@needs_kustomize
def test_a_workloads_token_is_for_the_gateway_alone() -> None:
    pod = only(kustomized(rendered.KUSTOMIZE / "workloads"), "Deployment")["spec"]["template"]["spec"]
    (source,) = (one for volume in pod["volumes"] for one in volume["projected"]["sources"])
    (authn,) = (one for one in _policy() if one["type"] == "TokenReview:v1")
    assert [source["serviceAccountToken"]["audience"]] == authn["config"]["audiences"]
    assert pod["automountServiceAccountToken"] is False


def _policy() -> list[Object]:
    (document,) = rendered.parsed((CONFIG / "policy.yaml").read_text())
    return list(document["spec"]["extensions"])


def test_no_manifest_runs_a_shell() -> None:
    """The image has none."""
    texts = [path.read_text() for path in rendered.DEPLOY.rglob("*.yaml")]
    assert texts
    assert not [text for text in texts if "/bin/sh" in text or "/bin/bash" in text]
