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
        "overload_manager": _overload(),
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
    paths = [{"safe_regex": {"regex": rf"{path}(/prometheus)?(\?.*)?"}} for path in ADMIN_PATHS]
    return {"address": address(plan.admin, mode=0o660), "allow_paths": paths}


def _overload() -> Json:
    """A ceiling on connections, which a gateway without one would reach only when it is out of file descriptors."""
    kind = "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    monitor = extension(
        "envoy.resource_monitors.global_downstream_max_connections", kind, max_active_downstream_connections=50_000
    )
    return {"resource_monitors": [monitor]}
