"""The few shapes that recur all over an Envoy configuration."""

from pathlib import Path

from extproc.envoy.plan import Json
from extproc.policy.names import Address

TYPE_URL = "type.googleapis.com/"


def typed(kind: str, **fields: object) -> Json:
    """A message with its type, as `typed_config` wants it."""
    return {"@type": TYPE_URL + kind, **fields}


def extension(name: str, kind: str, **fields: object) -> Json:
    """A named extension point and its configuration."""
    return {"name": name, "typed_config": typed(kind, **fields)}


def address(where: Address, *, mode: int | None = None) -> Json:
    """Envoy's address; `mode` are the permissions of a Unix socket that Envoy makes."""
    if where.path:
        return {"pipe": {"path": str(where.path), **({"mode": mode} if mode is not None else {})}}
    return {"socket_address": {"address": where.host, "port_value": where.port}}


def endpoint(where: Json, hostname: str = "", metadata: Json | None = None) -> Json:
    """One endpoint of a cluster."""
    named = {"hostname": hostname} if hostname else {}
    return {"endpoint": {"address": where, **named}, **({"metadata": metadata} if metadata else {})}


def file(path: Path) -> Json:
    """A data source that Envoy reads itself: what is in the file is not in the configuration."""
    return {"filename": str(path)}
