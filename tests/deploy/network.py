"""What NetworkPolicies let through (https://kubernetes.io/docs/concepts/services-networking/network-policies/): a pod that no
policy selects is open; one that some select takes and sends what at least one of them lists.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

from tests.deploy.rendered import Object


@dataclass(frozen=True)
class Place:
    """A pod, by the labels of it and of its namespace; or an address outside of the cluster."""

    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    namespace_labels: Mapping[str, str] = field(default_factory=dict)
    address: str = ""

    @property
    def known_by(self) -> Mapping[str, str]:
        """Kubernetes labels each namespace with its name."""
        return {**self.namespace_labels, "kubernetes.io/metadata.name": self.namespace}


def passes(policies: Iterable[Object], source: Place, target: Place, port: int, protocol: str = "TCP") -> bool:
    """Whether a connection gets from one to the other: both ends must agree."""
    policies = tuple(policies)
    out = _allowed(policies, "Egress", source, target, port, protocol)
    return out and _allowed(policies, "Ingress", target, source, port, protocol)


def _allowed(policies: Iterable[Object], way: str, pod: Place, peer: Place, port: int, protocol: str) -> bool:
    if pod.address:
        return True
    at_pod = [
        each["spec"]
        for each in policies
        if each["kind"] == "NetworkPolicy"
        and each["metadata"]["namespace"] == pod.namespace
        and _selects(each["spec"]["podSelector"], pod.labels)
        and way in each["spec"]["policyTypes"]
    ]
    end = "to" if way == "Egress" else "from"
    rules = [rule for spec in at_pod for rule in spec.get(way.lower(), [])]
    return not at_pod or any(_rule_takes(rule, end, pod.namespace, peer, port, protocol) for rule in rules)


def _rule_takes(rule: Mapping[str, Any], end: str, own: str, peer: Place, port: int, protocol: str) -> bool:
    ports = rule.get("ports", [{"port": port, "protocol": protocol}])
    ends = rule.get(end)
    at_port = any(one["port"] == port and one["protocol"] == protocol for one in ports)
    return at_port and (ends is None or any(_peer_is(one, own, peer) for one in ends))


def _peer_is(one: Mapping[str, Any], own: str, peer: Place) -> bool:
    if block := one.get("ipBlock"):
        return bool(peer.address) and _within(peer.address, block["cidr"], block.get("except", []))
    if peer.address:
        return False
    namespaces = one.get("namespaceSelector")
    here = peer.namespace == own if namespaces is None else _selects(namespaces, peer.known_by)
    return here and _selects(one.get("podSelector", {}), peer.labels)


def _within(address: str, block: str, but: Iterable[str]) -> bool:
    ip = ip_address(address)
    return ip in ip_network(block) and not any(ip in ip_network(one) for one in but)


def _selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    assert selector.keys() <= {"matchLabels"}, "the evaluator knows no other selectors"
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
