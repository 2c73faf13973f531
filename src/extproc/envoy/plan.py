"""What a generated Envoy configuration is made from, as values that know neither our documents nor Envoy's."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from extproc.policy.names import Address


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS towards a Backend. `name` is asked for (SNI) and must be in the certificate; `ca` None means the system's.
    `cert` and `key` are there for mutual TLS.
    """

    name: str
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, slots=True)
class Certificate:
    """What the gateway shows to workloads that speak TLS to it."""

    cert: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Upstream:
    """One Backend as a cluster; `tls` None means plaintext. `internal`: its name may be one of the cluster's own. `backend` is
    what its endpoints are known by (namespace/name); `upstream_pass`: it carries the upstream filter.
    """

    cluster: str
    host: str
    port: int
    tls: Tls | None = None
    internal: bool = False
    backend: str = ""
    upstream_pass: bool = False

    @property
    def authority(self) -> str:
        """The Host that the Backend sees; its port only where it is not the scheme's own (RFC 9110 section 7.2)."""
        return self.host if self.port == (443 if self.tls else 80) else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Match:
    """What a request must be, all of it. `prefix` is matched by whole segments; an empty `exact` and `prefix` is any path."""

    exact: str = ""
    prefix: str = ""
    method: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    query: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a request is tried again after a connection that broke, or an answer of one of `codes`; `backoff` are the
    seconds before the second try.
    """

    attempts: int = 1
    codes: tuple[int, ...] = ()
    backoff: float | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """Requests that match go to one of `destinations`, by weight; or, with a `fallback` (the name of a cluster), to the first
    of them, and to the next at each retry. No destination: they are denied. `unread`: whichever it is, no extension reads
    bodies.
    """

    name: str
    match: Match = field(default_factory=Match)
    destinations: tuple[tuple[Upstream, int], ...] = ()
    retry: Retry | None = None
    fallback: str = ""
    unread: bool = False


@dataclass(frozen=True, slots=True)
class VirtualHost:
    """Hosts (`a.example`, or `*.example`) with their rules; the first that matches decides."""

    domains: tuple[str, ...]
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """A gateway. `sockets` are those of the ext_proc server's workers, `budget` the seconds that it has for one message;
    `max_body_bytes` is the largest body that an extension reads. `trailers` says whether any trailer of a request may pass.
    `certificate` None means plain HTTP; no `resolvers`: Backends are looked up where the machine looks up everything.
    `namespaces` are those of dynamic metadata that the server writes beside its own. `max_heap_bytes` None means that nothing
    but the system bounds Envoy's memory.
    """

    gateway: str
    listen: Address
    admin: Address
    sockets: tuple[Address, ...]
    request_body: bool = False
    response_body: bool = False
    max_body_bytes: int = 1024 * 1024
    trailers: bool = False
    budget: float = 0.8
    upstreams: tuple[Upstream, ...] = ()
    hosts: tuple[VirtualHost, ...] = ()
    system_ca: Path | None = None
    namespaces: tuple[str, ...] = ()
    certificate: Certificate | None = None
    resolvers: tuple[Address, ...] = ()
    max_heap_bytes: int | None = None

    @property
    def upstream_pass(self) -> bool:
        """Whether some cluster carries the upstream filter."""
        return any(upstream.upstream_pass for upstream in self.upstreams)

    @property
    def fallbacks(self) -> Mapping[str, tuple[Upstream, ...]]:
        """The clusters of several Backends, each tried after the one before it."""
        rules = [rule for host in self.hosts for rule in host.rules if rule.fallback]
        return {rule.fallback: tuple(upstream for upstream, _ in rule.destinations) for rule in rules}

    @property
    def message_timeout(self) -> float:
        """Seconds until Envoy gives up on an answer: later than the server does, who says why."""
        return max(1.0, round(self.budget + 0.2, 3))

    @property
    def buffer_bytes(self) -> int:
        """Room for a body of the largest size that grows to twice as much, and its headers."""
        return 2 * self.max_body_bytes + 64 * 1024


Json = Mapping[str, object]
"""A piece of Envoy's configuration, in the JSON form of its protobuf messages."""
