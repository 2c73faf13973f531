"""A real Envoy and the real server; and beside the governed listener one on the same route without ext_proc.

Everything runs on this machine at the same time, load and upstream included, so only ratios mean something. The upstream
is a third listener of the same Envoy that answers by itself.
"""

import copy
import http.client
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import yaml

from bench.process import running
from extproc.envoy.binary import command, find_envoy

CONFIGS = Path(__file__).parent / "configs"
PATIENCE = 20.0
"""Seconds for everything to be ready."""

HEADERS = {"Host": "localhost", "Authorization": "Bearer bench-token", "Content-Type": "application/json"}


@dataclass(frozen=True)
class Gateway:
    """One configuration, running: the ports with and without ext_proc, and the process ids of its two halves."""

    name: str
    governed: int
    direct: int
    server: int
    envoy: int

    def url(self, *, governed: bool) -> str:
        return f"http://127.0.0.1:{self.governed if governed else self.direct}/v1/chat/completions"


@contextmanager
def gateway(name: str, directory: Path, body: bytes) -> Iterator[Gateway]:
    """The configuration `name`, running until the block ends.

    Raises:
        RuntimeError: it does not get ready, or does not answer as it must.
    """
    governed, direct, upstream = _free_ports(3)
    config = write(name, directory, governed, upstream)
    extproc = [sys.executable, "-m", "extproc"]
    bootstrap = yaml.safe_load(_output([*extproc, "envoy", "--config", str(config)]))
    envoy_config = directory / "envoy.yaml"
    envoy_config.write_text(yaml.safe_dump(_with_direct(bootstrap, direct, upstream)))
    with ExitStack() as stack:
        server = stack.enter_context(running([*extproc, "serve", "--config", str(config)], directory / "server.log"))
        envoy = stack.enter_context(running(command(find_envoy({}), envoy_config), directory / "envoy.log"))
        _await_ok(direct, body, directory)
        _await_ok(governed, body, directory)
        yield Gateway(name, governed, direct, server, envoy)


def _output(argv: list[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)} ended with exit code {done.returncode}: {done.stderr}")
    return done.stdout


def write(name: str, directory: Path, port: int, upstream: int) -> Path:
    """The configuration with its ports and paths, and the files that it names."""
    template = Template((CONFIGS / f"{name}.yaml").read_text())
    config = directory / "extproc.yaml"
    config.write_text(template.substitute(run=directory, port=port, upstream=upstream))
    shutil.copy(CONFIGS / "tokens.yaml", directory)
    secrets = directory / "secrets" / "ai-workloads" / "default"
    secrets.mkdir(parents=True)
    (secrets / "api_key").write_text("sk-bench")
    return config


def _with_direct(bootstrap: dict[str, Any], direct: int, upstream: int) -> dict[str, Any]:
    """`bootstrap` with its listener once more, without the ext_proc filter; and with the upstream."""
    listeners = bootstrap["static_resources"]["listeners"]
    second = copy.deepcopy(listeners[0])
    second |= {"name": "direct", "address": _address(direct)}
    manager = second["filter_chains"][0]["filters"][0]["typed_config"]
    manager["http_filters"] = [each for each in manager["http_filters"] if "ext_proc" not in each["name"]]
    resources = {**bootstrap["static_resources"], "listeners": [*listeners, second, _upstream(manager, upstream)]}
    return {**bootstrap, "static_resources": resources}


def _upstream(manager: dict[str, Any], port: int) -> dict[str, Any]:
    """A listener that answers 200 to everything."""
    answer = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "{}"}}}
    answering = {
        "@type": manager["@type"],
        "stat_prefix": "upstream",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [answer]}]},
        "http_filters": manager["http_filters"],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": answering}]
    return {"name": "upstream", "address": _address(port), "filter_chains": [{"filters": filters}]}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _await_ok(port: int, body: bytes, directory: Path) -> None:
    """Wait until a request is answered with 200."""
    last: object = None
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            last = _status(port, body)
        except (OSError, http.client.HTTPException) as error:
            last = error
        if last == 200:
            return
        time.sleep(0.05)
    raise RuntimeError(
        f"port {port} does not answer 200 but {last}; the logs are {directory}/*.log:\n{_tail(directory)}"
    )


def _tail(directory: Path) -> str:
    return "\n".join(f"{log.name}: {log.read_text()[-2000:]}" for log in sorted(directory.glob("*.log")))


def _status(port: int, body: bytes) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("POST", "/v1/chat/completions", body, HEADERS)
        return connection.getresponse().status
    finally:
        connection.close()


def _free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        return [stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(number)]
