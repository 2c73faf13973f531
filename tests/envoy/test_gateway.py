"""The server and Envoy together: what is said before anything starts, and when something is not there."""

import asyncio
import os
import signal
import socket
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from extproc.envoy.gateway import run_gateway, stub_child
from extproc.envoy.plan import Certificate, Plan, Tls, Upstream
from extproc.envoy.probe import accepts, envoy_live
from extproc.envoy.process import Ended, run
from extproc.errors import ConfigError
from extproc.policy.names import Address, parse_address


def plan(directory: Path) -> Plan:
    admin, server = Address(path=directory / "run" / "admin.sock"), Address(path=directory / "x.sock")
    return Plan("egress/egress", parse_address("127.0.0.1:0"), admin, (server,))


def admin_socket(plan: Plan) -> str:
    """Where Envoy's is to be; its folder is there."""
    assert plan.admin.path is not None
    plan.admin.path.parent.mkdir()
    return str(plan.admin.path)


async def test_a_port_in_use_is_said_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = replace(plan(tmp_path), listen=Address(host="127.0.0.1", port=taken.getsockname()[1]))
        with pytest.raises(
            ConfigError, match=r"Envoy cannot listen on 127\.0\.0\.1:\d+ \(Address already in use\)"
        ) as told:
            await run_gateway(busy, ("false",), lambda: None)
    assert told.value.place.field == "envoy.listen"


@pytest.mark.parametrize("waiting", [0, 1], ids=["answers", "hangs"])
async def test_a_second_gateway_does_not_take_the_first_ones_socket_away(tmp_path: Path, waiting: int) -> None:
    second = plan(tmp_path)
    with socket.socket(socket.AF_UNIX) as first, ExitStack() as callers:
        first.bind(admin_socket(second))
        first.listen(0)
        for _ in range(waiting):  # and nobody else gets in
            callers.enter_context(socket.socket(socket.AF_UNIX)).connect(str(second.admin.path))
        with pytest.raises(ConfigError, match=r"another process listens on .*/admin\.sock: end it") as told:
            await run_gateway(second, ("false",), lambda: None)
    assert told.value.place.field == "envoy.admin"


async def test_what_is_left_of_a_killed_one_is_in_nobodys_way(tmp_path: Path) -> None:
    after = plan(tmp_path)
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(admin_socket(after))
    with pytest.raises(Ended, match="the ext_proc server ended with exit code 1"):
        await run_gateway(after, ("false",), lambda: None)


async def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    blocked = replace(plan(tmp_path), admin=Address(path=tmp_path / "file" / "run" / "admin.sock"))
    with pytest.raises(ConfigError, match=r"cannot be made \(Not a directory\): make it, or write another path"):
        await run_gateway(blocked, ("false",), lambda: None)


async def test_a_file_that_envoy_cannot_read_is_said(tmp_path: Path) -> None:
    there, away = tmp_path / "there.pem", tmp_path / "away.pem"
    there.touch()
    upstream = Upstream("egress/a", "a.example", 443, Tls("a.example", there, there, away), backend="egress/a")
    for field, changes in (
        ("envoy.tls.key", {"certificate": Certificate(there, away)}),
        ("Backend egress/a: fqdn.tls.key", {"upstreams": (upstream,)}),
    ):
        with pytest.raises(ConfigError, match=r"away\.pem is not there, or cannot be read: Envoy needs it") as told:
            await run_gateway(replace(plan(tmp_path), **changes), ("false",), lambda: None)
        assert told.value.place.field == field


async def test_no_envoy_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXTPROC_ENVOY", str(tmp_path / "nothing"))
    with pytest.raises(ConfigError, match="which is no program"):
        await run_gateway(plan(tmp_path), ("false",), lambda: None)


async def test_the_stub_is_a_child_like_others() -> None:
    with socket.create_server(("127.0.0.1", 0)) as trial:
        address = Address(host="127.0.0.1", port=trial.getsockname()[1])
    answers = []

    def announce() -> None:
        with socket.create_connection((address.host, address.port), 5) as connection:
            connection.sendall(b"GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            answers.append(connection.recv(15))
        os.kill(os.getpid(), signal.SIGTERM)

    await run([stub_child(address)], announce)
    assert answers == [b"HTTP/1.1 200 OK"]


@pytest.mark.parametrize(
    ("said", "live"),
    [(b"HTTP/1.1 200 OK\r\n\r\n", True), (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", False), (b"", False)],
)
async def test_envoy_is_live_when_it_says_so(said: bytes, live: bool) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(said)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        assert await envoy_live(Address(host="127.0.0.1", port=server.sockets[0].getsockname()[1])) is live


async def test_nobody_is_neither_live_nor_accepting(tmp_path: Path) -> None:
    nobody = Address(path=tmp_path / "nobody.sock")
    assert await envoy_live(nobody) is False
    assert await accepts(nobody) is False
