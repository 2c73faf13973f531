"""Answers the commands of the page that a cluster would answer. What kubectl can do by the API server alone it does; what needs
pods (exec, logs, rollout status) is done with the processes of this machine. In a pod, `curl` and `getent` find what the
cluster's DNS, its Services and its NetworkPolicies lead to.
"""

import asyncio
import json
import sys
import traceback
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from . import names
from .cluster import Told
from .pods import Node, Pod, needed
from .processes import Unfit

Answer = dict[str, Any]
DNS = ("kube-system", "coredns", 53)


class Desk:
    def __init__(self, node: Node) -> None:
        self._node = node

    async def answer(self, request: dict[str, Any]) -> Answer:
        """What is printed, and the exit code; or `run`, a command to be run instead."""
        argv, pod = request["argv"], request["pod"]
        try:
            match request["name"]:
                case "curl":
                    return await self._curl(self._node.pods[_both(pod)], argv)
                case "getent":
                    return await self._getent(self._node.pods[_both(pod)], argv[-1])
                case _:
                    told = await self._kubectl(argv, Path(request["cwd"]), request["stdin"].encode())
        except Unfit as error:
            return _answer(1, err=f"{error}\n")
        return _answer(told.code, told.out.decode("utf-8", "replace"), told.err.decode("utf-8", "replace"))

    async def _kubectl(self, argv: Sequence[str], cwd: Path, stdin: bytes) -> Told:
        match argv:
            case ["exec", *_]:
                at = argv.index("--")
                told = await self._node.run(self._pod(argv[:at]), list(argv[at + 1 :]), stdin)
                note = f"command terminated with exit code {told.code}\n" if told.code else ""
                return Told(told.code, told.out, told.err + note.encode())
            case ["logs", *_]:
                return Told(out=self._logs(_value(argv, "-n"), _value(argv, "-l"), _value(argv, "-c")))
            case ["rollout", "status", *_]:
                namespace, name = _named(argv)
                await self._node.settle(namespace, name)
                return Told(out=f'deployment "{name}" successfully rolled out\n'.encode())
            case _:
                return await self._node.cluster.kubectl(argv, cwd, stdin)

    def _pod(self, argv: Sequence[str]) -> Pod:
        found = self._node.pods.get(_named(argv))
        if found is None:
            raise Unfit(f"there is no pod of {'/'.join(_named(argv))}")
        return found

    def _logs(self, namespace: str, selector: str, container: str) -> bytes:
        key, _, value = selector.partition("=")
        chosen = [
            pod for pod in self._node.pods.values() if pod.namespace == namespace and pod.labels.get(key) == value
        ]
        return b"".join((pod.folder / f"{container}.log").read_bytes() for pod in chosen)

    async def _curl(self, pod: Pod, argv: list[str]) -> Answer:
        """The real one, told where the name leads from this pod."""
        url = urlsplit(next(one for one in argv if one.startswith(("http://", "https://"))))
        asked = (url.hostname or "", url.port or (443 if url.scheme == "https" else 80))
        host, port = asked
        if "--connect-to" in argv:
            at = argv.index("--connect-to")
            _, _, host, number = argv[at + 1].split(":")
            port, argv = int(number), argv[:at] + argv[at + 2 :]
        address = await self._address(pod, host)
        if address is None:
            return _answer(6, err=f"curl: (6) Could not resolve host: {host}\n")
        local = await self._node.network.reached(pod.namespace, pod.labels, address, port)
        if local is None:
            return _answer(28, err="curl: (28) Connection timed out after 3001 milliseconds\n")
        return {"run": [needed("curl"), "--connect-to", f"{asked[0]}:{asked[1]}:127.0.0.1:{local}", *argv]}

    async def _getent(self, pod: Pod, name: str) -> Answer:
        address = await self._address(pod, name)
        return _answer(0, f"{address}  {name}\n") if address else _answer(2)

    async def _address(self, pod: Pod, host: str) -> str | None:
        if host.replace(".", "").isdigit():
            return host
        for name in names.candidates(host, pod.namespace):
            if found := await names.lookup(name, self._node.network.local(*DNS)):
                return found
        return None


@asynccontextmanager
async def open_desk(desk: Desk, folder: Path) -> AsyncIterator[tuple[Path, Path]]:
    """Two folders for a PATH: of whoever has the cluster, and of a pod."""
    shim = Path(__file__).with_name("shim.py").read_text().partition("\n")[2]
    servers = []
    for place, programs in (("outside", ("kubectl",)), ("inside", ("curl", "getent"))):
        (folder / place).mkdir(0o700)
        for name in programs:
            path = folder / place / name
            path.write_text(f"#!{sys.executable} -IS\n{shim}")
            path.chmod(0o700)
        servers.append(await asyncio.start_unix_server(_served(desk), folder / place / "desk.sock", limit=1 << 24))
    try:
        yield folder / "outside", folder / "inside"
    finally:
        for server in servers:
            server.close()


def _served(desk: Desk) -> Any:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answer = await desk.answer(json.loads(await reader.read()))
        except Exception:  # noqa: BLE001 - it is told to whoever gave the command, and fails the step
            answer = _answer(1, err=traceback.format_exc())
        writer.write(json.dumps(answer).encode())
        await writer.drain()
        writer.close()

    return serve


def _answer(code: int, out: str = "", err: str = "") -> Answer:
    return {"code": code, "out": out, "err": err}


def _named(argv: Sequence[str]) -> tuple[str, str]:
    """The namespace and the name of `-n NAMESPACE deploy/NAME`."""
    return _value(argv, "-n"), next((one.partition("/")[2] for one in argv if one.startswith("deploy/")), "")


def _value(argv: Sequence[str], option: str) -> str:
    """Raises: Unfit, if it is not there: the page always says it."""
    if option not in argv:
        raise Unfit(f"here `kubectl {argv[0]}` wants {option}")
    return argv[argv.index(option) + 1]


def _both(pod: str) -> tuple[str, str]:
    namespace, _, name = pod.partition("/")
    return namespace, name
