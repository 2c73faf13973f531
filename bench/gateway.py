"""A real Envoy and a server; and beside the governed listener one on the same route without ext_proc.

Everything runs on this machine at the same time, load and upstream included, so only ratios mean something. The upstream
is a third listener of the same Envoy that answers by itself, unless another one is named.
"""

import copy
import http.client
import shutil
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from bench.legs import Leg, Server, serving
from bench.process import alive, running
from extproc.compose import configure
from extproc.envoy.binary import command, find_envoy
from extproc.envoy.bootstrap import bootstrap, text
from extproc.envoy.inprocess import inprocess
from extproc.envoy.python import interpreter
from extproc.envoy.resolved import plan_of
from extproc.errors import ConfigError
from extproc.hosting import inside

CONFIGS = Path(__file__).parent / "configs"
PATIENCE = 20.0
"""Seconds for everything to be ready."""

PATH = "/v1/chat/completions"
HEADERS = {"Host": "localhost", "Authorization": "Bearer bench-token", "Content-Type": "application/json"}


READS = {
    "name": "buffer",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer",
        "max_request_bytes": 16 * 1024 * 1024,
    },
}
"""The filter of an upstream that reads a request to its end."""


@dataclass(frozen=True)
class Gateway:
    """One leg, running: the ports with and without ext_proc, and the process ids. In-process there is no server of its own."""

    leg: Leg
    governed: int
    direct: int
    server: int | None
    envoy: int


@contextmanager
def gateway(
    leg: Leg, directory: Path, body: bytes, *, redis: str | None = None, upstream: int | None = None
) -> Iterator[Gateway]:
    """`leg` with an Envoy in front of it, running until the block ends. `redis` is the URL of one; `upstream` the port of
    another upstream than Envoy itself.

    Raises:
        RuntimeError: it does not get ready, or does not answer as it must.
    """
    governed, direct, own = free_ports(3)
    config = write(leg.config, directory, governed, upstream or own, redis if leg.redis else None, leg.workers)
    config_of_envoy, environment = _bootstrap(leg, config)
    envoy_config = directory / "envoy.yaml"
    envoy_config.write_text(text(_with_direct(config_of_envoy, direct, None if upstream else own)))
    with ExitStack() as stack:
        server = stack.enter_context(serving(leg, directory, config))
        argv = command(find_envoy({}), envoy_config)
        envoy = stack.enter_context(running(argv, directory / "envoy.log", environment))
        pids = [pid for pid in (server, envoy) if pid]
        _await_ok(direct, body, directory, pids)
        _await_ok(governed, body, directory, pids)
        yield Gateway(leg, governed, direct, server, envoy)


def write(name: str, directory: Path, port: int, upstream: int, redis: str | None = None, workers: int = 1) -> Path:
    """The configuration with its ports and paths, and the files that it names."""
    template = Template((CONFIGS / f"{name}.yaml").read_text())
    config = directory / "extproc.yaml"
    connections = f"{{redis: {{url: {redis}, timeout: 200ms}}}}" if redis else "{}"
    store = "redis" if redis else "memory"
    config.write_text(
        template.substitute(
            run=directory, port=port, upstream=upstream, connections=connections, store=store, workers=workers
        )
    )
    shutil.copy(CONFIGS / "tokens.yaml", directory)
    secrets = directory / "secrets" / "ai-workloads" / "default"
    secrets.mkdir(parents=True, exist_ok=True)
    (secrets / "api_key").write_text("sk-bench")
    return config


def written(name: str, directory: Path) -> Path:
    """The configuration `name` for a server that no Envoy stands before."""
    port, upstream = free_ports(2)
    return write(name, directory, port, upstream)


def free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        return [stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(number)]


def _bootstrap(leg: Leg, config: Path) -> tuple[Mapping[str, Any], Mapping[str, str]]:
    """Envoy's configuration, and what its environment must have. Raises: RuntimeError."""
    plan = plan_of(configure(config))
    if leg.server is not Server.INSIDE:
        return bootstrap(plan), {}
    try:
        return inprocess(plan), {**interpreter(), **inside(config)}
    except ConfigError as error:  # what it needs is not installed
        raise RuntimeError(str(error)) from None


def _with_direct(config: Mapping[str, Any], direct: int, upstream: int | None) -> dict[str, Any]:
    """`config` with its listener once more, without the ext_proc filter; and with the upstream."""
    listeners = config["static_resources"]["listeners"]
    second = copy.deepcopy(listeners[0])
    second |= {"name": "direct", "address": _address(direct)}
    manager = second["filter_chains"][0]["filters"][0]["typed_config"]
    manager["http_filters"] = [each for each in manager["http_filters"] if "ext_proc" not in each["name"]]
    own = [_upstream(manager, upstream)] if upstream else []
    resources = {**config["static_resources"], "listeners": [*listeners, second, *own]}
    return {**config, "static_resources": resources}


def _upstream(manager: dict[str, Any], port: int) -> dict[str, Any]:
    """A listener that answers 200 to everything, once it has read it: Envoy closes the connection of who is answered sooner."""
    answer = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "{}"}}}
    answering = {
        "@type": manager["@type"],
        "stat_prefix": "upstream",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [answer]}]},
        "http_filters": [READS, *manager["http_filters"]],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": answering}]
    return {"name": "upstream", "address": _address(port), "filter_chains": [{"filters": filters}]}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _await_ok(port: int, body: bytes, directory: Path, pids: Sequence[int]) -> None:
    """Wait until a request is answered with 200, unless one of `pids` ends. Raises: RuntimeError."""
    last: object = None
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and all(map(alive, pids)):
        try:
            last = _status(port, body)
        except (OSError, http.client.HTTPException) as error:
            last = error
        if last == 200:
            return
        time.sleep(0.05)
    raise RuntimeError(f"port {port} does not answer 200 but {last}; the logs end with:\n{tail(directory)}")


def tail(directory: Path) -> str:
    return "\n".join(f"{log.name}: {log.read_text()[-1000:]}" for log in sorted(directory.glob("*.log")))


def _status(port: int, body: bytes) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("POST", PATH, body, HEADERS)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()
