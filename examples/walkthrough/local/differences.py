"""What cannot be on one machine as it is in a cluster, and what it is instead. Everything else runs as the page's files say.

- Each pod is a process on a free port of loopback; its volumes are folders, and their paths are rewritten where they are named.
- A Service is the port of the process that it leads to.
- No process is in a pod, so what a pod finds out by itself is said: who the API server is, and who we are.
- CoreDNS serves no health checks, and what it would forward to the internet goes to the trial's own DNS server.
- The trial's DNS server says 127.0.0.1, since no address of a Service can be reached here; the provider's port is a free one.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from extproc.envoy.bootstrap import text as envoy_text

from .processes import Unfit

SERVICE = re.compile(r"\b([a-z0-9-]+\.[a-z0-9-]+\.svc\.cluster\.local):(\d+)")
API_SERVER = "https://kubernetes.default.svc"
Services = Mapping[tuple[str, int], int]
"""The local port of each Service's port, by its address and by its name."""


def in_text(text: str, mounts: Mapping[str, Path], ports: Mapping[int, int], services: Services) -> str:
    """Paths of volumes, the pod's own ports, and Services by name, as they are here."""
    if mounts:
        paths = "|".join(re.escape(path) for path in sorted(mounts, key=len, reverse=True))
        text = re.sub(rf"({paths})(?![\w-])", lambda found: str(mounts[found[1]]), text)
    for port, local in ports.items():
        text = re.sub(rf"\b(0\.0\.0\.0|127\.0\.0\.1)(:| --port ){port}\b", rf"127.0.0.1\g<2>{local}", text)

    def local_service(found: re.Match[str]) -> str:
        port = services.get((found[1], int(found[2])))
        return f"127.0.0.1:{port}" if port else found[0]

    return SERVICE.sub(local_service, text)


def reviewer(text: str, kubeconfig: Path) -> str:
    """Not being in a pod extproc is told where the API server is."""
    return _once(text, "kubernetes: {}", f"kubernetes: {{kubeconfig: {kubeconfig}}}")


def static(text: str, tokens: Path) -> str:
    """Without an API server a file says whose a token is."""
    return _once(text, "audiences: [egress]", f"reviewer: {{static: {{path: {tokens}}}}}\n      audiences: [egress]")


def approle(text: str, files: Mapping[str, str]) -> str:
    """Without an API server nobody could tell OpenBao whose a token is."""
    other = f"approle: {{roleIDPath: {files['role-id']}, secretIDPath: {files['secret-id']}}}"
    return re.sub(r"kubernetes: \{role: .*?\}", other, text)


def _once(text: str, old: str, new: str) -> str:
    """Raises: Unfit, if it is not there exactly once: then the page is another than this is made for."""
    if text.count(old) != 1:
        raise Unfit(f"`{old}` is not there exactly once, in:\n{text}")
    return text.replace(old, new)


def envoy(text: str, ports: Mapping[int, int], services: Services, provider: tuple[str, int, int]) -> str:
    """`provider` is the name of the provider, its port, and the local one of who stands in for it."""
    name, port, local = provider

    def moved(where: dict[str, Any]) -> dict[str, Any]:
        address, number = where["address"], where["port_value"]
        if address == "0.0.0.0":  # noqa: S104 - what a pod listens on
            return {**where, "address": "127.0.0.1", "port_value": ports[number]}
        if (address, number) == (name, port):
            return {**where, "port_value": local}
        if (address, number) in services:
            return {**where, "address": "127.0.0.1", "port_value": services[address, number]}
        return where

    return envoy_text(_each(yaml.safe_load(text), moved))


def _each(value: Any, moved: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """The same, with each socket address moved."""
    if isinstance(value, list):
        return [_each(one, moved) for one in value]
    if not isinstance(value, dict):
        return value
    return {key: moved(one) if key == "socket_address" else _each(one, moved) for key, one in value.items()}


def cluster_dns(corefile: str, port: int, kubeconfig: Path, world: int) -> str:
    """The Corefile of the cluster's CoreDNS. `world` is the port of the trial's DNS server."""
    text = re.sub(r"(?m)^ *(health \{[^}]*\}|ready|prometheus .*|reload|loop)\n", "", corefile)
    text = text.replace("/etc/resolv.conf", f"127.0.0.1:{world}")
    text = re.sub(r"( *kubernetes .*\{\n)", rf"\1        kubeconfig {kubeconfig}\n", text)
    return _bound(text, 53, port)


def world_dns(corefile: str, listens: int, port: int) -> str:
    """The Corefile of the trial's DNS server."""
    known = re.sub(r"rewrite name exact (\S+) .*", r"hosts { \n        127.0.0.1 \1\n    }", corefile)
    return _bound(re.sub(r"(?m)^ *forward .*\n", "", known), listens, port)


def _bound(text: str, listens: int, port: int) -> str:
    return text.replace(f".:{listens} {{\n", f".:{port} {{\n    bind 127.0.0.1\n")


def command(argv: list[str], service_account: str, api_server: str) -> list[str]:
    """OpenBao in a pod finds its own token, and the authority of the API server, in this folder."""
    if argv[:1] != ["bao"] or "auth/kubernetes/config" not in argv:
        return argv
    if not api_server:
        return [*argv, "disable_local_ca_jwt=true", "kubernetes_ca_cert=nobody-asks-it"]
    files = {"kubernetes_ca_cert": "ca.crt", "token_reviewer_jwt": "token"}
    said = [one.replace(API_SERVER, api_server) for one in argv]
    return [*said, *(f"{key}=@{service_account}/{file}" for key, file in files.items())]
