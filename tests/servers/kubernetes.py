"""A real API server with its etcd, on loopback. Nothing else of a cluster runs: no controller, no node."""

import atexit
import base64
import json
import shutil
import ssl
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import httpx
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from examples.walkthrough.local.control_plane import ISSUER, assets, etcd_flags, flags, server_flags
from examples.walkthrough.local.processes import Unfit
from extproc.adapters.kubernetes import KubernetesReviewer
from tests.certificates import Authority
from tests.e2e.processes import Process, free_port

PATIENCE: Final = 90.0
"""Seconds until the API server is ready: it makes its roles first."""
NAMESPACE: Final = "ai"
STATIC: Final = "good-token-canary"
"""A token of the file, of `system:serviceaccount:ai:default`."""
AUDIT: Final = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "Metadata", "resources": [{"group": "authentication.k8s.io", "resources": ["tokenreviews"]}]},
        {"level": "None"},
    ],
}
"""One line in the audit log for one token review, and none for anything else."""


try:
    ASSETS, MISSING = assets(), ""
except Unfit as missing:
    ASSETS, MISSING = Path(), str(missing)
"""Where its binaries are, and why no real API server can be had."""


def shared() -> "ApiServer":
    """One for the whole run: it takes seconds to start. Raises: RuntimeError, each time if it did not start once."""
    server, trouble = _start()
    if trouble is not None:
        raise RuntimeError(trouble)
    return server


@cache
def _start() -> tuple["ApiServer", str | None]:
    server = ApiServer(Path(tempfile.mkdtemp(prefix="xp-kube-")))
    atexit.register(server.stop)
    try:
        server.start()
    except (RuntimeError, httpx.HTTPError) as error:
        return server, str(error)
    return server, None


class ApiServer:
    """Accounts are those of the namespace `ai`. What it was asked to review is in its audit log."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.authority = Authority(folder)
        self._log = folder / "audit.log"
        self._processes: list[Process] = []
        self._serving, self._signing = self.authority.issue("127.0.0.1"), self.authority.issue("accounts")
        self._admin = httpx.Client(
            base_url=f"https://127.0.0.1:{self.port}",
            headers={"authorization": "Bearer admin-token"},
            verify=ssl.create_default_context(cafile=str(self.authority.file)),
            trust_env=False,
            timeout=20,
        )

    def start(self) -> None:
        """Raises: RuntimeError, httpx.HTTPError."""
        if MISSING:
            raise RuntimeError(MISSING)
        store = f"http://127.0.0.1:{free_port()}"
        peers = f"http://127.0.0.1:{free_port()}"
        self._run("etcd", [str(ASSETS / "etcd"), *flags(etcd_flags(self.folder / "etcd", store, peers))])
        (self.folder / "audit.yaml").write_text(json.dumps(AUDIT))
        (self.folder / "tokens.csv").write_text(
            f'admin-token,admin,admin,"system:masters"\n{STATIC},system:serviceaccount:ai:default,u-1,"g"\n'
        )
        server = self._run("api", [str(ASSETS / "kube-apiserver"), *flags(self._api_flags(store))])
        _wait(server, self._ready)
        self.post("/api/v1/namespaces", metadata={"name": NAMESPACE})
        self.account("reviewer")
        self._delegate("reviewer")

    def stop(self) -> None:
        self._admin.close()
        for process in reversed(self._processes):
            process.stop()
        shutil.rmtree(self.folder)

    def _run(self, name: str, argv: Sequence[str]) -> Process:
        process = Process(argv, self.folder / f"{name}.log")
        self._processes.append(process)
        return process

    def _ready(self) -> bool:
        try:
            return self._admin.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def _api_flags(self, store: str) -> dict[str, object]:
        return {
            **server_flags(self.folder, store, self.port),
            "tls-cert-file": self._serving.cert,
            "tls-private-key-file": self._serving.key,
            "client-ca-file": self.authority.file,
            "service-account-key-file": self._signing.cert,
            "service-account-signing-key-file": self._signing.key,
            "api-audiences": f"{ISSUER},egress,vault",
            "disable-admission-plugins": "ServiceAccount",
            "audit-policy-file": self.folder / "audit.yaml",
            "audit-log-path": self._log,
        }

    def post(self, path: str, **document: Any) -> dict[str, Any]:
        answer = self._admin.post(path, json=document)
        answer.raise_for_status()
        return dict(answer.json())

    def account(self, name: str) -> None:
        self.post(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts", metadata={"name": name})

    def delete(self, name: str) -> None:
        self._admin.delete(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{name}").raise_for_status()

    def token(self, name: str, *audiences: str, pod: str = "") -> str:
        """A token of the account, from a TokenRequest, for an hour; bound to the pod, which it makes."""
        spec: dict[str, Any] = {"audiences": audiences, "expirationSeconds": 3600}
        if pod:
            made = self.post(
                f"/api/v1/namespaces/{NAMESPACE}/pods",
                metadata={"name": pod},
                spec={"serviceAccountName": name, "containers": [{"name": "main", "image": "none"}]},
            )
            spec["boundObjectRef"] = {"kind": "Pod", "apiVersion": "v1", "name": pod, "uid": made["metadata"]["uid"]}
        path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{name}/token"
        return str(self.post(path, spec=spec)["status"]["token"])

    def signed(self, name: str, *audiences: str, lifetime: float) -> str:
        """A token of the account as the API server signs them, that ends so many seconds from now: an ended one, too."""
        account = self._admin.get(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{name}").json()
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "sub": f"system:serviceaccount:{NAMESPACE}:{name}",
            "aud": audiences,
            "iat": now - 3600,
            "nbf": now - 3600,
            "exp": now + int(lifetime),
            "kubernetes.io": {
                "namespace": NAMESPACE,
                "serviceaccount": {"name": name, "uid": account["metadata"]["uid"]},
            },
        }
        return es256(self._signing.key, claims)

    def reviews(self) -> int:
        """How many token reviews it has answered, the refused ones too."""
        return self._log.read_bytes().count(b"\n") if self._log.exists() else 0

    def reviewer(self, folder: Path, account: str = "reviewer", **more: Any) -> KubernetesReviewer:
        """One that believes it runs in a pod of this account."""
        (folder / "token").write_text(self.token(account))
        shutil.copy(self.authority.file, folder / "ca.crt")
        where = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(self.port)}
        return KubernetesReviewer(account=folder, environ=where, **more)

    def kubeconfig(self, folder: Path) -> Path:
        """One with a client certificate of the user `operator`, who may review tokens, in its second context."""
        issued = self.authority.issue("operator")
        return write_kubeconfig(
            folder,
            f"https://127.0.0.1:{self.port}",
            self.authority.file,
            {"client-certificate": str(issued.cert), "client-key-data": _base64(issued.key.read_bytes())},
        )

    def _delegate(self, account: str) -> None:
        self.post(
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
            metadata={"name": "reviewers"},
            roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:auth-delegator"},
            subjects=[
                {"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE},
                {"kind": "User", "name": "operator", "apiGroup": "rbac.authorization.k8s.io"},
            ],
        )


def write_kubeconfig(folder: Path, server: str, authority: Path, user: dict[str, str]) -> Path:
    """A kubeconfig whose context `there` is the right one, and whose current one leads nowhere."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "nowhere",
        "clusters": [
            {"name": "there", "cluster": {"server": server, "certificate-authority": str(authority)}},
            {"name": "nowhere", "cluster": {"server": "https://127.0.0.1:1"}},
        ],
        "users": [{"name": "operator", "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": "operator"}} for name in ("there", "nowhere")],
    }
    path = folder / "kubeconfig.yaml"
    path.write_text(json.dumps(document))
    return path


def es256(key: Path, claims: dict[str, Any]) -> str:
    """A JWT (RFC 7518 section 3.4)."""
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    head, body = (_base64url(json.dumps(part).encode()) for part in ({"alg": "ES256"}, claims))
    numbers = decode_dss_signature(private.sign(f"{head}.{body}".encode(), ec.ECDSA(hashes.SHA256())))
    return f"{head}.{body}.{_base64url(b''.join(number.to_bytes(32, 'big') for number in numbers))}"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _wait(process: Process, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not ready():
        if process.popen.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the API server did not start:\n{process.output[-4000:]}")
        time.sleep(0.1)
