"""TCP with mutual TLS: only a client whose certificate has an allowed name is served."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import grpc
import grpc.aio
import pytest
import structlog

from extproc.wire.http2.server import Server
from extproc.wire.listener import Listener, Tls

from .certificates import Authority
from .conftest import chain_of, engine_of, go_on, headers, play, stream

ALLOWED = ("gateway.example", "spiffe://cluster/ns/egress/sa/envoy")


@asynccontextmanager
async def secured(folder: Path, port: int) -> AsyncIterator[Authority]:
    authority = Authority(folder, "ours")
    cert, key = authority.issue("server", dns=["localhost"])
    engine = engine_of(chain_of(go_on))
    listener = Listener(f"127.0.0.1:{port}", Tls(cert, key, authority.path, ALLOWED))
    server = Server(lambda: engine, [listener], 1024, lambda: True)
    await server.start()
    try:
        yield authority
    finally:
        await server.stop()


def dial(port: int, root: Authority, pair: tuple[Path, Path] | None) -> grpc.aio.Channel:
    cert, key = (path.read_bytes() for path in pair) if pair else (None, None)
    credentials = grpc.ssl_channel_credentials(root.path.read_bytes(), key, cert)
    return grpc.aio.secure_channel(f"localhost:{port}", credentials)


async def refused_with(channel: grpc.aio.Channel) -> grpc.StatusCode:
    call = stream(channel)
    with suppress(grpc.aio.AioRpcError):
        assert await call.read() is grpc.aio.EOF
    return await call.code()  # type: ignore[no-any-return]


@pytest.mark.parametrize("names", [{"dns": [ALLOWED[0]]}, {"uri": [ALLOWED[1]]}, {"dns": ["other", ALLOWED[0]]}])
async def test_an_allowed_client_is_served(folder: Path, free_port: int, names: dict[str, list[str]]) -> None:
    async with secured(folder, free_port) as authority:
        client = authority.issue("client", **names)
        async with dial(free_port, authority, client) as channel:
            await play(channel, headers())


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
        client = authority.issue("client", **names)
        async with dial(free_port, authority, client) as channel:
            with structlog.testing.capture_logs() as logs:
                assert await refused_with(channel) is grpc.StatusCode.PERMISSION_DENIED
    assert [log["event"] for log in logs] == ["client_refused"]


@pytest.mark.parametrize("names", [{}, {"uri": [ALLOWED[0]]}, {"dns": [ALLOWED[1]]}])
async def test_a_common_name_counts_for_nothing_nor_does_a_name_of_the_wrong_kind(
    folder: Path, free_port: int, names: dict[str, list[str]]
) -> None:
    async with secured(folder, free_port) as authority:
        client = authority.issue(ALLOWED[0], **names)
        async with dial(free_port, authority, client) as channel:
            assert await refused_with(channel) is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("kind", ["none", "of another authority"])
async def test_without_a_certificate_of_ours_there_is_no_connection(folder: Path, free_port: int, kind: str) -> None:
    other = Authority(folder, "other")
    pair = None if kind == "none" else other.issue("client", dns=ALLOWED[:1])
    async with secured(folder, free_port) as authority, dial(free_port, authority, pair) as channel:
        assert await refused_with(channel) is grpc.StatusCode.UNAVAILABLE


async def test_plain_text_is_refused(folder: Path, free_port: int) -> None:
    async with secured(folder, free_port), grpc.aio.insecure_channel(f"127.0.0.1:{free_port}") as channel:
        assert await refused_with(channel) is grpc.StatusCode.UNAVAILABLE


async def test_renewed_files_are_used_and_broken_ones_are_not(folder: Path, free_port: int) -> None:
    async with secured(folder, free_port) as before:
        after = Authority(folder, "new")
        old, new = before.issue("client-old", dns=ALLOWED[:1]), after.issue("client-new", dns=ALLOWED[:1])
        (folder / "server.key").write_text("half written")
        async with dial(free_port, before, old) as channel:
            with structlog.testing.capture_logs() as logs:
                await play(channel, headers())
        assert [log["event"] for log in logs] == ["certificate_not_renewed"]
        after.issue("server", dns=["localhost"])
        after.path.replace(before.path)
        async with dial(free_port, before, new) as channel:
            await play(channel, headers())
