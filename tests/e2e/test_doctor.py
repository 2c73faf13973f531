"""The doctor on a real Envoy, a real server, and a Redis that goes away."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from extproc.doctor import examine
from extproc.envoy import bootstrap as bootstraps
from extproc.envoy.binary import command, find_envoy
from extproc.policy.names import Address, parse_address
from tests.adapters.redis_server import BINARY, MISSING, RedisServer
from tests.e2e.gateway import AUTHN, COMMANDS, INJECT, PII, TRANSPORT, Gateway, backend, gateway, policy, quota
from tests.e2e.processes import Process, Stub, envoy_live, free_port, wait_until

pytestmark = pytest.mark.e2e

JSON = [("content-type", "application/json")]


def doctor(gate: Gateway) -> tuple[int, list[str]]:
    """The command's exit code and its lines."""
    argv = (sys.executable, "-m", "extproc", "doctor", "--admin", gate.admin_port)
    done = subprocess.run((*argv, "--envoy-admin", f"unix://{gate.admin}"), capture_output=True, text=True)
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


def found(gate: Gateway, envoy: Path | None = None) -> list[str]:
    """What it finds, without a process of its own."""
    return [str(one) for one in asyncio.run(examine(parse_address(gate.admin_port), Address(path=envoy or gate.admin)))]


@pytest.fixture(scope="module")
def gate(stub: Stub) -> Iterator[Gateway]:
    unresolved = {**quota(100, key=['request.headers["x-team"]'], when='"x-team" in request.headers'), "name": "team"}
    with gateway(policy(AUTHN, unresolved), backend(stub.port, PII, INJECT)) as running:
        yield running


def test_all_is_well_after_traffic_of_every_kind(gate: Gateway) -> None:
    for _ in range(20):
        assert gate.get("/doctor").status == 200
        assert gate.get("/doctor", token=None).status == 401
        assert gate.get("/doctor", host="nowhere.example").status == 403
        assert gate.send("POST", "/doctor", headers=JSON, body=b'{"a": "jane@example.com"}').status == 200
        assert gate.send("POST", "/doctor", headers=JSON, body=b"{").status == 400
    code, lines = doctor(gate)
    assert (code, len(lines)) == (0, 1), lines
    assert lines[0].startswith("All is well")


@pytest.mark.parametrize("transport", sorted(set(COMMANDS) - {TRANSPORT}))
def test_all_is_well_whatever_carries_the_messages(stub: Stub, transport: str) -> None:
    with gateway(policy(AUTHN), backend(stub.port, PII, INJECT), transport=transport) as gate:
        assert gate.get("/doctor").status == 200
        assert found(gate) == []


@contextmanager
def second_envoy(gate: Gateway, config: Any) -> Iterator[Path]:
    """Another Envoy in front of the same server, on this configuration: its admin socket."""
    admin, file = gate.directory / "second.sock", gate.directory / "second.yaml"
    config["admin"]["address"]["pipe"]["path"] = str(admin)
    config["static_resources"]["listeners"][0]["address"]["socket_address"]["port_value"] = free_port()
    file.write_text(yaml.safe_dump(config))
    process = Process(command(find_envoy({}), file, concurrency=1), gate.directory / "second.log")
    try:
        process.wait_until(lambda: envoy_live(admin))
        yield admin
    finally:
        process.stop()


def generated(gate: Gateway) -> Any:
    return json.loads(json.dumps(bootstraps.bootstrap(gate.plan)))


def test_what_is_wrong_with_envoy_is_told_as_envoy_has_it(gate: Gateway) -> None:
    config = generated(gate)
    manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    ext_proc = manager["http_filters"][0]["typed_config"]
    ext_proc["failure_mode_allow"] = True
    ext_proc["message_timeout"] = "0.5s"
    ext_proc["processing_mode"]["request_body_mode"] = "NONE"
    del config["static_resources"]["clusters"][0]["circuit_breakers"]
    del config["static_resources"]["listeners"][0]["per_connection_buffer_limit_bytes"]
    per_route = "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute"
    host = manager["route_config"]["virtual_hosts"][0]
    host["routes"][0]["typed_per_filter_config"] = {
        "envoy.filters.http.ext_proc": {"@type": per_route, "disabled": True}
    }
    with second_envoy(gate, config) as admin:
        lines = found(gate, admin)
    for words in (
        "failure_mode_allow is true",
        "message_timeout is 0.5 s",
        "request_body_mode is NONE",
        "max_requests 1024",
        "per_connection_buffer_limit_bytes is 1048576",
        "virtual host host-0, route Backend/egress/stub: the ext_proc filter is disabled here",
    ):
        assert [line for line in lines if words in line], (words, lines)
    assert len(lines) == 7, lines  # max_pending_requests has a line of its own


def test_a_gateway_without_the_filter_and_an_admin_port_that_shows_little(gate: Gateway) -> None:
    config = generated(gate)
    manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    manager["http_filters"].pop(0)
    with second_envoy(gate, config) as admin:
        lines = found(gate, admin)
        assert len(lines) == 1
        assert "listener egress: the ext_proc filter is not in its chain" in lines[0]
    config["admin"]["allow_paths"] = [{"exact": "/ready"}]
    with second_envoy(gate, config) as admin:
        lines = found(gate, admin)
    assert len(lines) == 1
    assert "it answers /config_dump with status 403" in lines[0]


def test_an_exchange_that_went_around_us_is_told(gate: Gateway) -> None:
    """A server that is away, behind an Envoy that is open: just what must not be."""
    config = generated(gate)
    manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    manager["http_filters"][0]["typed_config"]["failure_mode_allow"] = True
    endpoint = config["static_resources"]["clusters"][0]["load_assignment"]["endpoints"][0]["lb_endpoints"][0]
    endpoint["endpoint"]["address"]["pipe"]["path"] = str(gate.directory / "nobody.sock")
    with second_envoy(gate, config) as admin:
        port = config["static_resources"]["listeners"][0]["address"]["socket_address"]["port_value"]
        assert httpx.get(f"http://localhost:{port}/around").status_code == 200
        wait_until(lambda: any("1 exchanges passed unjudged" in line for line in found(gate, admin)))
        lines = found(gate, admin)
    assert any("nobody.sock is not healthy for Envoy" in line for line in lines)


def test_a_server_that_is_away_is_told_from_both_sides(stub: Stub) -> None:
    with gateway(policy(AUTHN), backend(stub.port, INJECT)) as gate:
        gate.server.stop(signal.SIGKILL)
        wait_until(lambda: len(found(gate)) == 2)
        code, lines = doctor(gate)
    assert code == 1
    assert "cannot be reached (Connection refused); start `extproc serve`" in lines[0]
    assert "extproc.sock is not healthy for Envoy" in lines[1]


def test_a_key_without_a_value_is_told(stub: Stub) -> None:
    limit = quota(100, key=['request.headers["x-team"]'])
    with gateway(policy(AUTHN, limit), backend(stub.port, INJECT)) as gate:
        assert gate.get("/unresolved").status == 403
        wait_until(lambda: bool(found(gate)))
        [line] = found(gate)
    assert "1 exchanges were denied since a key of a limit had no value (key_unresolved)" in line


@pytest.mark.skipif(BINARY is None, reason=MISSING)
@pytest.mark.parametrize(("workers", "required"), [(2, True), (1, False)], ids=["required", "open"])
def test_a_redis_that_goes_away(stub: Stub, tmp_path: Path, workers: int, required: bool) -> None:
    """It is named by the doctor and, if an exchange needs it, by /readyz; to Envoy the server is well all the time."""
    redis = RedisServer(tmp_path)
    limit = quota(100, window="1m")
    limit["config"]["store"] = "redis"
    limit["failOpen"] = not required
    settings = {"connections": {"redis": {"url": redis.url}}, "workers": workers}
    try:
        with gateway(policy(AUTHN, limit), backend(stub.port, INJECT), **settings) as gate:
            wait_until(lambda: ready(gate).status_code == 200)
            assert found(gate) == []
            redis.stop()
            wait_until(lambda: bool(found(gate)))
            if required:
                wait_until(lambda: ready(gate).text.count("redis: ") == workers)
                assert ready(gate).status_code == 503
                assert ready(gate).text.startswith("worker 0: redis: ")
            else:
                assert (ready(gate).status_code, ready(gate).text) == (200, "ok\n")
            lines = found(gate)
            assert len(lines) == 1, lines
            assert lines[0].startswith("dependency redis: ")
            assert ("exchanges that need it are denied" in lines[0]) is required
            assert gate.get("/redis").status == (503 if required else 200)
            redis.start()
            wait_until(lambda: ready(gate).status_code == 200 and found(gate) == [])
            assert gate.get("/redis").status == 200
    finally:
        redis.stop()


def ready(gate: Gateway) -> httpx.Response:
    return httpx.get(f"http://{gate.admin_port}/readyz")
