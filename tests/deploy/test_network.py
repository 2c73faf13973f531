"""The NetworkPolicies: from a workload there is one way out, and from the gateway there are those that it needs."""

import pytest

from tests.deploy import rendered
from tests.deploy.network import Place, passes
from tests.deploy.rendered import KUSTOMIZE, PLATFORMS, Object, kustomized, only, overlay, parsed

pytestmark = pytest.mark.skipif(bool(rendered.NO_KUSTOMIZE), reason=rendered.NO_KUSTOMIZE)

GATEWAY = Place("egress", {"egress.extproc.dev/gateway": "egress"})
WORKLOAD = Place("ai-workloads", {"app.kubernetes.io/name": "assistant"}, {"egress.extproc.dev/workloads": "true"})
STRANGER = Place("shop", {"app.kubernetes.io/name": "assistant"})
DNS = Place("kube-system", {"k8s-app": "kube-dns"})
REDIS = Place("egress", {"app.kubernetes.io/name": "redis"})
VAULT = Place("vault", {"app.kubernetes.io/name": "vault"})
PROMETHEUS = Place("monitoring", {"app.kubernetes.io/name": "prometheus"})
PROVIDER, PROVIDER6 = Place(address="104.18.7.192"), Place(address="2606:4700::6812:7c0")
CLOUD, NODE, API = Place(address="169.254.169.254"), Place(address="10.0.0.7"), Place(address="10.0.0.1")
INSIDE6 = Place(address="fd00:ec2::254")


def policies(platform: str) -> tuple[Object, ...]:
    return (*overlay(platform), *kustomized(KUSTOMIZE / "workloads"))


def port_of(platform: str) -> int:
    return 10080 if platform == "envoy-gateway" else 10000


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_workload_reaches_names_and_the_gateway_and_nothing_else(platform: str) -> None:
    port, given = port_of(platform), policies(platform)
    assert passes(given, WORKLOAD, GATEWAY, port)
    assert passes(given, WORKLOAD, DNS, 53, "UDP")
    for target in (PROVIDER, PROVIDER6, CLOUD, NODE, API, INSIDE6, REDIS, VAULT, STRANGER, PROMETHEUS, DNS):
        assert [p for p in (80, 443, 6379, 6443, 8200, 9090, 10000, 10080) if passes(given, WORKLOAD, target, p)] == []


@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_gateways_other_ports_are_closed_to_workloads(platform: str) -> None:
    taken = {
        port for port in (9090, 9901, 15000, 15090, 19000, 19001) if passes(policies(platform), WORKLOAD, GATEWAY, port)
    }
    assert taken == set()


@pytest.mark.parametrize("platform", PLATFORMS)
def test_only_workloads_reach_the_gateway(platform: str) -> None:
    given = policies(platform)
    assert not any(passes(given, other, GATEWAY, port_of(platform)) for other in (STRANGER, PROMETHEUS, VAULT, REDIS))
    assert passes(given, PROMETHEUS, GATEWAY, 9090)


@pytest.mark.parametrize(("platform", "port"), [("envoy-gateway", 19001), ("istio", 15090)])
def test_the_numbers_of_a_proxy_are_for_who_scrapes_alone(platform: str, port: int) -> None:
    """Where Envoy Gateway (its EnvoyStatsPort) and Istio serve /stats/prometheus."""
    given = policies(platform)
    assert passes(given, PROMETHEUS, GATEWAY, port)
    assert not any(passes(given, other, GATEWAY, port) for other in (WORKLOAD, STRANGER, VAULT, REDIS))


@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_gateway_reaches_what_it_needs(platform: str) -> None:
    given = policies(platform)
    needed = ((PROVIDER, 443), (PROVIDER6, 443), (REDIS, 6379), (VAULT, 8200), (API, 6443), (DNS, 53))
    assert [target for target, port in needed if not passes(given, GATEWAY, target, port)] == []


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("target", [CLOUD, NODE, INSIDE6, STRANGER], ids=lambda place: place.address or place.namespace)
def test_the_gateway_is_no_way_into_the_cluster_or_the_cloud(platform: str, target: Place) -> None:
    assert not any(passes(policies(platform), GATEWAY, target, port) for port in (53, 80, 443, 6379, 8200))


@pytest.mark.parametrize(("platform", "namespace", "labels", "port"), [
    ("istio", "istio-system", {"app": "istiod"}, 15012),
    ("envoy-gateway", "envoy-gateway-system", {"control-plane": "envoy-gateway"}, 18000),
])  # fmt: skip
def test_a_proxy_reaches_its_control_plane(platform: str, namespace: str, labels: dict[str, str], port: int) -> None:
    control = Place(namespace, labels)
    assert passes(policies(platform), GATEWAY, control, port)
    assert not passes(policies("sidecar"), GATEWAY, control, port)


def test_everything_else_in_the_namespace_is_closed() -> None:
    given = policies("sidecar")
    assert not any(passes(given, REDIS, target, 443) for target in (PROVIDER, API, NODE))
    assert only(overlay("sidecar"), "NetworkPolicy", "default-deny")["spec"]["policyTypes"] == ["Ingress", "Egress"]


def test_the_evaluator_knows_an_open_cluster_from_a_closed_one() -> None:
    assert passes((), WORKLOAD, PROVIDER, 443)
    closed = parsed(
        "{kind: NetworkPolicy, metadata: {namespace: ai-workloads}, spec: {podSelector: {}, policyTypes: [Egress]}}"
    )
    assert not passes(closed, WORKLOAD, PROVIDER, 443)
    assert passes(closed, STRANGER, WORKLOAD, 443)


def test_a_redis_is_the_gateways_alone() -> None:
    given = policies("sidecar")
    assert not any(passes(given, other, REDIS, 6379) for other in (WORKLOAD, STRANGER, PROMETHEUS, Place("egress", {})))
