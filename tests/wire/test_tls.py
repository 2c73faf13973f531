"""TCP with mutual TLS: only a client whose certificate has an allowed name is served."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import structlog

from extproc.wire.http2 import door
from extproc.wire.http2.frames import PREFACE
from extproc.wire.http2.gate import Gate, Guarded
from extproc.wire.http2.server import Server
from extproc.wire.listener import Listener, Tls
from extproc.wire.seldom import Seldom
from extproc.wire.tls import Certificates
from tests.certificates import Authority

from .conftest import chain_of, engine_of, go_on, headers, play, stream

PING = b"\0\0\x08\6\0\0\0\0\0abcdefgh"
ALLOWED = ("gateway.example", "spiffe://cluster/ns/egress/sa/envoy")


@asynccontextmanager
async def secured(folder: Path, port: int) -> AsyncIterator[Authority]:
    authority = Authority(folder, "ours")
    cert, key = authority.issue_as("server", dns=["localhost"])
    engine = engine_of(chain_of(go_on))
    listener = Listener(f"127.0.0.1:{port}", Tls(cert, key, authority.file, ALLOWED))
    server = Server(lambda: engine, [listener], 1024, lambda: True)
    await server.start()
    try:
        yield authority
    finally:
        await server.stop()


def dial(port: int, root: Authority, pair: tuple[Path, Path] | None) -> grpc.aio.Channel:
    cert, key = (path.read_bytes() for path in pair) if pair else (None, None)
    credentials = grpc.ssl_channel_credentials(root.file.read_bytes(), key, cert)
    return grpc.aio.secure_channel(f"localhost:{port}", credentials)


async def refused_with(channel: grpc.aio.Channel) -> grpc.StatusCode:
    call = stream(channel)
    with suppress(grpc.aio.AioRpcError):
        assert await call.read() is grpc.aio.EOF
    return await call.code()  # type: ignore[no-any-return]


@pytest.mark.parametrize("names", [{"dns": [ALLOWED[0]]}, {"uri": [ALLOWED[1]]}, {"dns": ["other", ALLOWED[0]]}])
async def test_an_allowed_client_is_served(folder: Path, free_port: int, names: dict[str, list[str]]) -> None:
    async with secured(folder, free_port) as authority:
        client = authority.issue_as("client", **names)
        async with dial(free_port, authority, client) as channel:
            await play(channel, headers())


async def test_a_host_that_has_one_address_twice(folder: Path, free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `localhost` in an /etc/hosts with two lines for it."""
    found = socket.getaddrinfo("127.0.0.1", free_port, type=socket.SOCK_STREAM)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found * 2)
    async with secured(folder, free_port):
        pass


@pytest.mark.parametrize(
    "names",
    [
        {"dns": ["gateway.example.evil"]},
        {"dns": ["*.example"]},
        {"uri": ["spiffe://cluster/ns/egress/sa/other"]},
    ],
)
async def test_another_name_is_refused(folder: Path, free_port: int, names: dict[str, list[str]]) -> None:
    async with secured(folder, free_port) as authority:
        client = authority.issue_as("client", **names)
        async with dial(free_port, authority, client) as channel:
            with structlog.testing.capture_logs() as logs:
                assert await refused_with(channel) is grpc.StatusCode.PERMISSION_DENIED
    assert [log["event"] for log in logs] == ["client_refused"]


@pytest.mark.parametrize("names", [{}, {"uri": [ALLOWED[0]]}, {"dns": [ALLOWED[1]]}])
async def test_a_common_name_counts_for_nothing_nor_does_a_name_of_the_wrong_kind(
    folder: Path, free_port: int, names: dict[str, list[str]]
) -> None:
    async with secured(folder, free_port) as authority:
        client = authority.issue_as(ALLOWED[0], **names)
        async with dial(free_port, authority, client) as channel:
            assert await refused_with(channel) is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("kind", ["none", "of another authority"])
async def test_without_a_certificate_of_ours_there_is_no_connection(folder: Path, free_port: int, kind: str) -> None:
    other = Authority(folder, "other")
    pair = None if kind == "none" else other.issue_as("client", dns=ALLOWED[:1])
    with structlog.testing.capture_logs() as logs:
        async with secured(folder, free_port) as authority, dial(free_port, authority, pair) as channel:
            assert await refused_with(channel) is grpc.StatusCode.UNAVAILABLE
    assert "handshake_failed" in [log["event"] for log in logs]


async def test_plain_text_is_refused(folder: Path, free_port: int) -> None:
    async with secured(folder, free_port), grpc.aio.insecure_channel(f"127.0.0.1:{free_port}") as channel:
        assert await refused_with(channel) is grpc.StatusCode.UNAVAILABLE


async def test_renewed_files_are_used_and_broken_ones_are_not(folder: Path, free_port: int) -> None:
    async with secured(folder, free_port) as before:
        after = Authority(folder, "new")
        old, new = before.issue_as("client-old", dns=ALLOWED[:1]), after.issue_as("client-new", dns=ALLOWED[:1])
        (folder / "server.key").write_text("half written")
        async with dial(free_port, before, old) as channel:
            with structlog.testing.capture_logs() as logs:
                await play(channel, headers())
        assert [log["event"] for log in logs] == ["certificate_not_renewed"]
        after.issue_as("server", dns=["localhost"])
        after.file.replace(before.file)
        async with dial(free_port, before, new) as channel:
            await play(channel, headers())


async def test_a_broken_file_is_told_of_once_and_read_again_when_it_changes(folder: Path) -> None:
    authority = Authority(folder, "ours")
    cert, key = authority.issue_as("server", dns=["localhost"])
    certificates, good = Certificates(Tls(cert, key, authority.file, ALLOWED)), key.read_bytes()
    first = certificates.context()
    key.write_text("half written")
    with structlog.testing.capture_logs() as logs:
        assert {certificates.context() for _ in range(50)} == {first}
    assert len(logs) == 1
    key.write_bytes(good)
    assert certificates.context() is not first
    key.unlink()
    with structlog.testing.capture_logs() as logs:
        certificates.context()
    assert len(logs) == 1


# --- those who knock ----------------------------------------------------------------------------------------------------


def knock(port: int) -> socket.socket:
    """A connection that says nothing."""
    return socket.create_connection(("127.0.0.1", port))


def blunt(port: int) -> None:
    """A connection that is reset at once."""
    with knock(port) as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with suppress(OSError):
            made.send(b"\x16\x03\x01")


def context_of(authority: Authority) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(authority.file))
    made.load_cert_chain(*authority.issue_as("client", dns=ALLOWED[:1]))
    made.set_alpn_protocols(["h2"])
    return made


def greeted(port: int, context: ssl.SSLContext) -> bytes:
    """The head of the first frame, from a thread: what the server hears comes whenever it comes."""
    with context.wrap_socket(knock(port), server_hostname="localhost") as made:
        return made.recv(9)


def test_no_handshake_is_lost(folder: Path, free_port: int) -> None:
    async def play() -> None:
        async with secured(folder, free_port) as authority:
            context = context_of(authority)
            for _ in range(30):
                heard = await asyncio.wait_for(asyncio.to_thread(greeted, free_port, context), 5)
                assert heard[3:4] == b"\4"  # SETTINGS, at once

    asyncio.run(play())


def test_those_who_knock_and_go_leave_nothing_and_do_not_keep_the_server(folder: Path, free_port: int) -> None:
    async def play() -> None:
        broken: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: broken.append(context))
        async with secured(folder, free_port) as authority:
            context = context_of(authority)
            for _ in range(20):
                await asyncio.to_thread(blunt, free_port)
            silent = await asyncio.to_thread(knock, free_port)
            await asyncio.to_thread(greeted, free_port, context)
        silent.close()
        assert broken == []
        assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []

    asyncio.run(play())


def test_a_handshake_that_is_given_up_before_it_begins_leaves_nothing(folder: Path, free_port: int) -> None:
    authority = Authority(folder, "ours")
    certificates = Certificates(Tls(*authority.issue_as("server", dns=["localhost"]), authority.file, ALLOWED))

    async def play() -> None:
        made = Guarded(lambda _: asyncio.sleep(0), 1000, lambda _: None, frozenset(), Seldom())

        def admit() -> Guarded:
            asyncio.get_running_loop().call_soon(made.abort)  # before the first step of its handshake
            return made

        gate = Gate(("127.0.0.1", free_port), admit, certificates, Seldom())
        with await asyncio.to_thread(knock, free_port) as silent:
            await asyncio.wait_for(made.ended, 5)
            assert await asyncio.to_thread(silent.recv, 1) == b""
        gate.close()

    asyncio.run(play())


def test_strangers_make_room_for_clients_and_clients_do_not_for_strangers(
    folder: Path, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "MOST_CONNECTIONS", 3)

    async def play() -> None:
        async with secured(folder, free_port) as authority:
            client = context_of(authority)
            reader, writer = await asyncio.open_connection("localhost", free_port, ssl=client)
            writer.write(PREFACE)
            assert await reader.readexactly(9)
            silent = [await asyncio.to_thread(knock, free_port) for _ in range(9)]
            await asyncio.to_thread(greeted, free_port, client)
            writer.write(PING)
            while PING[9:] not in await reader.read(1000):
                assert not reader.at_eof()
            writer.close()
            for each in silent:
                each.close()

    asyncio.run(play())
