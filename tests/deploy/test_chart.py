"""The Helm chart: the objects of the overlays, and values that are refused when they are not what the schema says."""

import json
import re
import tomllib
from collections.abc import Iterable
from typing import Any

import jsonschema
import pytest
import yaml

from tests.deploy import cluster, rendered
from tests.deploy.rendered import CHART, PLATFORMS, Object, charted, only, overlay, pod_of, run

needs_helm = pytest.mark.skipif(bool(rendered.NO_HELM), reason=rendered.NO_HELM)
needs_kustomize = pytest.mark.skipif(bool(rendered.NO_KUSTOMIZE), reason=rendered.NO_KUSTOMIZE)
needs_cluster = pytest.mark.skipif(bool(cluster.MISSING), reason=cluster.MISSING)

VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
CHANGES = (
    (
        "autoscaling.kind=hpa",
        "podMonitor=true",
        "prometheusRule=true",
        "monitorLabels.release=kube-prometheus-stack",
        "podDisruptionBudget.maxUnavailable=25%",
        "service.port=443",
        "scheduling.priorityClassName=system-cluster-critical",
        "scheduling.nodeSelector.pool=egress",
        "scheduling.tolerations[0].operator=Exists",
        "podAnnotations.team=platform",
        "env[0].name=OTEL_EXPORTER_OTLP_ENDPOINT",
        "env[0].value=http://collector:4318",
        "volumes[0].name=tls",
        "volumes[0].secret.secretName=tls",
        "volumeMounts[0].name=tls",
        "volumeMounts[0].mountPath=/run/extproc/tls",
        "proxy.volumeMounts[0].name=tls",
        "proxy.volumeMounts[0].mountPath=/etc/envoy/tls",
        "networkPolicy.egress[0].to[0].ipBlock.cidr=192.0.2.7/32",
        "networkPolicy.egress[0].ports[0].port=4318",
        "image.pullSecrets={ours}",
        f"image.digest=sha256:{'0' * 64}",
        "networkPolicy.resolvers={192.0.2.53/32}",
        "providers[0].name=openai",
        "providers[0].host=api.openai.com",
        "providers[1].name=anthropic",
        "providers[1].host=api.anthropic.com",
    ),
    ("redis.passwordSecret=", "vault.audience=", "networkPolicy.enabled=false"),
)
"""More than the defaults, and less."""


def platform_is(platform: str) -> tuple[str, str]:
    return ("--set", f"platform={platform}")


def plain(objects: Iterable[Object]) -> dict[str, Any]:
    """By kind and name what an object asks for; without the chart's labels, and the hash in the name of Envoy's ConfigMap."""
    found = {}
    for each in objects:
        if each["kind"] != "Namespace":  # helm's `--create-namespace` makes it
            text = re.sub(
                r"envoy-[0-9a-z]{10}(?=[\"}])",
                "envoy-HASH",
                json.dumps({k: v for k, v in each.items() if k != "metadata"}),
            )
            called = re.sub(r"^envoy-[0-9a-z]{10}$", "envoy-HASH", each["metadata"]["name"])
            found[f"{each['apiVersion']} {each['kind']} {called}"] = json.loads(text)
    return found


@needs_helm
@needs_kustomize
@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_chart_makes_the_objects_of_the_overlay(platform: str) -> None:
    made, wanted = plain(charted(*platform_is(platform))), plain(overlay(platform))
    pull = pods(made.values())
    assert [one.pop("imagePullPolicy") for one in pull] == ["IfNotPresent", "IfNotPresent"]
    assert made == wanted


def pods(objects: Iterable[Any]) -> list[dict[str, Any]]:
    """The containers with extproc's image, wherever they are."""
    found: list[dict[str, Any]] = []
    for each in objects:
        if isinstance(each, dict):
            own = "imagePullPolicy" in each
            found += [each] if own else pods(each.values())
        elif isinstance(each, list):
            found += pods(each)
    return found


@needs_helm
@needs_cluster
@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("changes", CHANGES, ids=["more", "less"])
def test_the_api_server_takes_what_the_chart_makes_of_other_values(platform: str, changes: tuple[str, ...]) -> None:
    objects = charted(*platform_is(platform), *(word for change in changes for word in ("--set", change)))
    assert [said for each in objects if (said := cluster.cluster().dry_run(each))] == []


@needs_helm
@needs_cluster
def test_the_api_server_takes_the_scaler() -> None:
    objects = charted("--set", "autoscaling.kind=keda")
    assert cluster.cluster().dry_run(only(objects, "ScaledObject")) == ""
    assert "replicas" not in only(objects, "Deployment")["spec"]


@needs_helm
def test_a_configuration_of_ones_own_needs_the_bootstrap_that_fits() -> None:
    own = ("--set-json", 'configuration.files={"all.yaml":"a: {{ b }}\\n"}')
    with pytest.raises(AssertionError, match="extproc envoy --config DIR"):
        charted(*own)
    objects = charted(*own, "--set", "envoy.bootstrap=static_resources: {}")
    assert only(objects, "ConfigMap", "extproc")["data"] == {"all.yaml": "a: {{ b }}\n"}
    (volume,) = (one for one in pod_of(objects)["volumes"] if one["name"] == "bootstrap")
    assert only(objects, "ConfigMap", volume["configMap"]["name"])["data"] == {"envoy.yaml": "static_resources: {}"}
    assert volume not in pod_of(charted())["volumes"]


@needs_helm
@pytest.mark.parametrize("platform", PLATFORMS)
def test_what_a_pod_is_given_beside_its_own(platform: str) -> None:
    """In the container that it is for, and nothing of it is lost on the way."""
    pod = pod_of(charted(*platform_is(platform), *(word for change in CHANGES[0] for word in ("--set", change))))
    extproc, (proxy,) = pod["initContainers"][1], pod["containers"]
    assert extproc["env"] == [{"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector:4318"}]
    assert {"name": "tls", "secret": {"secretName": "tls"}} in pod["volumes"]
    assert {"name": "tls", "mountPath": "/run/extproc/tls"} in extproc["volumeMounts"]
    assert {"name": "tls", "mountPath": "/etc/envoy/tls"} in proxy["volumeMounts"]
    assert (pod["priorityClassName"], pod["nodeSelector"]) == ("system-cluster-critical", {"pool": "egress"})
    assert pod["tolerations"] == [{"operator": "Exists"}]


@needs_helm
def test_monitors_are_found_by_an_operator_that_looks_for_a_label() -> None:
    made = charted(*(word for change in CHANGES[0] for word in ("--set", change)))
    found = [only(made, kind)["metadata"]["labels"].get("release") for kind in ("PodMonitor", "PrometheusRule")]
    assert found == ["kube-prometheus-stack"] * 2


@needs_helm
@pytest.mark.parametrize("platform", PLATFORMS)
def test_two_gateways_of_a_cluster_share_nothing(platform: str) -> None:
    """What lies in no namespace is called after the gateway's; else the second release would be refused, or take it over."""
    own = ("--set-json", 'configuration.files={"all.yaml":""}', "--set", "envoy.bootstrap=a", *platform_is(platform))
    second = charted(*own, "--namespace", "second")
    assert {each["metadata"]["namespace"] for each in second if "namespace" in each["metadata"]} == {"second"}
    first = {rendered.name(each) for each in charted(*own) if "namespace" not in each["metadata"]}
    assert len(first) >= 2
    assert not first & {rendered.name(each) for each in second if "namespace" not in each["metadata"]}
    (subject,) = only(second, "ClusterRoleBinding")["subjects"]
    assert subject["namespace"] == "second"


@needs_helm
def test_the_charts_own_configuration_is_for_its_own_namespace() -> None:
    with pytest.raises(AssertionError, match=r"in the namespace egress: bring one by configuration\.files"):
        charted("--namespace", "second")


@needs_helm
def test_the_scaler_asks_for_the_gateway_that_it_is_told() -> None:
    made = only(charted("--set", "autoscaling.kind=keda", "--set", "autoscaling.gateway=prod/llm"), "ScaledObject")
    assert 'extproc_requests_total{gateway="prod/llm"}' in made["spec"]["triggers"][0]["metadata"]["query"]


@needs_helm
@pytest.mark.parametrize(("changes", "said"), [
    (("--set", "platfrom=istio"), "platfrom"),
    (("--set", "platform=nginx"), "platform"),
    (("--set", "image.digest=latest"), "digest"),
    (("--set", "scheduling.nodeSelectors.pool=egress"), "nodeSelectors"),
    (("--set", "env[0].name=OTEL", "--set", "env[0].vaule=x"), "vaule"),
    (("--set", "networkPolicy.egress[0].to[0].ipBlock.cidr=0.0.0.0/0"), "ports"),
    (("--set", "providers[0].host=https://api.openai.com"), "host"),
    (("--set", "autoscaling.kind=keda", "--set", "platform=envoy-gateway"), "write hpa"),
])  # fmt: skip
def test_wrong_values_are_refused_by_name(changes: tuple[str, ...], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        charted(*changes)


def test_what_is_deployed_is_this_version() -> None:
    version = tomllib.loads((rendered.ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (version, version)
    for platform in PLATFORMS:
        told = yaml.safe_load((rendered.KUSTOMIZE / "overlays" / platform / "kustomization.yaml").read_text())
        assert [image["newTag"] for image in told["images"]] == [version]


@needs_helm
def test_lint() -> None:
    run([rendered.HELM, "lint", "--strict", CHART])


def test_the_schema_knows_every_value_and_no_other() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(VALUES, SCHEMA)
    assert set(VALUES) | {"global"} == set(SCHEMA["properties"])
    for key, value in VALUES.items():
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**VALUES, key: {**value, "x": 1} if isinstance(value, dict) else [1]}, SCHEMA)
