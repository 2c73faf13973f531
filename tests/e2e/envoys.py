"""A real Envoy on a generated configuration."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from extproc.envoy.binary import command, find_envoy
from extproc.envoy.bootstrap import bootstrap, text
from extproc.envoy.plan import Match, Plan, Rule, Upstream, VirtualHost
from extproc.policy.names import Address
from tests.e2e.processes import Process, envoy_live, free_port


@dataclass
class Envoy:
    """A running one: the port that clients use, and its admin socket."""

    port: int
    admin: Path
    process: Process


def simple_plan(directory: Path, upstream_port: int, **changes: object) -> Plan:
    """One Backend, `localhost`, that gets everything."""
    upstream = Upstream("egress/stub", "localhost", upstream_port)
    values: dict = {
        "gateway": "egress/egress",
        "budget": 2.8,  # a scripted server on a busy machine is slow, and not late
        "listen": Address(host="127.0.0.1", port=free_port()),
        "admin": Address(path=directory / "admin.sock"),
        "sockets": (Address(path=directory / "extproc.sock"),),
        "upstreams": (upstream,),
        "hosts": (VirtualHost(("localhost",), (Rule("all", Match(), ((upstream, 1),)),)),),
    }
    return Plan(**{**values, **changes})


@contextmanager
def envoy(plan: Plan, directory: Path, name: str = "envoy") -> Iterator[Envoy]:
    """Start it, and end it."""
    config = directory / f"{name}.yaml"
    config.write_text(text(bootstrap(plan)))
    process = Process(command(find_envoy(os.environ), config, concurrency=1), directory / f"{name}.log")
    admin = plan.admin.path
    assert admin is not None
    try:
        process.wait_until(lambda: envoy_live(admin))
        yield Envoy(plan.listen.port, admin, process)
    finally:
        process.stop()
