"""`extproc serve --transport envoy`: where it listens, who may connect, how it ends; asked by a client of gRPC alone."""

import os
import signal
import socket
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from extproc.wire.codec import SERVICE
from extproc.wire.pb.external_processor_pb2 import ProcessingRequest, ProcessingResponse
from tests.calls import process
from tests.certificates import Authority
from tests.e2e.gateway import backend, write
from tests.e2e.processes import Process, accepts, free_port, short_directory, wait_until
from tests.e2e.test_workers import alive, children
from tests.wire.conftest import body, headers

pytestmark = pytest.mark.e2e

ALLOWED = ("gateway.example", "spiffe://cluster/ns/egress/sa/envoy")
PIECE = 5_000_000


@pytest.fixture
def folder() -> Iterator[Path]:
    with short_directory() as directory:
        yield directory


def start(folder: Path, *documents: Mapping[str, Any], umask: int = 0o022, **settings: Any) -> Process:
    """The server, whose log is `folder/log`."""
    settings = {"authentication": "none", "secretSources": {}, **settings}
    config = write(folder, [*documents, backend(free_port())], settings)
    argv = [sys.executable, "-m", "extproc", "serve", "--transport", "envoy", "--config", str(config)]
    before = os.umask(umask)
    try:
        return Process(argv, folder / "log")
    finally:
        os.umask(before)


@contextmanager
def serving(folder: Path, *where: Path | int, **settings: Any) -> Iterator[Process]:
    """The server, once it accepts at `where`; ended by SIGTERM, in good order."""
    server = start(folder, **settings)
    try:
        server.wait_until(lambda: all(map(accepts, where)))
        yield server
    finally:
        code = server.stop(signal.SIGTERM)
    assert code in (0, 130, -9), server.output


def converse(channel: grpc.Channel, *messages: ProcessingRequest) -> list[ProcessingResponse]:
    """The answers. Raises: grpc.RpcError."""
    return list(process(channel)(iter(messages), timeout=20))


def plain(folder: Path) -> grpc.Channel:
    return grpc.insecure_channel(f"unix:{folder}/extproc.sock")


def denied(answer: ProcessingResponse) -> int:
    return answer.immediate_response.status.code


# --- gRPC through a real Envoy ----------------------------------------------------------------------------------------


def test_the_service(folder: Path) -> None:
    with serving(folder, folder / "extproc.sock"), plain(folder) as channel:
        [answer] = converse(channel, headers())
        assert answer.WhichOneof("response") in ("request_headers", "immediate_response")
        assert converse(channel) == []
        with pytest.raises(grpc.RpcError) as caught:
            converse(channel, body(b"before its headers"))
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert caught.value.details() == "the message is not one to answer"
        with pytest.raises(grpc.RpcError) as caught:
            list(channel.stream_stream(f"/{SERVICE}/Other")(iter([b""])))
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        with pytest.raises(grpc.RpcError) as caught:
            converse(channel, headers(end=False), body(b"x" * PIECE))
        assert caught.value.code() in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.FAILED_PRECONDITION)
        compressed = grpc.insecure_channel(f"unix:{folder}/extproc.sock", compression=grpc.Compression.Gzip)
        with compressed, pytest.raises(grpc.RpcError) as caught:
            converse(compressed, headers(**{"x-long": "a" * 2000}))
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_health_and_drain(folder: Path) -> None:
    with serving(folder, folder / "extproc.sock", drainSeconds=1) as server, plain(folder) as channel:
        health = health_pb2_grpc.HealthStub(channel)

        def told(name: str) -> int:
            return int(health.Check(health_pb2.HealthCheckRequest(service=name), wait_for_ready=True).status)

        wait_until(lambda: told("") == 1)
        assert [told(name) for name in ("readiness", SERVICE, "liveness")] == [1, 1, 1]
        watch = health.Watch(health_pb2.HealthCheckRequest(service=""))
        assert next(watch).status == 1
        server.popen.send_signal(signal.SIGTERM)
        assert next(watch).status == 2
        assert [told(name) for name in ("", "readiness", SERVICE, "liveness")] == [2, 2, 2, 1]
        assert len(converse(channel, headers())) == 1
        with pytest.raises(grpc.RpcError):
            next(watch)
        assert server.wait() == 0
    assert not (folder / "extproc.sock").exists()


# --- listeners --------------------------------------------------------------------------------------------------------


def test_the_socket_is_for_owner_and_group(folder: Path) -> None:
    with serving(folder, folder / "extproc.sock", umask=0):
        assert stat.S_IMODE((folder / "extproc.sock").stat().st_mode) == 0o660


def test_a_folder_that_others_can_write_to_is_refused(folder: Path) -> None:
    folder.chmod(0o777)
    server = start(folder)
    assert server.wait() == 2
    assert "writable by nobody else" in server.output
    assert not (folder / "extproc.sock").exists()


def test_a_configuration_that_is_refused_opens_nothing(folder: Path) -> None:
    port = free_port()
    server = start(folder, admin=f"127.0.0.1:{port}", budget="soon")
    assert server.wait() == 2
    assert "budget" in server.output
    assert "config.yaml:" in server.output
    assert not (folder / "extproc.sock").exists()


@pytest.mark.parametrize("what", ["listen", "admin"])
def test_a_port_that_is_taken_is_refused(folder: Path, what: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        value = [{"address": taken, "insecure": True}] if what == "listen" else taken
        server = start(folder, **{what: value})
        assert server.wait() == 2
        assert taken in server.output


def test_a_second_server_does_not_take_the_socket(folder: Path) -> None:
    with serving(folder, folder / "extproc.sock"), plain(folder) as channel:
        (folder / "second").mkdir()
        second = start(folder / "second", listen=[{"address": f"unix://{folder}/extproc.sock"}])
        assert second.wait() == 2
        assert "another process listens" in second.output
        assert len(converse(channel, headers())) == 1


def test_several_listeners_share_one_application(folder: Path) -> None:
    port, admin = free_port(), free_port()
    listen = [{"address": f"unix://{folder}/extproc.sock"}, {"address": f"localhost:{port}", "insecure": True}]
    with serving(folder, folder / "extproc.sock", port, listen=listen, admin=f"127.0.0.1:{admin}"):
        with plain(folder) as one, grpc.insecure_channel(f"127.0.0.1:{port}") as other:
            assert [len(converse(channel, headers())) for channel in (one, other)] == [1, 1]

        def counted() -> bool:
            text = httpx.get(f"http://127.0.0.1:{admin}/metrics").text
            return any(line.endswith(" 2.0") for line in text.splitlines() if line.startswith("extproc_requests_total"))

        wait_until(counted)


# --- TLS --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secured() -> Iterator[tuple[int, Authority, Path]]:
    """A port, the authority of its certificate and of its clients', and the folder of the files."""
    with short_directory() as folder:
        port, authority = free_port(), Authority(folder, "ours")
        cert, key = authority.issue_as("server", dns=["localhost"])
        tls = {"cert": cert.name, "key": key.name, "clientCA": authority.file.name, "allowedClients": list(ALLOWED)}
        with serving(folder, port, listen=[{"address": f"127.0.0.1:{port}", "tls": tls}]):
            yield port, authority, folder


def dial(port: int, root: Authority, pair: tuple[Path, Path] | None) -> grpc.Channel:
    cert, key = (path.read_bytes() for path in pair) if pair else (None, None)
    return grpc.secure_channel(f"localhost:{port}", grpc.ssl_channel_credentials(root.file.read_bytes(), key, cert))


@pytest.mark.parametrize("names", [{"dns": [ALLOWED[0]]}, {"uri": [ALLOWED[1]]}, {"dns": ["other", ALLOWED[0]]}])
def test_an_allowed_client_is_served(secured: tuple[int, Authority, Path], names: Mapping[str, Sequence[str]]) -> None:
    port, authority, _ = secured
    with dial(port, authority, authority.issue_as("client", **names)) as channel:
        assert len(converse(channel, headers())) == 1


@pytest.mark.parametrize(
    "names",
    [
        {},
        {"dns": ["gateway.example.evil"]},
        {"dns": ["xgateway.example"]},
        {"dns": ["gatewayxexample"]},
        {"dns": ["*.example"]},
        {"uri": [ALLOWED[0]]},
        {"dns": [ALLOWED[1]]},
        {"uri": [f"{ALLOWED[1]}2"]},
    ],
)
def test_another_name_is_refused(secured: tuple[int, Authority, Path], names: Mapping[str, Sequence[str]]) -> None:
    port, authority, _ = secured
    with (
        dial(port, authority, authority.issue_as(ALLOWED[0], **names)) as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        converse(channel, headers())
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("kind", ["none", "of another authority", "plain text"])
def test_without_a_certificate_of_ours_there_is_no_connection(secured: tuple[int, Authority, Path], kind: str) -> None:
    port, authority, folder = secured
    pair = Authority(folder, "other").issue_as("stranger", dns=ALLOWED[:1]) if kind == "of another authority" else None
    channel = grpc.insecure_channel(f"127.0.0.1:{port}") if kind == "plain text" else dial(port, authority, pair)
    with channel, pytest.raises(grpc.RpcError) as caught:
        converse(channel, headers())
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_renewed_certificate_is_used(secured: tuple[int, Authority, Path]) -> None:
    """As Kubernetes renews: the new files are moved into the folder."""
    port, authority, folder = secured
    (folder / "new").mkdir()
    renewed = Authority(folder / "new", "renewed")
    for path in renewed.issue_as("server", dns=["localhost"]):
        path.rename(folder / path.name)
    client = authority.issue_as("client", dns=ALLOWED[:1])

    def accepted() -> bool:
        with dial(port, renewed, client) as channel, suppress(grpc.RpcError):
            return len(converse(channel, headers())) == 1
        return False

    wait_until(accepted)


# --- workers ----------------------------------------------------------------------------------------------------------


def test_workers(folder: Path) -> None:
    sockets, admin = [folder / f"extproc-{index}.sock" for index in range(2)], free_port()
    with serving(folder, *sockets, workers=2, admin=f"127.0.0.1:{admin}") as server:
        for path in sockets:
            with grpc.insecure_channel(f"unix:{path}") as channel:
                assert len(converse(channel, headers())) == 1
        told = httpx.get(f"http://127.0.0.1:{admin}/metrics").text
        assert all(f'extproc_worker_up{{worker="{index}"}} 1' in told for index in range(2))
        first, second = children(server.popen.pid)
        os.kill(first, signal.SIGKILL)
        server.wait_until(lambda: len(set(children(server.popen.pid)) - {first}) == 2)
        server.wait_until(lambda: all(map(accepts, sockets)))
        workers = children(server.popen.pid)
        assert second in workers
        assert server.stop(signal.SIGKILL) == -9
        wait_until(lambda: not any(map(alive, workers)))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_the_end(folder: Path, number: signal.Signals, code: int) -> None:
    with serving(folder, folder / "extproc.sock", drainSeconds=0) as server:
        workers = children(server.popen.pid)
        assert server.stop(number) == code
        assert not any(map(alive, workers))
    assert not (folder / "extproc.sock").exists()


def test_an_envoy_that_cannot_run_ends_the_server(folder: Path) -> None:
    """Nobody starts it again and again."""
    false = folder / "envoy"
    false.write_text("#!/bin/sh\nexit 1\n")
    false.chmod(0o755)
    config = write(folder, [backend(free_port())], {"authentication": "none", "secretSources": {}})
    argv = [sys.executable, "-m", "extproc", "serve", "--transport", "envoy", "--config", str(config)]
    server = Process(argv, folder / "log", {**os.environ, "EXTPROC_ENVOY": str(false)})
    assert server.wait() == 1


def test_a_configuration_that_is_refused_inside_envoy_ends_the_server(folder: Path) -> None:
    """It was changed after the parent had judged it. That is exit code 2, and nothing is open before."""
    program = (
        "import asyncio, sys; from pathlib import Path; from extproc.hosting import Host, keep; "
        "from extproc.envoy.inner import server; from extproc.envoy.python import CONFIG; "
        "from extproc.wire.listener import Listener; folder = Path(sys.argv[1]); "
        "host = Host(server([Listener(f'unix://{folder}/x.sock')], folder), {CONFIG: str(folder / 'none.yaml')}); "
        "sys.exit(asyncio.run(keep([host], folder, 0)))"
    )
    server = Process([sys.executable, "-c", program, str(folder)], folder / "log")
    assert server.wait() == 2
    assert "none.yaml" in server.output
    assert not (folder / "x.sock").exists()
