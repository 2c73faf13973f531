"""The files that the page's pods read, as they are on this machine: of which API server, whose tokens, and which ports."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from . import differences
from .cluster import Told
from .control_plane import ControlPlane
from .paper import PaperCluster
from .pods import Node, Pod
from .processes import Unfit, write

PROVIDER = ("api.openai.com", 443)
STAND_IN = ("openai.internet.svc.cluster.local", 443)
WORLD = ("internet", "dns", 5353)
RULE = re.compile(r"rewrite name exact (\S+) (\S+)")
LOGIN = (("auth", "enable", "approle"), ("write", "auth/approle/role/egress", "token_policies=egress"))
IDS = {
    "role-id": ("read", "-field=role_id", "auth/approle/role/egress/role-id"),
    "secret-id": ("write", "-f", "-field=secret_id", "auth/approle/role/egress/secret-id"),
}


class Here(Protocol):
    async def text(self, node: Node, pod: Pod, name: str, text: str) -> str:
        """The file `name` of a ConfigMap, for this pod."""
        ...


@dataclass(frozen=True)
class OnTheApiServer:
    plane: ControlPlane

    async def text(self, node: Node, pod: Pod, name: str, text: str) -> str:
        match pod.namespace, name:
            case "egress", "gateway.yaml":
                token = await node.cluster.token("egress", "extproc", "")
                return differences.reviewer(text, self.plane.kubeconfig_of(pod.folder / "kubeconfig", token))
            case "kube-system", "Corefile":
                world = node.network.local(*WORLD)
                return differences.cluster_dns(text, pod.ports[53], self.plane.kubeconfig, world)
        return await _text(node, pod, name, text)


@dataclass(frozen=True)
class OnPaper:
    cluster: PaperCluster

    async def text(self, node: Node, pod: Pod, name: str, text: str) -> str:
        match pod.namespace, name:
            case "egress", "gateway.yaml":
                return differences.approle(text, await self._logged_in(node, pod))
            case "egress", "policy.yaml":
                write(pod.folder / "tokens.yaml", (await self.cluster.tokens()).encode())
                return differences.static(text, pod.folder / "tokens.yaml")
        return await _text(node, pod, name, text)

    async def _logged_in(self, node: Node, pod: Pod) -> Mapping[str, str]:
        """A role at OpenBao, and the files of its ids. Raises: Unfit."""
        bao = node.pods["vault", "openbao"]
        for argv in LOGIN:
            _checked(await node.run(bao, ["bao", *argv]))
        for name, question in IDS.items():
            write(pod.folder / name, _checked(await node.run(bao, ["bao", *question])))
        return {name: str(pod.folder / name) for name in IDS}


async def _text(node: Node, pod: Pod, name: str, text: str) -> str:
    match pod.namespace, name:
        case "egress", "envoy.yaml":
            services = await node.services()
            return differences.envoy(text, pod.ports, services, (*PROVIDER, services[STAND_IN]))
        case "internet", "Corefile":
            return differences.world_dns(text, 5353, pod.ports[5353])
    return text


async def known_names(node: Node, pod: Pod) -> Mapping[str, str]:
    """Addresses by name, as the Corefile says, as far as this page needs it: its `rewrite` rules, and the Services."""
    if pod.namespace == "internet":
        return {PROVIDER[0]: "127.0.0.1"}
    services = await node.cluster.find("services")
    known = {
        f"{one['metadata']['name']}.{one['metadata']['namespace']}.svc.cluster.local": one["spec"]["clusterIP"]
        for one in services
    }
    rules = dict(RULE.findall((pod.folder / "config" / "Corefile").read_text()))
    return {**known, **{name: known[other] for name, other in rules.items() if other in known}}


def _checked(told: Told) -> bytes:
    """Raises: Unfit."""
    if told.code:
        raise Unfit(told.err.decode())
    return told.out
