"""The cluster that the page's commands speak to: a real API server, by the real kubectl. What the node here wants to know it
asks the API itself, which is quicker.
"""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from .control_plane import ControlPlane
from .processes import Unfit

Object = dict[str, Any]
GROUPS = {"deployments": "/apis/apps/v1", "networkpolicies": "/apis/networking.k8s.io/v1"}
"""Where the API has each kind; the others are in its core."""


@dataclass(frozen=True)
class Told:
    """What a command printed, and its exit code."""

    code: int = 0
    out: bytes = b""
    err: bytes = b""


class Cluster(Protocol):
    """What the rest needs of one."""

    @property
    def address(self) -> str:
        """Of the API server."""
        ...

    async def kubectl(self, argv: Sequence[str], cwd: Path, stdin: bytes = b"") -> Told: ...

    async def find(self, kind: str, namespace: str = "", name: str = "") -> list[Object]:
        """The objects of this kind; of one namespace, or of one name, where that is said. Raises: Unfit."""
        ...

    async def token(self, namespace: str, account: str, audience: str) -> str:
        """One of this ServiceAccount; without an audience, for the API server itself. Raises: Unfit."""
        ...

    def authority(self) -> str:
        """Of the API server, PEM."""
        ...


class RealCluster:
    """As its administrator."""

    def __init__(self, plane: ControlPlane, home: Path, api: aiohttp.ClientSession) -> None:
        self.plane = plane
        self._api = api
        self._tls = ssl.create_default_context(cafile=str(plane.authority))
        self._environ = {"PATH": os.environ["PATH"], "HOME": str(home), "KUBECONFIG": str(plane.kubeconfig)}

    @property
    def address(self) -> str:
        return self.plane.address

    async def kubectl(self, argv: Sequence[str], cwd: Path, stdin: bytes = b"") -> Told:
        return await ran(("kubectl", *argv), cwd, self._environ, stdin)

    async def find(self, kind: str, namespace: str = "", name: str = "") -> list[Object]:
        where = f"/namespaces/{namespace}" if namespace else ""
        chosen = f"?fieldSelector=metadata.name%3D{name}" if name else ""
        return list((await self._ask("GET", f"{GROUPS.get(kind, '/api/v1')}{where}/{kind}{chosen}"))["items"])

    async def token(self, namespace: str, account: str, audience: str) -> str:
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        spec = {"audiences": [audience] if audience else [], "expirationSeconds": 3600}
        return str((await self._ask("POST", path, {"spec": spec}))["status"]["token"])

    def authority(self) -> str:
        return self.plane.authority.read_text()

    async def _ask(self, method: str, path: str, document: object = None) -> Object:
        async with self._api.request(method, self.address + path, json=document, ssl=self._tls) as answer:
            told = await answer.json()
        if answer.status >= 400:
            raise Unfit(f"{method} {path}: {told['message']}")
        return dict(told)


@asynccontextmanager
async def real_cluster(plane: ControlPlane, home: Path) -> AsyncIterator[RealCluster]:
    head = {"authorization": f"Bearer {plane.token}"}
    async with aiohttp.ClientSession(headers=head, timeout=aiohttp.ClientTimeout(20)) as api:
        yield RealCluster(plane, home, api)


async def ran(argv: Sequence[str], cwd: Path, environ: dict[str, str], stdin: bytes = b"") -> Told:
    """Run it to its end."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*argv, cwd=cwd, env=environ, stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        out, err = await process.communicate(stdin)
    finally:
        if process.returncode is None:
            process.kill()
    return Told(process.returncode or 0, out, err)
