"""The admin port as its readers meet it: over real sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from extproc.admin import Admin, Health, entrance
from extproc.admin.server import PIECE
from extproc.errors import ConfigError

STATUS = {"chains": [{"route": "egress/r"}], "dependencies": {}}
CATALOG = {"TokenReview:v1": {"phases": ["request-headers"]}}


@asynccontextmanager
async def serving(
    address: str = "127.0.0.1:0",
    health: Callable[[], Health] = lambda: Health(ready=True, started=True),
    **sources: Any,
) -> AsyncIterator[Admin]:
    given = {"metrics": lambda: b"m 1\n", "status": lambda: STATUS, "catalog": lambda: CATALOG, **sources}
    admin = Admin(address, health=health, **given)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.stop()


async def fetch(admin: Admin, path: str, method: str = "GET", **headers: str) -> httpx.Response:
    transport = httpx.AsyncHTTPTransport(uds=str(admin.address.path)) if admin.address.path else None
    authority = "localhost" if admin.address.path else f"127.0.0.1:{admin.address.port}"
    async with httpx.AsyncClient(transport=transport, trust_env=False) as client:
        return await client.request(method, f"http://{authority}{path}", headers=headers)


async def test_everything_is_there_on_a_loopback_address() -> None:
    async with serving() as admin:
        assert (await fetch(admin, "/healthz")).text == "ok\n"
        assert (await fetch(admin, "/metrics")).text == "m 1\n"
        assert (await fetch(admin, "/metrics?name[]=x")).headers["content-type"].startswith("text/plain; version=0.0.4")
        assert (await fetch(admin, "/status")).json() == STATUS
        assert (await fetch(admin, "/catalog")).json() == CATALOG
        head = await fetch(admin, "/status", "HEAD")
        assert (head.status_code, head.content, head.headers["server"]) == (200, b"", "extproc")


@pytest.mark.parametrize(
    ("health", "answers"),
    [
        (Health(), (200, 503, 503)),
        (Health(ready=True, started=True), (200, 200, 200)),
        (Health(ready=False, started=True), (200, 503, 200)),
    ],
)
async def test_health_can_fail(health: Health, answers: tuple[int, int, int]) -> None:
    async with serving(health=lambda: health) as admin:
        paths = ("/healthz", "/readyz", "/startupz")
        assert tuple([(await fetch(admin, path)).status_code for path in paths]) == answers


async def test_why_it_is_not_ready_is_a_line_each() -> None:
    health = Health(ready=False, started=True, problems=("redis: it refuses connections", "vault: it is sealed"))
    async with serving("0.0.0.0:0", health=lambda: health) as admin:
        answer = await fetch(admin, "/readyz")
        assert (answer.status_code, answer.text) == (503, "redis: it refuses connections\nvault: it is sealed\n")
        assert (await fetch(admin, "/healthz")).text == "ok\n"
    async with serving(health=Health) as admin:
        assert (await fetch(admin, "/readyz")).text == "not yet, or no longer\n"


@pytest.mark.parametrize(
    "path", ["/status", "/catalog", "/", "/status/", "/%73tatus", "//status", "/healthz/../status"]
)
async def test_others_see_only_health_and_metrics(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extproc.admin.server.is_near", lambda _peer: False)  # tests come from loopback alone
    async with serving("0.0.0.0:0") as admin:
        assert (await fetch(admin, "/readyz")).status_code == 200
        assert (await fetch(admin, "/metrics")).status_code == 200
        answer = await fetch(admin, path)
        assert answer.status_code == 404
        assert "egress" not in answer.text


async def test_who_is_in_the_same_pod_sees_all() -> None:
    async with serving("0.0.0.0:0") as admin:
        assert (await fetch(admin, "/status")).status_code == 200
        assert (await fetch(admin, "/status", host="evil.example")).status_code == 403


@pytest.mark.parametrize("path", ["/status", "/catalog", "/%73tatus"])
async def test_a_page_of_another_name_cannot_read_it_through_a_browser(path: str) -> None:
    async with serving() as admin:
        answer = await fetch(admin, path, host="evil.example")
        assert (answer.status_code, "egress" in answer.text) == (403, False)
        assert (await fetch(admin, path, host="localhost:19090")).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
async def test_it_only_reads(method: str) -> None:
    async with serving() as admin:
        assert (await fetch(admin, "/status", method)).status_code == 405


async def test_a_source_that_fails_says_nothing_of_itself() -> None:
    def status() -> dict[str, Any]:
        raise ValueError("sk-1")

    async with serving(status=status) as admin:
        answer = await fetch(admin, "/status")
        assert answer.status_code == 500
        assert "sk-1" not in answer.text
        assert "ValueError" not in answer.text


async def test_a_source_may_take_its_time() -> None:
    async def metrics() -> bytes:
        await asyncio.sleep(0)
        return b"later 1\n"

    async with serving(metrics=metrics) as admin:
        assert (await fetch(admin, "/metrics")).text == "later 1\n"


async def raw(admin: Admin, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", admin.address.port)
    writer.write(data)
    answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /status HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 10_000 + b"\r\n\r\n",
        b"GET /status HTTP/1.1\r\nHost: localhost\r\n" + b"X: a\r\n" * 1000 + b"\r\n",
        b"\x16\x03\x01\x00\xff no http at all\r\n\r\n",
        b"GET /status HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
    ],
)
async def test_what_is_no_sensible_request_is_refused(request_bytes: bytes) -> None:
    async with serving() as admin:
        assert b" 400 " in (await raw(admin, request_bytes)).partition(b"\r\n")[0]


async def test_each_connection_is_good_for_one_request() -> None:
    one = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with serving() as admin:
        assert (await raw(admin, one + one)).count(b"HTTP/1.1 200") == 1


async def test_a_connection_that_says_nothing_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entrance, "LIFETIME", 0.05)
    async with serving() as admin:
        assert await raw(admin, b"GET /healthz HT") == b""


async def test_who_does_not_read_fills_no_memory() -> None:
    """What is said to all at once is kept once, and not for each who asked and stopped reading."""
    told = bytes(64 * 1024 * 1024)
    async with serving(metrics=lambda: told) as admin, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", admin.address.port)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while not (waiting := _to_be_sent(admin)):  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0)
        assert waiting <= 4 * PIECE
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
    assert b"Content-Length: 67108864\r\n" in head + b"\r\n"
    assert body == told


def _to_be_sent(admin: Admin) -> int:
    """Bytes that wait for those who asked to read them."""
    assert admin._entrance is not None
    return sum(guest._transport.get_write_buffer_size() for guest in admin._entrance._inside)


async def test_whoever_asks_at_once_is_told_what_was_found_once() -> None:
    asked = 0

    async def metrics() -> bytes:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return b"m 1\n"

    async with serving(metrics=metrics) as admin:
        question = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
        answers = await asyncio.gather(*(raw(admin, question) for _ in range(40)))
    assert {answer.partition(b"\r\n\r\n")[2] for answer in answers} == {b"m 1\n"}
    assert asked < 40


async def test_it_lives_while_it_answers_whatever_else_is_slow() -> None:
    """The parent of workers waits for them; a probe that waits with it would end them all."""
    silent = asyncio.Event()

    async def health() -> Health:
        await silent.wait()
        return Health()

    async with serving(health=health) as admin:
        waiting = asyncio.create_task(fetch(admin, "/readyz"))
        assert (await fetch(admin, "/healthz")).text == "ok\n"
        assert not waiting.done()
        silent.set()
        assert (await waiting).status_code == 503


async def test_a_port_that_is_taken_is_a_configuration_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        admin = Admin(
            f"127.0.0.1:{taken.getsockname()[1]}",
            health=Health,
            metrics=lambda: b"",
            status=lambda: STATUS,
            catalog=lambda: CATALOG,
        )
        with pytest.raises(ConfigError, match=r"cannot listen on 127\.0\.0\.1:.*choose another address") as caught:
            await admin.start()
    assert caught.value.place.field == "admin"
    await admin.stop()


async def test_the_port_is_free_again_after_stop() -> None:
    async with serving() as admin:
        address = str(admin.address)
    async with serving(address) as again:
        assert str(again.address) == address


async def test_a_socket_is_for_its_user_alone_and_goes_with_the_admin(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    async with serving(f"unix://{path}") as admin:
        assert path.stat().st_mode & 0o777 == 0o600
        assert (await fetch(admin, "/status")).json() == STATUS
    assert not path.exists()


async def test_a_socket_in_use_is_not_taken_over_and_a_stale_one_is(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    async with serving(f"unix://{path}") as admin:
        with pytest.raises(ConfigError, match="Address already in use"):
            async with serving(f"unix://{path}"):
                raise AssertionError
        assert (await fetch(admin, "/healthz")).status_code == 200
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    async with serving(f"unix://{path}") as admin:
        assert (await fetch(admin, "/healthz")).status_code == 200


@pytest.mark.parametrize("kind", ["file", "link"])
async def test_what_is_no_socket_is_left_alone(tmp_path: Path, kind: str) -> None:
    path, precious = tmp_path / "admin.sock", tmp_path / "precious"
    precious.write_text("data")
    if kind == "file":
        path.write_text("data")
    else:
        path.symlink_to(precious)
    with pytest.raises(ConfigError, match="is no socket"):
        async with serving(f"unix://{path}"):
            raise AssertionError
    assert path.read_text() == "data"
