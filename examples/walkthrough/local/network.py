"""What joins the pods, done here by looking at the objects: Services lead to the ports of local processes as kube-proxy would
make them, and NetworkPolicies close ways as a network plugin would.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from .cluster import Cluster, Object
from .processes import free_port


@dataclass(frozen=True)
class End:
    """An end of a way: pods, and a port of theirs as the container has it; or, with no `deployment`, an address of no pod."""

    namespace: str
    deployment: str
    labels: Mapping[str, str]
    port: int
    address: str = ""


class Network:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._ports: defaultdict[tuple[str, str, int], int] = defaultdict(free_port)

    def local(self, namespace: str, deployment: str, port: int) -> int:
        """The port of this machine that this port of a pod is."""
        return self._ports[namespace, deployment, port]

    async def services(self) -> dict[tuple[str, int], End]:
        """Where each Service's port leads, by its address and by its name in the cluster."""
        deployments = await self._cluster.find("deployments")
        found = {}
        for service in await self._cluster.find("services"):
            meta, spec = service["metadata"], service["spec"]
            pods = _selected(deployments, meta["namespace"], spec.get("selector") or {})
            for port in spec["ports"] if pods else ():
                end = _end(pods, port.get("targetPort", port["port"]))
                found[spec["clusterIP"], port["port"]] = end
                found[f"{meta['name']}.{meta['namespace']}.svc.cluster.local", port["port"]] = end
        return found

    async def reached(self, namespace: str, labels: Mapping[str, str], address: str, port: int) -> int | None:
        """The local port that a pod with these labels gets to at an address; None where a NetworkPolicy closes the way, and
        where nobody is.
        """
        here = End(namespace, "a pod", labels, 0)
        there = (await self.services()).get((address, port), End("", "", {}, port, address))
        namespaces = {one["metadata"]["name"]: _labels(one) for one in await self._cluster.find("namespaces")}
        policies = Policies(await self._cluster.find("networkpolicies"), namespaces)
        if not there.deployment or not policies.let(here, there):
            return None
        return self.local(there.namespace, there.deployment, there.port)


@dataclass(frozen=True)
class Policies:
    """All NetworkPolicies, and the labels of each namespace. Ports are numbers; TCP and UDP are not told apart."""

    policies: list[Object]
    namespaces: Mapping[str, Mapping[str, str]]

    def let(self, here: End, there: End) -> bool:
        """Whether both ends let it be: a pod that a policy selects has what one of them opens, and nothing else."""
        return self._one_side("Egress", "to", here, there, there.port) and self._one_side(
            "Ingress", "from", there, here, there.port
        )

    def _one_side(self, direction: str, key: str, own: End, other: End, port: int) -> bool:
        judging = [one for one in self.policies if self._selects(one, own, direction)]
        return not judging or any(
            self._opens(rule, key, own, other, port)
            for one in judging
            for rule in one["spec"].get(direction.lower()) or ()
        )

    def _selects(self, policy: Object, own: End, direction: str) -> bool:
        spec = policy["spec"]
        if policy["metadata"]["namespace"] != own.namespace or direction not in spec.get("policyTypes", ("Ingress",)):
            return False
        return _matches(spec.get("podSelector") or {}, own.labels)

    def _opens(self, rule: Object, key: str, own: End, other: End, port: int) -> bool:
        numbers = [one.get("port") for one in rule.get("ports") or ()]
        peers = rule.get(key) or ()
        return (not numbers or port in numbers) and (not peers or any(self._is_it(one, own, other) for one in peers))

    def _is_it(self, peer: Object, own: End, other: End) -> bool:
        if block := peer.get("ipBlock"):
            outside = not other.deployment and _within(other.address, block["cidr"])
            return outside and not any(_within(other.address, one) for one in block.get("except", ()))
        chosen = peer.get("namespaceSelector")
        labels = self.namespaces.get(other.namespace, {})
        right = other.namespace == own.namespace if chosen is None else _matches(chosen, labels)
        return bool(other.deployment) and right and _matches(peer.get("podSelector") or {}, other.labels)


def _selected(deployments: list[Object], namespace: str, selector: Mapping[str, str]) -> Object:
    """The Deployment whose pods have these labels."""
    for one in deployments:
        labels = _labels(one["spec"]["template"])
        if selector and one["metadata"]["namespace"] == namespace and selector.items() <= labels.items():
            return one
    return {}


def _end(deployment: Object, port: int | str) -> End:
    meta, template = deployment["metadata"], deployment["spec"]["template"]
    named = {one.get("name"): one["containerPort"] for one in ports(template)}
    return End(meta["namespace"], meta["name"], _labels(template), port if isinstance(port, int) else named[port])


def ports(template: Object) -> Iterator[Object]:
    """Of all containers."""
    spec = template["spec"]
    for container in (*spec.get("initContainers", ()), *spec["containers"]):
        yield from container.get("ports", ())


def _labels(thing: Object) -> Mapping[str, str]:
    return thing["metadata"].get("labels") or {}


def _matches(selector: Object, labels: Mapping[str, str]) -> bool:
    """Raises: NotImplementedError, for what the manifests of this project do not use."""
    if selector.keys() - {"matchLabels"}:
        raise NotImplementedError(f"a selector with {sorted(selector)}")
    return (selector.get("matchLabels") or {}).items() <= labels.items()


def _within(address: str, block: str) -> bool:
    network = ip_network(block)
    return ip_address(address).version == network.version and ip_address(address) in network
