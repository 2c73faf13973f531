"""Vault that is down, sealed, slow, hostile or not Vault: what is said, how long it takes, how often it is asked, and that
nothing of a secret or a token is in any text.
"""

import asyncio
import http.server
import json
import logging
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from extproc.adapters.breaker import State
from extproc.adapters.vault import VaultSecrets
from extproc.adapters.vault_client import VaultClient
from extproc.adapters.vault_http import MOST_BYTES, SLOW, VaultServer, attempt
from extproc.adapters.vault_login import AppRoleAuth, Auth, JwtAuth, TokenAuth
from extproc.errors import Unavailable
from tests.adapters.test_vault import Place, place, shown
from tests.adapters.ticking import Time, until
from tests.certificates import Authority, server_context
from tests.e2e.processes import free_port
from tests.servers.bao import MISSING, Bao, shared

real = pytest.mark.skipif(bool(MISSING), reason=MISSING)

TOKEN, SECRET, JWT = "hvs.canary-token", "sk-canary-value", "canary.workload.jwt"
SHORT = 0.3
"""Seconds: the timeout of these clients."""

Handle = Callable[[http.server.BaseHTTPRequestHandler], None]


class Scripted(http.server.ThreadingHTTPServer):
    """Answers as the test says. `paths` are all that were asked for."""

    daemon_threads = True

    def __init__(self, handle: Handle) -> None:
        self.paths: list[str] = []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def respond(self) -> None:
                server.paths.append(self.path)
                self.rfile.read(int(self.headers.get("content-length", 0)))
                handle(self)

            do_GET = do_POST = do_PUT = respond  # noqa: N815 - the library's names

            def log_message(self, *arguments: object) -> None:
                """Nothing."""

        super().__init__(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is what is tested."""


@contextmanager
def scripted(handle: Handle, context: ssl.SSLContext | None = None) -> Iterator[Scripted]:
    with Scripted(handle) as server:
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
            server.address = server.address.replace("http:", "https:")
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


def answer(status: int, body: bytes, **headers: str) -> Handle:
    def handle(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        given = {"content-type": "application/json", "content-length": str(len(body))}
        for name, value in (given | {name.replace("_", "-"): value for name, value in headers.items()}).items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)

    return handle


def drop_by_drop(request: http.server.BaseHTTPRequestHandler) -> None:
    """Each byte comes in time; their number is what never ends."""
    request.send_response(200)
    request.send_header("content-length", "1000000")
    request.end_headers()
    for _ in range(200):
        request.wfile.write(b"x")
        request.wfile.flush()
        time.sleep(SHORT / 10)


def cut_off(request: http.server.BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n" + SECRET.encode())
    request.close_connection = True


def not_http(request: http.server.BaseHTTPRequestHandler) -> None:
    request.wfile.write(f"220 {TOKEN} {SECRET}\r\n".encode())
    request.close_connection = True


ECHO = json.dumps({"errors": [f"{TOKEN} {SECRET} {JWT}"], "data": {"data": SECRET}, "auth": TOKEN}).encode()
"""What a talkative or hostile server says, in the hope that it ends in a log."""

LONG = json.dumps(
    {"auth": {"client_token": TOKEN}, "data": {"data": {"key": SECRET}}, "warnings": "x" * MOST_BYTES}
).encode()

ANSWERS: dict[str, tuple[Handle, str]] = {
    "sealed": (answer(503, ECHO), "is sealed, or not active"),
    "busy": (answer(429, ECHO), "refuses more requests"),
    "broken": (answer(500, ECHO), "error of its own"),
    "bad gateway": (answer(502, ECHO), "error of its own"),
    "gateway timeout": (answer(504, ECHO), "not one that Vault gives"),
    "not initialised": (answer(501, ECHO), "not initialised"),
    "redirect": (answer(307, b"", location="http://127.0.0.1:1/"), "not one that Vault gives"),
    "text": (answer(200, f"hello {TOKEN} {SECRET}".encode()), "not one that Vault gives"),
    "a list": (answer(200, json.dumps([TOKEN, SECRET]).encode()), "not one that Vault gives"),
    "other shape": (answer(200, ECHO), "not one that Vault gives"),
    "empty": (answer(204, b""), "not one that Vault gives"),
    "bad encoding": (answer(200, b"\xff" * 40, content_encoding="gzip"), "Vault"),
    "errors of a strange kind": (
        answer(500, json.dumps({"errors": [{"x": SECRET}]}).encode()),
        "not one that Vault gives",
    ),
    "drop by drop": (drop_by_drop, "does not answer in time"),
    "cut off": (cut_off, "breaks them off"),
    "no http": (not_http, "breaks them off"),
}
every_answer = pytest.mark.parametrize(("handle", "said"), ANSWERS.values(), ids=ANSWERS)


@contextmanager
def noticed(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """Everything that is said while this runs, at the lowest level: logs, and what the loop is told of."""
    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(repr(context)))
    with caplog.at_level(logging.DEBUG):
        yield told
    told += [f"{record.getMessage()} {record.exc_info} {record.args}" for record in caplog.records]


def everything(error: BaseException) -> str:
    """The error with what led to it, each frame with its variables; but for those of the tests, which know everything."""
    chain, found = "", [error]
    for each in found:
        found += [more for more in (each.__cause__, each.__context__) if more is not None and more not in found]
        whole = traceback.TracebackException.from_exception(each, capture_locals=True)
        whole.stack = traceback.StackSummary.from_list(f for f in whole.stack if "/tests/" not in f.filename)
        assert whole.stack
        chain += "".join(whole.format()) + repr(each) + str(vars(each))
    return chain


def store_of(address: str, auth: Auth, clock: Time, **more: Any) -> VaultSecrets:
    client = VaultClient(VaultServer(address, timeout=SHORT, **more), auth, clock, clock.sleep)
    return VaultSecrets(client, "secret", "egress", [], version=2, now=clock)


async def end(store: VaultSecrets) -> None:
    await store.close()
    await store._client.close()


@every_answer
@pytest.mark.parametrize("stage", ["login", "read"])
async def test_each_wrong_answer_is_one_sentence_in_time(
    handle: Handle, said: str, stage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "jwt").write_text(JWT)
    login = answer(200, json.dumps({"auth": {"client_token": TOKEN, "lease_duration": 0, "renewable": False}}).encode())

    def respond(request: http.server.BaseHTTPRequestHandler) -> None:
        (login if stage == "read" and request.path.endswith("/login") else handle)(request)

    clock = Time()
    with scripted(respond) as server, noticed(caplog) as told:
        store = store_of(server.address, JwtAuth("egress", token_path=tmp_path / "jwt"), clock)
        for _ in range(8):
            start = time.monotonic()
            with pytest.raises(Unavailable) as caught:
                await store.read(["team"], "key")
            assert time.monotonic() - start < 3 * SHORT + 0.3
            told += [everything(caught.value), f"{store!r} {store._client!r} {store._cache} {store._client.calls}"]
        assert "not asked again so soon" in str(caught.value)
        assert said in told[0]
        told += [await store.probe() or ""]
        assert len(server.paths) <= 8
        await end(store)
    assert "canary" not in "".join(told)


@pytest.mark.parametrize("body", [LONG, b'{"auth":' + b"[" * 5000 + b"]" * 5000 + b"}"])
async def test_an_answer_to_a_login_that_is_not_read(
    body: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "jwt").write_text(JWT)
    with scripted(answer(200, body)) as server, noticed(caplog) as told:
        store = store_of(server.address, JwtAuth("egress", token_path=tmp_path / "jwt"), Time())
        for _ in range(5):
            with pytest.raises(Unavailable, match="longer than 1 MiB, or nested too deeply") as caught:
                await store.read(["team"], "key")
            told += [everything(caught.value)]
        assert store._client.breaker.state is State.OPEN
        await end(store)
    assert "canary" not in "".join(told)


@real
async def test_a_secret_that_is_not_read_is_in_the_way_of_no_other(tmp_path: Path) -> None:
    """Who may write one path, as teams do, cannot have Vault left alone for everybody. It writes each `<` as six bytes."""
    bao = Bao(tmp_path, "inmem")
    hostile = {"deep": "[" * 2000 + "]" * 2000, "long": f'"{"<" * 200_000}"'}
    try:
        async with place(bao, version=2) as it:
            it.put("other", key="sk-1")
            for name, value in hostile.items():
                url, body = f"{bao.address}/v1/secret/data/{it.prefix}/{name}", f'{{"data":{{"key":{value}}}}}'
                headers = {"x-vault-token": bao.token}
                (await asyncio.to_thread(requests.post, url, body, headers=headers, timeout=10)).raise_for_status()
            for name in [*hostile] * 3:
                with pytest.raises(Unavailable, match=f"{name}/key: the answer is longer than 1 MiB, or nested too"):
                    await it.read(name)
                it.clock.advance(10)
            assert it.client.breaker.failures == 0
            assert await it.read("other") == "sk-1"
    finally:
        bao.stop()


@pytest.mark.parametrize("status", [400, 403, 404])
async def test_a_denial_of_a_talkative_server_is_one_sentence(
    status: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "token").write_text(TOKEN)
    with scripted(answer(status, ECHO)) as server, noticed(caplog) as told:
        store = store_of(server.address, TokenAuth(tmp_path / "token"), Time())
        with pytest.raises(Unavailable, match="refuses the gateway's login") as caught:
            await store.read(["team"], "key")
        told += [everything(caught.value), repr(store._client._auth)]
        await end(store)
    assert "canary" not in "".join(told)


async def test_a_token_that_cannot_be_read_says_nothing_about_vault(tmp_path: Path) -> None:
    """It neither closes an open breaker nor opens a closed one."""
    clock, path = Time(), tmp_path / "token"
    store = store_of(f"http://127.0.0.1:{free_port()}", TokenAuth(path), clock)
    path.write_text(TOKEN)
    for _ in range(5):
        with pytest.raises(Unavailable, match="refuses connections"):
            await store.read(["team"], "key")
    path.unlink()
    clock.advance(1)
    with pytest.raises(Unavailable, match="cannot be read"):
        await store.read(["team"], "key")
    assert store._client.breaker.state is State.HALF_OPEN
    await end(store)


async def test_a_token_is_never_taken_to_where_a_redirect_points() -> None:
    with scripted(answer(200, b"{}")) as other, scripted(answer(307, b"", location=other.address)) as server:
        store = store_of(server.address, TokenAuth(env="T", environ={"T": TOKEN}), Time())
        with pytest.raises(Unavailable):
            await store.read(["team"], "key")
        await end(store)
        assert not other.paths


def test_a_thread_is_not_held_by_an_answer_that_comes_drop_by_drop() -> None:
    server = VaultServer("http://127.0.0.1:1", timeout=SHORT)
    with scripted(drop_by_drop) as slow:
        client = replace(server, address=slow.address).client(server.session())
        start = time.monotonic()
        assert attempt(lambda: client.adapter.get("/v1/x")) is SLOW
        assert time.monotonic() - start < 2 * SHORT + 0.3


async def test_refused_connections() -> None:
    store = store_of(f"http://127.0.0.1:{free_port()}", TokenAuth(env="T", environ={"T": TOKEN}), Time())
    with pytest.raises(Unavailable, match="refuses connections"):
        await store.read(["team"], "key")
    assert "refuses connections" in (await store.probe() or "")
    await end(store)


async def test_what_accepts_and_never_answers_costs_its_timeout_a_few_times_and_then_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        clock = Time()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        store = store_of(address, TokenAuth(env="T", environ={"T": TOKEN}), clock)
        start = time.monotonic()
        for _ in range(5):
            with pytest.raises(Unavailable, match="in time"):
                await store.read(["team"], "key")
        assert 4 * SHORT < time.monotonic() - start < 5 * SHORT + 1
        assert store._client.breaker.state is State.OPEN
        start = time.monotonic()
        for _ in range(1000):
            with pytest.raises(Unavailable, match="so soon"):
                await store.read(["team"], "key")
        assert time.monotonic() - start < 2
        assert store._client.calls["login", False] == 5
        await end(store)


async def test_an_authority_that_is_not_trusted_and_one_that_is(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    trusted, other = Authority(tmp_path), Authority(tmp_path / "other", "other authority")
    body = json.dumps({"data": {"ttl": 0, "data": {"key": "sk-1"}}}).encode()
    auth, clock = TokenAuth(env="T", environ={"T": TOKEN}), Time()
    with scripted(answer(200, body), server_context(trusted.issue("127.0.0.1"))) as server:
        for ca in (other.file, None):
            store = store_of(server.address, auth, clock, ca=ca)
            with pytest.raises(
                Unavailable, match=r"no trusted TLS connection.*: unable to get local issuer certificate"
            ):
                await store.read(["team"], "key")
            await end(store)
        store = store_of(server.address, auth, clock, ca=trusted.file)
        assert shown(await store.read(["team"], "key")) == "sk-1"
        await end(store)
    with scripted(answer(200, body), server_context(trusted.issue("vault.example"))) as server:
        store = store_of(server.address, auth, clock, ca=trusted.file)
        with pytest.raises(Unavailable, match=r"no trusted TLS connection.*: IP address mismatch"):
            await store.read(["team"], "key")
        await end(store)


async def test_a_server_that_wants_a_certificate_of_ours(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    body = json.dumps({"data": {"ttl": 0, "data": {"key": "sk-1"}}}).encode()
    auth, ours = TokenAuth(env="T", environ={"T": TOKEN}), authority.issue("gateway")
    context = server_context(authority.issue("127.0.0.1"), authority.file)
    with scripted(answer(200, body), context) as server:
        store = store_of(server.address, auth, Time(), ca=authority.file, cert=ours.cert, key=ours.key)
        assert shown(await store.read(["team"], "key")) == "sk-1"
        await end(store)


@real
async def test_sealed_and_opened_again(tmp_path: Path) -> None:
    bao = Bao(tmp_path, "inmem")
    try:
        async with place(bao, stale_for=100.0) as it:
            it.put("team", key="sk-1")
            assert await it.read("team") == "sk-1"
            bao.seal()
            assert "sealed" in (await it.client.probe() or "")
            it.clock.advance(61)
            assert await it.read("team") == "sk-1"  # the last good one
            with pytest.raises(Unavailable, match="sealed"):
                await it.read("other")
            it.clock.advance(98)
            assert await it.read("team") == "sk-1"
            it.clock.advance(1)
            with pytest.raises(Unavailable, match="sealed"):
                await it.read("team")
            bao.open()
            it.put("team", key="sk-2")
            assert await it.client.probe() is None
            it.clock.advance(1)
            await it.becomes("sk-2", "team")
    finally:
        bao.stop()


@real
async def test_killed_restarted_and_rotated_meanwhile(tmp_path: Path) -> None:
    bao = Bao(tmp_path, "raft")
    try:
        async with place(bao, stale_for=300.0) as it:
            it.put("team", key="sk-1")
            assert await it.read("team") == "sk-1"
            bao.stop()
            it.clock.advance(61)
            for _ in range(20):
                assert await it.read("team") == "sk-1"
                it.clock.advance(0.5)
            assert it.client.calls["read", False] <= 11
            bao.start()
            bao.open()
            it.put("team", key="sk-2")
            it.clock.advance(2)
            await it.becomes("sk-2", "team")
            assert it.client.breaker.state is State.CLOSED
    finally:
        bao.stop()


@real
async def test_a_last_good_value_is_served_in_a_tenth_of_a_second_while_vault_hangs(tmp_path: Path) -> None:
    bao = Bao(tmp_path, "inmem")
    try:
        async with place(bao, stale_for=300.0) as it:
            it.put("team", key="sk-1")
            assert await it.read("team") == "sk-1"
            bao.pause()
            it.clock.advance(61)
            start = time.monotonic()
            found = await asyncio.gather(*(it.read("team") for _ in range(200)))
            assert found == ["sk-1"] * 200
            assert time.monotonic() - start < 1.5  # its own timeout is 5
            bao.go_on()
            await until(lambda: not it.store._flights)
            it.put("team", key="sk-2")
            it.clock.advance(61)
            await it.becomes("sk-2", "team")
    finally:
        bao.go_on()
        bao.stop()


@real
async def test_a_value_whose_access_was_withdrawn_is_not_served_as_a_last_good_one(tmp_path: Path) -> None:
    bao = shared()
    bao.policy("withdrawn", "secret/data/*")
    made = bao.call("POST", "auth/token/create", {"policies": ["withdrawn"], "ttl": "1h"})
    auth = TokenAuth(env="T", environ={"T": made["auth"]["client_token"]})
    async with place(bao, auth=auth, version=2) as it:
        it.put("team", key="sk-1")
        assert await it.read("team") == "sk-1"
        bao.policy("withdrawn", "secret/data/nothing")
        it.clock.advance(60)
        with pytest.raises(Unavailable, match="denies"):
            await it.read("team")


@real
async def test_a_revoked_token_that_nobody_replaces_ends_what_it_gave(tmp_path: Path) -> None:
    bao = shared()
    made = bao.call("POST", "auth/token/create", {"ttl": "1h"})
    auth = TokenAuth(env="T", environ={"T": made["auth"]["client_token"]})
    async with place(bao, auth=auth, version=2) as it:
        it.put("team", key="sk-1")
        assert await it.read("team") == "sk-1"
        bao.call("POST", "auth/token/revoke", {"token": made["auth"]["client_token"]})
        it.clock.advance(60)
        with pytest.raises(Unavailable, match="refuses the gateway's login"):
            await it.read("team")


@real
async def test_nothing_of_a_working_run_shows_a_secret_or_a_token(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bao = shared()
    made = bao.call("POST", "auth/token/create", {"ttl": "1h"})["auth"]["client_token"]
    (tmp_path / "token").write_text(made)
    it = Place(bao, TokenAuth(tmp_path / "token"))
    it.put("team", key=SECRET, wrong=f"{SECRET}\n\nx")
    with noticed(caplog) as told:
        assert await it.read("team") == SECRET
        with pytest.raises(Unavailable) as caught:
            await it.read("team", field="wrong")
        secret = await it.store.read(["team"], "key")
        told += [everything(caught.value), repr(it.store), repr(it.client), repr(it.store._cache), repr(secret)]
        told += [repr(it.client._grant), repr(it.client._auth), repr(vars(it.store)), repr(vars(it.client))]
        await it.store.close()
        await it.client.close()
    whole = "".join(told)
    assert f"{it.prefix}/team" in whole  # the libraries' own logs are among it
    assert "canary" not in whole
    assert made not in whole


def local_role(bao: Bao, folder: Path) -> AppRoleAuth:
    """A role that wants no secret id from this machine."""
    bao.call("POST", "sys/auth/approle", {"type": "approle"})
    bound = {"bind_secret_id": False, "token_bound_cidrs": "127.0.0.0/8"}
    bao.call("POST", "auth/approle/role/r", bound | {"token_ttl": "1h", "token_max_ttl": "24h"})
    (folder / "role").write_text(bao.call("GET", "auth/approle/role/r/role-id")["data"]["role_id"])
    return AppRoleAuth(folder / "role")


@real
async def test_a_renewal_that_finds_vault_sealed_is_tried_again_until_it_is_open(tmp_path: Path) -> None:
    bao = Bao(tmp_path, "inmem")
    try:
        async with place(bao, auth=local_role(bao, tmp_path)) as it:
            assert await it.client.probe() is None
            await until(lambda: it.clock.pauses == [2400])
            bao.seal()
            for times in (1, 2):
                it.clock.advance(it.clock.pauses[-1])
                await until(lambda times=times: it.client.calls["renew", False] == times)
                await until(lambda times=times: it.clock.pauses == [2400] + [120] * times)
            bao.open()
            it.clock.advance(120)
            await until(lambda: it.client.calls["renew", True] == 1)
            await until(lambda: it.clock.pauses[-1] == 2400)
            assert it.client.calls["login", True] == 1
    finally:
        bao.stop()


@real
async def test_who_closes_waits_for_a_login_in_flight_and_gives_its_token_back(tmp_path: Path) -> None:
    bao = Bao(tmp_path, "inmem")
    try:
        it = Place(bao, local_role(bao, tmp_path))
        reader = asyncio.create_task(it.read("team"))
        await until(lambda: len(it.client._flights) == 1)
        await it.client.close()
        with pytest.raises(Unavailable, match="was closed"):
            await reader
        await it.store.close()
        assert bao.asked()["auth/approle/login"] == bao.asked()["auth/token/revoke-self"] == 1
        assert it.client._keeper is None or it.client._keeper.done()  # none is left, however far the login had got
    finally:
        bao.stop()
