"""A cluster on paper, for a machine without an API server: it keeps what is applied to it, and checks nothing. kubectl itself
makes the objects; tokens are what a file says they are.
"""

import copy
import hashlib
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from .cluster import Object, Told, ran
from .processes import Unfit

AUDIENCES = ("egress", "vault")


class PaperCluster:
    """Objects by their kind (`deployments`), namespace and name."""

    address = ""

    def __init__(self, home: Path) -> None:
        self._objects: dict[tuple[str, str, str], Object] = {}
        self._environ = {"PATH": os.environ["PATH"], "HOME": str(home)}
        self._salt = secrets.token_hex(16)

    async def kubectl(self, argv: Sequence[str], cwd: Path, stdin: bytes = b"") -> Told:
        """Raises: Unfit, for what this does not know."""
        match list(argv):
            case ["apply", *rest]:
                return await self._apply(rest, cwd, stdin)
            case ["create", "token", account, "-n", namespace, "--audience", audience]:
                return Told(out=(await self.token(namespace, account, audience)).encode() + b"\n")
            case ["create", *_] if "--dry-run=client" not in argv:
                made = await self._client((*argv, "--dry-run=client", "-o", "yaml"), cwd)
                return Told(out=self._keep(made, "").encode())
            case ["create" | "kustomize", *_]:
                return Told(out=await self._client(argv, cwd))
            case ["get", kind, name, "-n", namespace, "-o", path]:
                return Told(out=str(_at(self._one(f"{kind}s", namespace, name), path)).encode())
            case ["scale", "-n", namespace, target, replicas]:
                found = self._one("deployments", namespace, target.partition("/")[2])
                found["spec"]["replicas"] = int(replicas.partition("=")[2])
                return Told(out=f"deployment.apps/{found['metadata']['name']} scaled\n".encode())
            case ["rollout", "restart", "-n", namespace, target]:
                found = self._one("deployments", namespace, target.partition("/")[2])
                found["spec"]["template"]["metadata"]["annotations"] = {"restarted": secrets.token_hex(8)}
                return Told(out=f"deployment.apps/{found['metadata']['name']} restarted\n".encode())
        raise Unfit(f"without an API server nobody here knows `kubectl {' '.join(argv)}`")

    async def find(self, kind: str, namespace: str = "", name: str = "") -> list[Object]:
        return [
            copy.deepcopy(found)
            for (its_kind, its_namespace, its_name), found in self._objects.items()
            if (its_kind, namespace or its_namespace, name or its_name) == (kind, its_namespace, its_name)
        ]

    async def token(self, namespace: str, account: str, audience: str) -> str:
        """The same one each time."""
        return hashlib.sha256(f"{self._salt}/{namespace}/{account}/{audience}".encode()).hexdigest()

    def authority(self) -> str:
        return ""

    async def tokens(self) -> str:
        """All of them, as a file for the static reviewer."""
        accounts = [(namespace, name) for kind, namespace, name in self._objects if kind == "serviceaccounts"]
        entries = [
            {
                "token": await self.token(namespace, name, audience),
                "username": f"system:serviceaccount:{namespace}:{name}",
                "uid": f"uid-of-{name}",
                "groups": ["system:serviceaccounts", f"system:serviceaccounts:{namespace}"],
                "audiences": [audience],
            }
            for namespace, name in accounts
            for audience in AUDIENCES
        ]
        return yaml.safe_dump({"tokens": entries})

    async def _apply(self, rest: Sequence[str], cwd: Path, stdin: bytes) -> Told:
        namespace, told, words = "", "", iter(rest)
        for word in words:
            match word, next(words):
                case "-n", namespace:
                    pass
                case "-k", folder:
                    told += self._keep(await self._client(("kustomize", folder), cwd), namespace)
                case "-f", "-":
                    told += self._keep(stdin, namespace)
                case "-f", file:
                    told += self._keep((cwd / file).read_bytes(), namespace)
        return Told(out=told.encode())

    async def _client(self, argv: Sequence[str], cwd: Path) -> bytes:
        told = await ran(("kubectl", *argv), cwd, self._environ)
        if told.code:
            raise Unfit(told.err.decode())
        return told.out

    def _keep(self, text: bytes, namespace: str) -> str:
        """What kubectl says of it."""
        return "".join(self._kept(document, namespace) for document in yaml.safe_load_all(text) if document)

    def _kept(self, document: Object, namespace: str) -> str:
        kind, meta = str(document["kind"]).lower(), document["metadata"]
        meta.setdefault("namespace", namespace)
        key = (f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s", meta["namespace"], meta["name"])
        before = self._objects.get(key)
        if kind == "namespace":
            meta.setdefault("labels", {})["kubernetes.io/metadata.name"] = meta["name"]
        if kind == "service":
            document["spec"]["clusterIP"] = (
                before["spec"]["clusterIP"] if before else f"10.96.0.{len(self._objects) + 1}"
            )
        self._objects[key] = document
        group = document["apiVersion"].rpartition("/")[0]
        return f"{kind}{f'.{group}' if group else ''}/{meta['name']} {'configured' if before else 'created'}\n"

    def _one(self, kind: str, namespace: str, name: str) -> Object:
        if (kind, namespace, name) not in self._objects:
            raise Unfit(f"there is no {name} in {namespace}")
        return self._objects[kind, namespace, name]


def _at(found: Any, path: str) -> Any:
    """What `jsonpath={.a.b}` means."""
    for key in path.removeprefix("jsonpath={.").removesuffix("}").split("."):
        found = found[key]
    return found
