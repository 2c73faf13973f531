"""The whole bootstrap, from a plan; and its text."""

import re
from pathlib import Path
from typing import Final

import yaml

from extproc.envoy.clusters import backend_cluster, ext_proc_cluster, fallback_cluster
from extproc.envoy.listener import listener
from extproc.envoy.plan import Json, Plan
from extproc.envoy.shape import address, extension

ADMIN_PATHS: Final = ("/ready", "/listeners", "/clusters", "/stats", "/config_dump")
"""What operators, `extproc run` and `extproc doctor` read. Nothing that changes Envoy; of keys the dump has only the files."""

LEAVE: Final = "/healthcheck/fail"
"""Has Envoy end each connection after its next answer, and goes on serving: what a pod says before it ends. Only where the file
system guards the port: a page in a browser of this machine could say it to a TCP port.
"""

HEAP: Final = "envoy.resource_monitors.fixed_heap"

SYSTEM_CA: Final = (
    Path("/etc/ssl/certs/ca-certificates.crt"),
    Path("/etc/pki/tls/certs/ca-bundle.crt"),
    Path("/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"),
    Path("/etc/ssl/ca-bundle.pem"),
    Path("/etc/ssl/cert.pem"),
)
"""Where Debian, Fedora, RHEL, SUSE and Alpine keep the authorities that they trust."""


WORD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]+")
AMBIGUOUS: Final = frozenset({"yes", "no", "on", "off", "true", "false", "null", "inf", "nan"})


def bootstrap(plan: Plan) -> Json:
    """Envoy's bootstrap.

    Raises:
        ConfigError: the plan asks for what a generated configuration cannot give.
    """
    clusters = [
        ext_proc_cluster(plan),
        *(backend_cluster(upstream, plan) for upstream in plan.upstreams),
        *(fallback_cluster(name, upstreams, plan) for name, upstreams in plan.fallbacks.items()),
    ]
    return {
        "node": {"id": "egress-gateway", "cluster": plan.gateway},
        "admin": _admin(plan),
        "static_resources": {"listeners": [listener(plan)], "clusters": clusters},
        "overload_manager": _overload(plan),
    }


def text(config: Json) -> str:
    """`config` as YAML without aliases, in its own order."""
    return yaml.dump(config, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=120)


def system_ca() -> Path | None:
    """The file of the system's certificate authorities, if it is in one of the usual places."""
    return next((path for path in SYSTEM_CA if path.is_file()), None)


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - the base class's signature
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        """Without quotes only what is a word in every version of YAML: Envoy's reads `N` and `y` as booleans, PyYAML's does
        not, and they differ in what is a number.
        """
        plain = WORD.fullmatch(data) and data.lower() not in AMBIGUOUS
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=None if plain else '"')


_Plain.add_representer(str, _Plain.represent_str)


def _admin(plan: Plan) -> Json:
    read = [{"safe_regex": {"regex": rf"{path}(/prometheus)?(\?.*)?"}} for path in ADMIN_PATHS]
    leave = [{"exact": LEAVE}] if plan.admin.path else []
    return {"address": address(plan.admin, mode=0o660), "allow_paths": [*read, *leave]}


def _overload(plan: Plan) -> Json:
    """Ceilings: on connections, which a gateway without one would reach only when it is out of file descriptors; and on memory,
    if one is given. Near that Envoy gives back what is free, then answers 503 to what is new: what is open goes on, where the
    system's end of memory would end all of it. As Envoy advises ("Configuring Envoy as an edge proxy").
    """
    kind = "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    connections = extension(
        "envoy.resource_monitors.global_downstream_max_connections", kind, max_active_downstream_connections=50_000
    )
    if plan.max_heap_bytes is None:
        return {"resource_monitors": [connections]}
    heap = extension(
        HEAP,
        "envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig",
        max_heap_size_bytes=plan.max_heap_bytes,
    )
    actions = [_when_full("shrink_heap", 0.9), _when_full("stop_accepting_requests", 0.95)]
    return {"refresh_interval": "0.25s", "resource_monitors": [connections, heap], "actions": actions}


def _when_full(action: str, share: float) -> Json:
    """What Envoy does while this share of its heap is taken."""
    return {"name": f"envoy.overload_actions.{action}", "triggers": [{"name": HEAP, "threshold": {"value": share}}]}
