"""The proxies as Istio and Envoy Gateway configure them from the manifests, running: a real Envoy, extproc on deploy/'s own
configuration (but for where tokens, keys and counters are), and a stub for the provider.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from extproc.envoy.binary import command, find_envoy
from tests.deploy.proxies import envoy_gateways, ext_proc_of, istios
from tests.deploy.rendered import CONFIG, parsed
from tests.e2e.gateway import KEY, STRANGER, TOKEN, tokens
from tests.e2e.processes import Process, Stub, accepts, free_port, short_directory

pytestmark = pytest.mark.e2e

SOCKET = "/run/egress/extproc/extproc.sock"
ASKED = {"model": "echo", "messages": [{"role": "user", "content": "Tell jane@example.com."}]}
OPENAI = {"host": "api.openai.com"}
WHERE_FROM = {"x-forwarded-for": "192.0.2.1", "x-real-ip": "192.0.2.1", "via": "1.1 inside.example"}


@pytest.fixture(scope="module")
def stub() -> Iterator[Stub]:
    found = Stub()
    yield found
    found.stop()


def write_configuration(folder: Path) -> None:
    """That of deploy/, with nothing of a cluster."""
    (settings,) = parsed((CONFIG / "gateway.yaml").read_text())
    (policy,) = parsed((CONFIG / "policy.yaml").read_text())
    authn, quota = policy["spec"]["extensions"]
    authn["config"]["reviewer"] = {"static": {"path": "tokens"}}
    del quota["config"]["fallback"]
    source = {"file": {"root": "secrets"}, "backends": ["egress/openai"]}
    own = {
        "drainSeconds": 0,
        "admin": f"127.0.0.1:{free_port()}",
        "listen": [{"address": f"unix://{folder}/extproc.sock"}],
    }
    settings = {**settings, **own, "connections": {}, "secretSources": {"provider-keys": source}}
    config, secrets = folder / "config", folder / "config" / "secrets" / "ai-workloads" / "default"
    secrets.mkdir(parents=True)
    (secrets / "api_key").write_text(KEY)
    (config / "tokens").write_text(tokens())
    (config / "gateway.yaml").write_text(yaml.safe_dump(settings))
    (config / "policy.yaml").write_text(yaml.safe_dump(policy))
    (config / "backends.yaml").write_text((CONFIG / "backends.yaml").read_text())


def moved(config: dict[str, Any], folder: Path, port: int, stub: Stub) -> str:
    """The proxy's configuration with addresses of this machine, and the provider without TLS."""
    resources = config["static_resources"]
    listener = resources["listeners"][-1]
    listener["address"] = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    named = {one["name"]: one for one in resources["clusters"]}
    cluster = next(name for name in named if "openai" in name)
    where = {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": stub.port}}}}
    named[cluster] = {
        "name": cluster,
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": cluster, "endpoints": [{"lb_endpoints": [where]}]},
    }
    static = {"listeners": [listener], "clusters": list(named.values())}
    return json.dumps({"static_resources": static}).replace(SOCKET, f"{folder}/extproc.sock")


@contextmanager
def running(config: dict[str, Any], stub: Stub) -> Iterator[httpx.Client]:
    """A client of the proxy."""
    port = free_port()
    with short_directory() as folder:
        write_configuration(folder)
        (folder / "envoy.json").write_text(moved(config, folder, port, stub))
        server = Process(
            [sys.executable, "-m", "extproc", "serve", "--config", f"{folder}/config"], folder / "server.log"
        )
        envoy = Process(command(find_envoy(os.environ), folder / "envoy.json", concurrency=1), folder / "envoy.log")
        try:
            server.wait_until(lambda: accepts(folder / "extproc.sock"))
            envoy.wait_until(lambda: accepts(port))
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=OPENAI, trust_env=False) as client:
                yield client
        finally:
            envoy.stop()
            server.stop()


def ask(client: httpx.Client, token: str = "", path: str = "/v1/chat/completions") -> httpx.Response:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return client.post(path, json=ASKED, headers={**WHERE_FROM, **headers})


def judge(client: httpx.Client, stub: Stub, path: str) -> None:
    """What the walk-through shows: who may, what leaves, and what comes back."""
    assert ask(client).status_code == 401
    assert ask(client, STRANGER).status_code == 403
    nowhere = client.get("/", headers={"host": "api.elsewhere.com"})
    assert (nowhere.status_code, nowhere.json()["error"]["code"]) == (403, "no_backend")
    assert ask(client, "/../" + TOKEN).status_code == 401
    answer = ask(client, TOKEN, path)
    assert answer.status_code == 200, answer.text
    (received,) = stub.received(path)
    assert dict(received.headers)["authorization"] == f"Bearer {KEY}"
    assert not [name for name, _ in received.headers if name.startswith(("x-forwarded", "x-real-ip", "via"))]
    assert b"jane@example.com" not in received.body
    assert "[EMAIL_ADDRESS_1]" in received.body.decode()
    assert "jane@example.com" in answer.text


def test_istios(stub: Stub) -> None:
    with running(istios(), stub) as client:
        judge(client, stub, "/v1/chat/completions?of=istio")


def test_envoy_gateways(stub: Stub) -> None:
    with running(envoy_gateways(), stub) as client:
        path = "/v1/chat/completions?of=envoy-gateway"
        judge(client, stub, path)
        (received,) = stub.received(path)
        assert not [name for name, _ in received.headers if name.startswith("x-envoy")]


def test_without_its_patches_envoy_gateway_gets_no_credential(stub: Stub) -> None:
    config = envoy_gateways()
    ext_proc_of(config)["requestAttributes"] = ["xds.route_name", "source.address"]
    with running(config, stub) as client:
        answer = ask(client, TOKEN)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "backend_mismatch")
