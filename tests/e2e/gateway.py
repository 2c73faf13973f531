"""A whole gateway for a test: a configuration, its server as a process of its own, and a real Envoy in front of it."""

import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import httpx
import yaml

from extproc.compose import configure
from extproc.envoy.plan import Plan
from extproc.envoy.resolved import plan_of
from tests.e2e.clients import Answer, http1, http2, request_bytes
from tests.e2e.envoys import envoy
from tests.e2e.processes import Process, Stub, accepts, envoy_live, free_port, short_directory, wait_until

TRANSPORT = os.environ.get("EXTPROC_TRANSPORT", "http2")
"""What carries the messages in all of these tests: `http2`, `envoy`, or `inprocess`."""

COMMANDS = {
    "http2": ("serve",),
    "envoy": ("serve", "--transport", "envoy"),
    "inprocess": ("run", "--mode", "inprocess"),
}

VERSION = "egress.extproc.dev/v1alpha1"
KEY = "sk-canary-of-the-provider"
TOKEN = "token-of-ai-workloads"
STRANGER = "token-of-other-team"

AUTHN: dict[str, Any] = {
    "name": "authn",
    "type": "TokenReview:v1",
    "phase": "request-headers",
    "config": {
        "reviewer": {"static": {"path": "tokens"}},
        "audiences": ["egress"],
        "allow": {"namespaces": ["ai-workloads"]},
    },
}
INJECT: dict[str, Any] = {
    "name": "inject",
    "type": "CredentialInjector:v1",
    "phase": "request-headers",
    "priority": 30,
    "config": {
        "source": "provider-keys",
        "path": "{peer.namespace}/{peer.serviceAccount}",
        "field": "api_key",
        "allowPlaintext": True,
    },
}
PII: dict[str, Any] = {
    "name": "pii",
    "type": "PIIDetector:v1",
    "phase": "request-body",
    "priority": 20,
    "config": {"redactionStyle": "mask"},
}


def quota(requests: int, **limit: Any) -> dict[str, Any]:
    """A sliding window: one that begins with the clock's hour would end within a test that runs across it."""
    limits = [{"name": "few", "requests": requests, "window": "1h", **limit}]
    config = {"store": "memory", "limits": limits}
    return {"name": "quota", "type": "QoSController:v1", "phase": "request-headers", "priority": 10, "config": config}


def tokens() -> str:
    people = {TOKEN: "ai-workloads", STRANGER: "other-team"}
    entries = [
        {
            "token": token,
            "username": f"system:serviceaccount:{namespace}:default",
            "uid": f"uid-{namespace}",
            "groups": ["system:serviceaccounts", f"system:serviceaccounts:{namespace}"],
            "audiences": ["egress"],
        }
        for token, namespace in people.items()
    ]
    return yaml.dump({"tokens": entries})


def policy(*extensions: Mapping[str, Any], **metadata: Any) -> dict[str, Any]:
    """An EgressPolicy for the Gateway."""
    return {
        "apiVersion": VERSION,
        "kind": "EgressPolicy",
        "metadata": {"name": "baseline", "namespace": "egress", **metadata},
        "spec": {"targetRefs": [{"kind": "Gateway", "name": "egress"}], "extensions": list(extensions)},
    }


def backend(
    port: int, *extensions: Mapping[str, Any], name: str = "stub", hostname: str = "localhost", **spec: Any
) -> dict[str, Any]:
    """A Backend at a stub."""
    fqdn = {"hostname": hostname, "port": port, "tls": {"mode": "NONE"}}
    return {
        "apiVersion": VERSION,
        "kind": "Backend",
        "metadata": {"name": name, "namespace": "egress"},
        "spec": {"type": "FQDN", "fqdn": fqdn, "allowInternal": True, "extensions": list(extensions), **spec},
    }


class Gateway:
    """A running gateway, with a client's view of it."""

    def __init__(
        self, plan: Plan, directory: Path, config: Path, environ: Mapping[str, str], transport: str = TRANSPORT
    ) -> None:
        self.plan, self.directory, self.config, self.transport = plan, directory, config, transport
        self.environ = {**os.environ, **environ}
        self.port = plan.listen.port
        self.admin = plan.admin.path or Path()
        self.admin_port: str = next(yaml.safe_load_all(config.read_text()))["admin"]
        if transport == "inprocess":
            (directory / "envoy.log").symlink_to("server.log")
        self.server = self._start()

    def _start(self) -> Process:
        wait_until(lambda: not self._listens())  # what an Envoy that is being killed still does
        argv = (sys.executable, "-m", "extproc", *COMMANDS[self.transport], "--config", str(self.config))
        server = Process(argv, self.directory / "server.log", self.environ)
        try:
            server.wait_until(self._listens)
        except BaseException:
            server.stop(signal.SIGKILL)
            raise
        return server

    def _listens(self) -> bool:
        if self.transport == "inprocess":
            return envoy_live(self.admin)
        return all(accepts(socket.path or socket.port) for socket in self.plan.sockets)

    def signal(self, number: signal.Signals) -> None:
        """Send it to the processes that serve, and not to who keeps them."""
        kept = Path(f"/proc/{self.server.popen.pid}/task/{self.server.popen.pid}/children").read_text().split()
        for pid in map(int, kept or [self.server.popen.pid]):
            os.kill(pid, number)

    def restart(self) -> None:
        """A new server in the place of the one that ended."""
        self.server = self._start()

    def get(self, path: str = "/x", token: str | None = TOKEN, **options: Any) -> Answer:
        return self.send("GET", path, token=token, **options)

    def send(
        self,
        method: str,
        path: str = "/x",
        *,
        token: str | None = TOKEN,
        headers: Sequence[tuple[str, str | bytes]] = (),
        body: bytes = b"",
        host: str | None = "localhost",
    ) -> Answer:
        """One HTTP/1.1 request, its headers as given."""
        bearer = [("authorization", f"Bearer {token}")] if token else []
        return http1(self.port, request_bytes(method, path, [*bearer, *headers], body, host))

    def send2(
        self,
        method: str = "GET",
        path: str = "/x",
        *,
        token: str | None = TOKEN,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes | None = None,
        trailers: Sequence[tuple[str, str]] | None = None,
        host: str = "localhost",
    ) -> Answer:
        """One HTTP/2 request."""
        head = [(":method", method), (":scheme", "http"), (":authority", host), (":path", path)]
        bearer = [("authorization", f"Bearer {token}")] if token else []
        return http2(self.port, [*head, *bearer, *headers], body, trailers)

    def client(self, **options: Any) -> httpx.Client:
        """An ordinary client with the workload's token."""
        headers = {"authorization": f"Bearer {TOKEN}"}
        return httpx.Client(base_url=f"http://localhost:{self.port}", headers=headers, timeout=20, **options)


@contextmanager
def gateway(
    *documents: Mapping[str, Any],
    files: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
    transport: str = TRANSPORT,
    **settings: Any,
) -> Iterator[Gateway]:
    """Run a gateway on these documents; `settings` go into the ExtProcConfiguration."""
    with short_directory() as directory:
        config = write(directory, documents, settings)
        for name, text in {"tokens": tokens(), "secrets/ai-workloads/default/api_key": KEY, **(files or {})}.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_text(text)
        plan = plan_of(configure(config))
        running = Gateway(plan, directory, config, environ or {}, transport)
        try:
            with nullcontext() if transport == "inprocess" else envoy(plan, directory):
                yield running
        finally:
            running.server.stop(signal.SIGKILL if transport == "http2" else signal.SIGINT)


def write(directory: Path, documents: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> Path:
    """The configuration as a file."""
    configuration = {
        "apiVersion": VERSION,
        "kind": "ExtProcConfiguration",
        "gateway": "egress/egress",
        "listen": [{"address": f"unix://{directory}/extproc.sock"}],
        "admin": f"127.0.0.1:{free_port()}",
        "envoy": {"listen": f"127.0.0.1:{free_port()}", "admin": f"unix://{directory}/envoy-admin.sock"},
        "drainSeconds": 0.5,
        "secretSources": {"provider-keys": {"file": {"root": "secrets"}, "backends": ["egress/stub"]}},
        **settings,
    }
    config = directory / "config.yaml"
    config.write_text(yaml.safe_dump_all([configuration, *documents], sort_keys=False))
    return config


def received(stub: Stub, path: str) -> dict[str, list[str]]:
    """The headers of the only request to `path`, each name with its values."""
    (request,) = stub.received(path)
    return {name.lower(): request.values(name) for name, _ in request.headers}
