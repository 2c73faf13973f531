"""What is known of the Envoy that runs: its version with the faults that matter here, its runtime flags, who may steer it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from extproc.doctor.dump import Dump
from extproc.doctor.finding import Code, Finding
from extproc.doctor.tree import Json, node, nodes, number, word
from extproc.policy.names import Address

Version = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Fault:
    """`fixed` are the first versions without it, one for each branch that got the fix; branches after the last of them never
    had it. `since` is the first version with it.
    """

    what: str
    source: str
    fixed: tuple[Version, ...]
    since: Version = (0, 0, 0)

    def affects(self, version: Version) -> bool:
        if version < self.since:
            return False
        branches = {each[:2]: each for each in self.fixed}
        return version < branches.get(version[:2], min(self.fixed))


FAULTS: Final = (
    Fault(
        "it does not tell the server its body modes, and every exchange whose body is read is answered 503",
        "envoy#38755, new in 1.34.0 of 15 April 2025",
        ((1, 34, 0),),
    ),
    Fault(
        "it crashes when a reply of its own meets the filter",
        "CVE-2025-30157, 20 March 2025",
        ((1, 30, 10), (1, 31, 6), (1, 32, 4), (1, 33, 1)),
    ),
    Fault(
        "several answers in one gRPC message crash it",
        "CVE-2026-47207, 23 June 2026",
        ((1, 35, 13), (1, 36, 9), (1, 37, 5), (1, 38, 3)),
    ),
    Fault(
        "a stream to the server that is reset while it is being reset is used after its end, and crashes it",
        "release notes of 1.39.1, 27 August 2026",
        ((1, 39, 1),),
        since=(1, 39, 0),
    ),
)
"""Faults of ext_proc that this server's gateways meet, as of October 2026, each with its source."""

FLAG: Final = "envoy.reloadable_features."
FLAGS: Final[Mapping[str, tuple[bool, str, str]]] = {
    "ext_proc_graceful_grpc_close": (
        True,
        "Envoy 1.40.0 crashed with it when it was told to end",
        "leave it at its default, false",
    ),
    "ext_proc_fail_close_spurious_resp": (
        False,
        "an answer out of its turn lets the request pass unjudged",
        "leave it at its default, true",
    ),
}
"""Runtime flags: the value that must not be, what it does, what would be right (PROTOCOL 1.1 and 2.9)."""


def version_of(dump: Dump) -> Version | None:
    """Envoy leaves out a part that is zero."""
    told = node(dump.bootstrap, "node", "user_agent_build_version", "version")
    major, minor, patch = (int(number(told, f"{part}")) for part in ("major_number", "minor_number", "patch"))
    return (major, minor, patch) if major else None


def of_version(version: Version | None) -> Iterator[Finding]:
    """The faults that it has."""
    for fault in FAULTS:
        if version and fault.affects(version):
            own = next((each for each in fault.fixed if each[:2] == version[:2]), max(fault.fixed))
            remedy = f"update it to {shown(own)} or later"
            yield Finding(Code.ENVOY_VERSION, f"Envoy {shown(version)}", f"{fault.what} ({fault.source})", remedy)


def of_runtime(dump: Dump) -> Iterator[Finding]:
    """Flags of the bootstrap; the last layer counts."""
    told: dict[str, object] = {}
    for layer in nodes(dump.bootstrap, "layered_runtime", "layers"):
        told |= _flat(node(layer, "static_layer"))
    for name, (wrong, effect, right) in FLAGS.items():
        if f"{FLAG}{name}" in told and _is_on(told[f"{FLAG}{name}"]) is wrong:
            problem = f"{name} is {str(wrong).lower()}: {effect}"
            yield Finding(Code.ENVOY_RUNTIME, "Envoy's runtime", problem, right)


def of_admin(dump: Dump) -> Iterator[Finding]:
    """Who reaches the admin port reads everything, and can stop Envoy or empty its lists."""
    host = word(dump.bootstrap, "admin", "address", "socket_address", "address")
    mode = int(number(dump.bootstrap, "admin", "address", "pipe", "mode"))
    where = "Envoy's admin port"
    if host and not Address(host=host).loopback:
        problem = f"it listens on {host}, where others reach it: they can read Envoy's configuration, and steer it"
        yield Finding(Code.ENVOY_ADMIN, where, problem, "set admin.address to 127.0.0.1, or to a Unix socket")
    if mode & 0o002:
        problem = f"its socket has mode {mode:o}: every user of the machine can steer Envoy"
        yield Finding(Code.ENVOY_ADMIN, where, problem, "set admin.address.pipe.mode to 432, which is 0660")


def of_refused(dump: Dump) -> Iterator[Finding]:
    """What a control plane sent and Envoy did not take over."""
    for what, details in dump.refused:
        problem = f"Envoy refused the last update and goes on with what it had: {details}"
        yield Finding(Code.ENVOY_UPDATE, what, problem, "correct what the control plane sends")


def _flat(layer: Json, prefix: str = "", depth: int = 0) -> dict[str, object]:
    """`{a: {b: 1}}` and `{"a.b": 1}` are the same to Envoy."""
    found: dict[str, object] = {}
    for name, value in layer.items():
        if isinstance(value, dict) and depth < 5:
            found |= _flat(value, f"{prefix}{name}.", depth + 1)
        else:
            found[f"{prefix}{name}"] = value
    return found


def _is_on(value: object) -> bool:
    return value in (True, "true", "1")


def shown(version: Version) -> str:
    """As people write it."""
    return ".".join(map(str, version))
