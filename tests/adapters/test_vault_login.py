"""Logging in to a real OpenBao: each kind, renewal, revocation, and what is said when it does not let us in."""

import asyncio
import base64
import http.server
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from extproc.adapters.vault import VaultSecrets
from extproc.adapters.vault_client import VaultClient
from extproc.adapters.vault_http import VaultServer
from extproc.adapters.vault_login import AppRoleAuth, Auth, JwtAuth, KubernetesAuth, TokenAuth
from extproc.core.secret import unseal
from extproc.errors import ConfigError, Unavailable
from tests.adapters.ticking import Time, until
from tests.certificates import Authority
from tests.servers.bao import MISSING, Bao, shared

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PUBLIC = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def signed(**claims: object) -> str:
    """A JWT, RS256."""

    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    times = {"iat": int(time.time()) - 5, "exp": int(time.time()) + 600}
    head, body = (part(json.dumps(each).encode()) for each in ({"alg": "RS256", "typ": "JWT"}, times | claims))
    return f"{head}.{body}.{part(KEY.sign(f'{head}.{body}'.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


class Reviews(http.server.BaseHTTPRequestHandler):
    """The TokenReview API, which knows one ServiceAccount."""

    def do_POST(self) -> None:
        json.loads(self.rfile.read(int(self.headers["content-length"])))
        user = {"username": "system:serviceaccount:egress:extproc", "uid": "u-1", "groups": []}
        body = json.dumps({"kind": "TokenReview", "status": {"authenticated": True, "user": user}}).encode()
        self.send_response(201)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def api_server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Reviews) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


Make = Callable[[Bao, Path, str], Auth]
ROLE = {"token_policies": ["logins"], "token_ttl": "1h", "token_max_ttl": "24h"}


def enabled(bao: Bao, kind: str) -> None:
    bao.policy("logins", "secret/data/logins/*")
    bao.put("logins/team", key="sk-1")
    if f"{kind}/" not in bao.call("GET", "sys/auth"):
        bao.call("POST", f"sys/auth/{kind}", {"type": kind})


def kubernetes(bao: Bao, folder: Path, api_server: str) -> Auth:
    enabled(bao, "kubernetes")
    host = {"kubernetes_host": api_server, "token_reviewer_jwt": "reviewer", "disable_local_ca_jwt": True}
    authority = Authority(folder).file.read_text()  # has to be there, even for http
    bao.call("POST", "auth/kubernetes/config", host | {"kubernetes_ca_cert": authority})
    account = {"bound_service_account_names": "extproc", "bound_service_account_namespaces": "egress"}
    bao.call("POST", "auth/kubernetes/role/egress", ROLE | account)
    names = {"namespace": "egress", "serviceaccount": {"name": "extproc", "uid": "u-1"}}
    (folder / "token").write_text(signed(**{"sub": "system:serviceaccount:egress:extproc", "kubernetes.io": names}))
    return KubernetesAuth("egress", token_path=folder / "token")


def jwt(bao: Bao, folder: Path, _: str) -> Auth:
    enabled(bao, "jwt")
    bao.call("POST", "auth/jwt/config", {"jwt_validation_pubkeys": [PUBLIC.decode()]})
    bound = {"role_type": "jwt", "user_claim": "sub", "bound_audiences": ["vault"], "bound_subject": "extproc"}
    bao.call("POST", "auth/jwt/role/egress", ROLE | bound)
    (folder / "token").write_text(signed(sub="extproc", aud="vault") + "\n")
    return JwtAuth("egress", token_path=folder / "token")


def approle(bao: Bao, folder: Path, _: str) -> Auth:
    enabled(bao, "approle")
    bao.call("POST", "auth/approle/role/egress", ROLE)
    (folder / "role").write_text(bao.call("GET", "auth/approle/role/egress/role-id")["data"]["role_id"])
    (folder / "secret").write_text(bao.call("POST", "auth/approle/role/egress/secret-id")["data"]["secret_id"])
    return AppRoleAuth(folder / "role", folder / "secret")


def token(bao: Bao, folder: Path, _: str, ttl: str = "1h") -> Auth:
    enabled(bao, "approle")
    made = bao.call("POST", "auth/token/create", {"policies": ["logins"], "ttl": ttl, "explicit_max_ttl": "24h"})
    (folder / "token").write_text(made["auth"]["client_token"] + "\n")
    return TokenAuth(folder / "token")


def variable(bao: Bao, folder: Path, api_server: str) -> Auth:
    token(bao, folder, api_server)
    return TokenAuth(env="VAULT_TOKEN", environ={"VAULT_TOKEN": (folder / "token").read_text()})


KINDS = {"kubernetes": kubernetes, "jwt": jwt, "approle": approle, "token": token, "variable": variable}
every_kind = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
every_login = pytest.mark.parametrize("make", [kubernetes, jwt, approle])


@asynccontextmanager
async def opened(bao: Bao, auth: Auth, clock: Time | None = None) -> AsyncIterator[VaultSecrets]:
    clock = clock or Time()
    client = VaultClient(VaultServer(bao.address, timeout=5.0), auth, clock, clock.sleep)
    store = VaultSecrets(client, "secret", "logins", ["egress/openai"], version=2, now=clock, stale_for=0.0)
    try:
        yield store
    finally:
        await store.close()
        await client.close()


async def value(store: VaultSecrets) -> str:
    secret = await store.read(["team"], "key")
    assert secret is not None
    return unseal(secret).decode()


@every_kind
async def test_each_kind_reads(make: Make, tmp_path: Path, api_server: str) -> None:
    auth = make(shared(), tmp_path, api_server)
    async with opened(shared(), auth) as store:
        assert await store.probe() is None
        assert await value(store) == "sk-1"
        assert store._client.calls["login", True] == 1


@every_login
async def test_a_token_of_ours_is_renewed_at_two_thirds_and_given_back_at_the_end(
    make: Make, tmp_path: Path, api_server: str
) -> None:
    bao, clock = shared(), Time()
    auth = make(bao, tmp_path, api_server)
    before = bao.asked()
    async with opened(bao, auth, clock) as store:
        assert await value(store) == "sk-1"
        calls = store._client.calls
        for times in (1, 2, 3):
            await until(lambda times=times: len(clock.pauses) == times)
            assert clock.pauses[-1] == 2400
            clock.advance(2399.9)
            assert calls["renew", True] == times - 1
            clock.advance(0.1)
            await until(lambda times=times: calls["renew", True] == times)
        held = store._client._grant
        assert held is not None
        accessor = held.client.adapter.token
    asked = bao.asked() - before
    assert asked["auth/token/renew-self"] == 3
    assert sum(count for path, count in asked.items() if path.endswith("/login")) == 1
    assert asked["auth/token/revoke-self"] == 1
    with pytest.raises(AssertionError, match="403"):
        bao.call("GET", "auth/token/lookup-self", token=accessor)


async def test_a_token_on_its_last_day_is_replaced_by_a_login(tmp_path: Path) -> None:
    bao, clock = shared(), Time()
    auth = approle(bao, tmp_path, "")
    bao.call("POST", "auth/approle/role/egress", ROLE | {"token_ttl": "1h", "token_max_ttl": "1h"})
    async with opened(bao, auth, clock) as store:
        assert await value(store) == "sk-1"
        await until(lambda: len(clock.pauses) == 1)
        bao.call("POST", "auth/approle/role/egress", ROLE | {"token_ttl": "10m", "token_max_ttl": "10m"})
        clock.advance(2400)
        calls = store._client.calls
        await until(lambda: calls["renew", True] == 1 and len(clock.pauses) == 2)
        assert calls["login", True] == 2


async def test_what_cannot_be_renewed_is_replaced_by_a_login_in_time(tmp_path: Path) -> None:
    bao, clock = shared(), Time()
    auth = approle(bao, tmp_path, "")
    bao.call("POST", "auth/approle/role/egress", ROLE | {"token_type": "batch"})
    try:
        async with opened(bao, auth, clock) as store:
            assert await value(store) == "sk-1"
            await until(lambda: len(clock.pauses) == 1)
            clock.advance(2400)
            await until(lambda: store._client.calls["login", True] == 2)
            assert store._client.calls["renew", True] == 0
    finally:
        bao.call("POST", "auth/approle/role/egress", ROLE | {"token_type": "service"})


async def test_an_expired_token_is_replaced_by_whoever_needs_it(tmp_path: Path) -> None:
    bao, clock = shared(), Time()
    async with opened(bao, approle(bao, tmp_path, ""), clock) as store:
        await value(store)
        clock.seconds += 3600  # the keeper sleeps on, as after a suspension
        assert await value(store) == "sk-1"
        assert store._client.calls["login", True] == 2


@every_login
async def test_a_revoked_token_costs_one_login_and_nobody_an_exchange(
    make: Make, tmp_path: Path, api_server: str
) -> None:
    bao, clock = shared(), Time()
    async with opened(bao, make(bao, tmp_path, api_server), clock) as store:
        await value(store)
        grant = store._client._grant
        assert grant is not None
        bao.call("POST", "auth/token/revoke", {"token": grant.client.adapter.token})
        clock.advance(60)
        assert await value(store) == "sk-1"
        assert store._client.calls["login", True] == 2
        assert store._client.calls["lookup", True] == 1


async def test_the_files_are_read_at_each_login(tmp_path: Path) -> None:
    """Projected tokens are replaced in place."""
    bao, clock = shared(), Time()
    async with opened(bao, jwt(bao, tmp_path, ""), clock) as store:
        await value(store)
        (tmp_path / "token").write_text("not.a.token")
        clock.seconds += 3600
        with pytest.raises(Unavailable, match="refuses the gateway's login"):
            await value(store)
        (tmp_path / "token").write_text(signed(sub="extproc", aud="vault"))
        clock.seconds += 1
        assert await value(store) == "sk-1"


async def test_a_denied_path_is_the_operators_mistake_and_not_asked_again_for_ten_seconds(tmp_path: Path) -> None:
    bao, clock = shared(), Time()
    async with opened(bao, approle(bao, tmp_path, ""), clock) as store:
        store._prefix = ("of-others",)
        before = bao.asked()
        for _ in range(50):
            with pytest.raises(Unavailable, match="policies of the gateway's role do not grant it"):
                await store.read(["team"], "key")
        asked = bao.asked() - before
        assert asked["secret/data/of-others/team"] == 1
        assert asked["auth/approle/login"] == 1
        clock.advance(10)
        with pytest.raises(Unavailable):
            await store.read(["team"], "key")
        assert (bao.asked() - before)["auth/approle/login"] == 1


async def test_a_token_that_may_not_ask_for_itself_makes_no_login_for_each_denial(tmp_path: Path) -> None:
    bao, clock = shared(), Time()
    auth = approle(bao, tmp_path, "")
    bao.call("POST", "auth/approle/role/egress", ROLE | {"token_no_default_policy": True})
    try:
        async with opened(bao, auth, clock) as store:
            store._prefix = ("of-others",)
            for number in range(20):
                with pytest.raises(Unavailable, match="denies"):
                    await store.read([f"team-{number}"], "key")
            assert store._client.calls["login", True] == 2
    finally:
        bao.call("POST", "auth/approle/role/egress", ROLE | {"token_no_default_policy": False})


async def test_a_refused_login_is_not_tried_by_each_exchange(tmp_path: Path) -> None:
    bao, clock = shared(), Time()
    auth = approle(bao, tmp_path, "")
    (tmp_path / "secret").write_text("00000000-canary")
    async with opened(bao, auth, clock) as store:
        for _ in range(30):
            with pytest.raises(Unavailable, match="login") as caught:
                await store.read(["team"], "key")
            assert "canary" not in str(caught.value)
            clock.advance(0.1)
        assert 2 <= store._client.calls["login", True] <= 4
        assert "login" in (await store.probe() or "")


@pytest.mark.parametrize(
    ("written", "said"),
    [(None, "No such file"), ("", "is not one word"), ("two words", "is not one word"), ("k\u00e4", "is not one word")],
)
async def test_a_file_without_a_token_is_said_with_its_name(tmp_path: Path, written: str | None, said: str) -> None:
    if written is not None:
        (tmp_path / "token").write_text(written)
    async with opened(shared(), JwtAuth("egress", token_path=tmp_path / "token")) as store:
        with pytest.raises(Unavailable, match=said) as caught:
            await store.read(["team"], "key")
        assert str(tmp_path) in str(caught.value)


async def test_a_variable_that_is_not_set() -> None:
    async with opened(shared(), TokenAuth(env="NOWHERE", environ={})) as store:
        with pytest.raises(Unavailable, match="NOWHERE"):
            await store.read(["team"], "key")


def test_nothing_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VAULT_TOKEN", "VAULT_ADDR", "VAULT_NAMESPACE", "HTTP_PROXY", "REQUESTS_CA_BUNDLE"):
        monkeypatch.setenv(name, "http://192.0.2.1:1")
    server = VaultServer("http://127.0.0.1:8200")
    session = server.session()
    adapter = server.client(session).adapter
    assert (adapter.base_uri, adapter.token, adapter.namespace) == ("http://127.0.0.1:8200", "", None)
    assert not session.trust_env


@pytest.mark.parametrize(
    "address",
    [
        "", "vault:8200", "ftp://vault", "https://", "https://user:pw@vault:8200", "https://vault/v1", "https://vault:port",
        "https://vault?x=y", "https://vault#x", "https://va ult", "https://vault\n", "http://vault.vault.svc:8200",
    ],
)  # fmt: skip
def test_an_address_that_is_none_or_not_safe_is_refused(address: str) -> None:
    with pytest.raises(ConfigError) as caught:
        VaultServer(address)
    assert caught.value.place.field == "connections.vault.address"
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:8200", "http://localhost:8200/", "http://[::1]:8200", "https://v:1"]
)
def test_addresses_that_are_safe(address: str) -> None:
    assert VaultServer(address).address == address
    assert VaultServer("http://vault.vault.svc:8200", allow_plaintext=True).namespace is None


@pytest.mark.parametrize("name", ["ca.pem", "x" * 300])
def test_certificates_that_are_not_there_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="is not a file"):
        VaultServer("https://vault", ca=tmp_path / name)
    with pytest.raises(ConfigError, match="together"):
        VaultServer("https://vault", cert=tmp_path / "cert.pem")


async def test_a_revoked_token_is_replaced_once_for_all_who_found_out(tmp_path: Path) -> None:
    bao, clock = shared(), Time()
    async with opened(bao, approle(bao, tmp_path, ""), clock) as store:
        assert await store.probe() is None
        grant = store._client._grant
        assert grant is not None
        bao.call("POST", "auth/token/revoke", {"token": grant.client.adapter.token})
        found = await asyncio.gather(*(store.read([f"team-{number}"], "key") for number in range(40)))
        assert found == [None] * 40
        assert store._client.calls["login", True] == 2
        assert store._client.calls["lookup", True] == 1
