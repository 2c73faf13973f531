"""A real API server with its etcd, on loopback, as `make envtest` brings them. Nothing else of a cluster runs: no controller,
no node, so a Deployment makes no pods. `kubectl` finds it by a kubeconfig.
"""

import asyncio
import os
import re
import secrets
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from .processes import Unfit, free_port, running

BUILD = Path(__file__).parents[3] / "tools" / "envtest" / "go.mod"
ISSUER = "https://kubernetes.default.svc"
PATIENCE = 120.0
"""Seconds until it is ready: it makes its roles first."""


@dataclass(frozen=True)
class ControlPlane:
    """Where it is, the files that say how to reach it, and the administrator's token."""

    port: int
    authority: Path
    kubeconfig: Path
    token: str = field(repr=False)

    @property
    def address(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def kubeconfig_of(self, path: Path, token: str) -> Path:
        """A kubeconfig for whoever has this token."""
        document: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "local",
            "clusters": [
                {"name": "local", "cluster": {"server": self.address, "certificate-authority": str(self.authority)}}
            ],
            "users": [{"name": "local", "user": {"token": token}}],
            "contexts": [{"name": "local", "context": {"cluster": "local", "user": "local"}}],
        }
        path.touch(0o600)
        path.write_text(yaml.safe_dump(document), "utf-8")
        return path


def assets() -> Path:
    """The directory of `etcd` and `kube-apiserver`: KUBEBUILDER_ASSETS, or where `make envtest` puts them. Raises: Unfit."""
    version = re.search(r"k8s\.io/kubernetes (v\S+)", BUILD.read_text())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(os.environ.get("KUBEBUILDER_ASSETS") or cache / "extproc-envtest" / (version[1] if version else ""))
    if not all((folder / name).exists() for name in ("etcd", "kube-apiserver")):
        raise Unfit("there is no kube-apiserver and etcd here (`make envtest` gets them)")
    return folder


@asynccontextmanager
async def control_plane(found: Path, folder: Path) -> AsyncIterator[ControlPlane]:
    """Start it from the binaries in `found`; end it. Raises: Unfit."""
    folder.mkdir(0o700)  # noqa: ASYNC240 - at once
    clients, peers = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    port, token = free_port(), secrets.token_hex(16)
    (folder / "tokens.csv").touch(0o600)
    (folder / "tokens.csv").write_text(f'{token},admin,admin,"system:masters"\n')
    _signing_key(folder / "accounts.pem")
    plane = ControlPlane(port, folder / "apiserver.crt", folder / "kubeconfig", token)
    etcd = [str(found / "etcd"), *flags(etcd_flags(folder / "etcd", clients, peers))]
    server = [str(found / "kube-apiserver"), *flags(server_flags(folder, clients, port))]
    async with running(etcd, folder / "etcd.log"), running(server, folder / "kube-apiserver.log") as process:
        await process.ready(lambda: _answers(plane), PATIENCE)
        plane.kubeconfig_of(plane.kubeconfig, token)
        yield plane


async def _answers(plane: ControlPlane) -> bool:
    """Its certificate is one that it made itself, a moment ago."""
    if not plane.authority.exists():
        return False
    head = {"authorization": f"Bearer {plane.token}"}
    try:
        context = ssl.create_default_context(cafile=str(plane.authority))
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(2), headers=head) as session,
            session.get(f"{plane.address}/readyz", ssl=context) as answer,
        ):
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError, ssl.SSLError):
        await asyncio.sleep(0.1)
        return False


def etcd_flags(folder: Path, clients: str, peers: str) -> dict[str, object]:
    """Its data in `folder`; `clients` and `peers` are where it listens."""
    return {
        "data-dir": folder,
        "unsafe-no-fsync": "true",
        "listen-client-urls": clients,
        "advertise-client-urls": clients,
        "listen-peer-urls": peers,
        "initial-advertise-peer-urls": peers,
        "initial-cluster": f"default={peers}",
    }


def server_flags(folder: Path, store: str, port: int) -> dict[str, object]:
    """Of kube-apiserver, with its files in `folder`; `store` is where etcd is."""
    return {
        "etcd-servers": store,
        "bind-address": "127.0.0.1",
        "advertise-address": "127.0.0.1",
        "secure-port": port,
        "cert-dir": folder,
        "service-cluster-ip-range": "10.96.0.0/16",
        "service-account-issuer": ISSUER,
        "service-account-key-file": folder / "accounts.pem",
        "service-account-signing-key-file": folder / "accounts.pem",
        "api-audiences": ISSUER,
        "token-auth-file": folder / "tokens.csv",
        "authorization-mode": "RBAC",
    }


def _signing_key(path: Path) -> None:
    form = serialization.PrivateFormat.TraditionalOpenSSL
    key = ec.generate_private_key(ec.SECP256R1())
    path.touch(0o600)
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))


def flags(values: dict[str, object]) -> list[str]:
    return [f"--{name}={value}" for name, value in values.items()]
