"""What deploy/vault sets up, on a real OpenBao: who may log in, and what a token of that role may do."""

import shutil
from pathlib import Path

import pytest
import requests

from extproc.compose import configure
from tests.certificates import Authority
from tests.deploy.rendered import CONFIG, DEPLOY, overlay, pod_of, run
from tests.deploy.test_gateway import needs_kustomize
from tests.servers import bao
from tests.servers.kubernetes import es256

pytestmark = pytest.mark.skipif(bool(bao.MISSING), reason=bao.MISSING)

CLUSTER = "https://10.0.0.1:6443"


@pytest.fixture
def server(tmp_path: Path) -> bao.Bao:
    """Set up twice: the second time changes nothing."""
    found = bao.shared()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "bao").symlink_to(str(bao.BAO))
    environ = {
        "PATH": f"{tmp_path}/bin:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "VAULT_ADDR": found.address,
        "BAO_ADDR": found.address,
        "VAULT_TOKEN": found.token,
        "BAO_TOKEN": found.token,
        "KUBERNETES_HOST": CLUSTER,
        "KUBERNETES_CA": str(Authority(tmp_path).file),
        "KUBERNETES_REVIEWER": str(tmp_path / "token"),
    }
    (tmp_path / "token").write_text(es256(Authority(tmp_path).issue("accounts").key, {"sub": "vault"}))
    for _ in range(2):
        run([str(shutil.which("sh")), DEPLOY / "vault" / "setup.sh"], env=environ)
    return found


def status(server: bao.Bao, token: str, method: str, path: str, **body: object) -> int:
    session = requests.Session()
    session.trust_env = False
    headers = {"x-vault-token": token}
    return session.request(
        method, f"{server.address}/v1/{path}", headers=headers, json=body or None, timeout=10
    ).status_code


def test_a_gateway_reads_the_keys_of_workloads_and_nothing_else(server: bao.Bao) -> None:
    server.put("egress/ai-workloads/assistant", api_key="sk-1")
    server.put("other/ai-workloads/assistant", api_key="sk-2")
    token = server.call("POST", "auth/token/create", {"policies": ["egress"], "no_default_policy": True})["auth"][
        "client_token"
    ]
    key = "secret/data/egress/ai-workloads/assistant"
    assert status(server, token, "GET", key) == 200
    assert status(server, token, "GET", "sys/internal/ui/mounts/secret") == 200  # so it learns the store's version
    assert status(server, token, "GET", "auth/token/lookup-self") == 200
    assert status(server, token, "POST", "auth/token/renew-self") == 200
    assert status(server, token, "POST", "auth/token/create") == 403
    assert status(server, token, "POST", key, data={"api_key": "mine"}) == 403
    assert status(server, token, "GET", "secret/data/other/ai-workloads/assistant") == 403
    assert status(server, token, "LIST", "secret/metadata/egress") == 403
    assert status(server, token, "DELETE", key) == 403
    assert status(server, token, "GET", "sys/policies/acl/egress") == 403


@needs_kustomize
def test_the_role_is_for_the_gateways_account_and_audience(server: bao.Bao) -> None:
    role = server.call("GET", "auth/kubernetes/role/egress")["data"]
    vault = configure(CONFIG).settings.connections.vault
    assert vault is not None
    assert vault.auth.kubernetes is not None
    assert vault.auth.kubernetes.role == "egress"
    pod = pod_of(overlay("sidecar"))
    (volume,) = (one for one in pod["volumes"] if one["name"] == "vault-token")
    assert role["bound_service_account_names"] == [pod["serviceAccountName"]]
    assert role["bound_service_account_namespaces"] == ["egress"]
    assert role["audience"] == volume["projected"]["sources"][0]["serviceAccountToken"]["audience"]
    assert role["token_policies"] == ["egress"]
    assert role["token_no_default_policy"] is True
    assert server.call("GET", "auth/kubernetes/config")["data"]["kubernetes_host"] == CLUSTER
