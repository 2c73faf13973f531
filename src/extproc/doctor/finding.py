"""What the doctor says: a code that stays, a place, a sentence, and what would be right."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

MOST_LETTERS: Final = 400
"""Of a text that somebody else wrote."""


class Code(StrEnum):
    """What kind of finding it is, for programs; each is explained in docs/doctor.md."""

    SERVER_SILENT = "server.silent"
    SERVER_NEEDS = "server.needs"
    SERVER_NOT_READY = "server.not-ready"
    SERVER_WORKER = "server.worker"
    SERVER_DEPENDENCY = "server.dependency"
    SERVER_DEGRADED = "server.degraded"
    SERVER_REFUSED = "server.configuration-refused"
    SERVER_GENERATIONS = "server.generations"
    SERVER_KEY = "server.key-unresolved"
    SERVER_MISMATCH = "server.backend-mismatch"
    SERVER_SOCKET = "server.socket"
    SERVER_CLOCK = "server.clock"
    SERVER_CERTIFICATE = "server.certificate"
    SERVER_CERTIFICATE_ENDS = "server.certificate-ends"
    ENVOY_SILENT = "envoy.silent"
    ENVOY_ADMIN = "envoy.admin-open"
    ENVOY_NO_LISTENER = "envoy.no-listener"
    ENVOY_VERSION = "envoy.version"
    ENVOY_RUNTIME = "envoy.runtime"
    ENVOY_UPDATE = "envoy.update-refused"
    FILTER_MISSING = "filter.missing"
    FILTER_DISABLED = "filter.disabled"
    FILTER_TWICE = "filter.twice"
    FILTER_CHAINED = "filter.chained"
    FILTER_FAILURE_MODE = "filter.failure-mode"
    FILTER_OBSERVING = "filter.observing"
    FILTER_NO_DENIALS = "filter.no-denials"
    FILTER_BODY_EARLY = "filter.body-early"
    FILTER_HTTP = "filter.http-service"
    FILTER_STATUS = "filter.status-on-error"
    FILTER_OVERRIDES = "filter.mode-override"
    FILTER_ATTRIBUTES = "filter.attributes"
    FILTER_MODIFIER = "filter.request-modifier"
    FILTER_FORWARD = "filter.forward-rules"
    FILTER_METADATA = "filter.metadata"
    FILTER_CLAIM = "filter.pass"
    FILTER_TIMEOUT = "filter.timeout"
    FILTER_HEADERS = "filter.headers-mode"
    FILTER_TRAILERS = "filter.trailers-mode"
    FILTER_BODY = "filter.body-mode"
    FILTER_MUTATIONS = "filter.mutations-refused"
    FILTER_MUTATIONS_OPEN = "filter.mutations-open"
    FILTER_ROUTE_CACHE = "filter.route-cache"
    FILTER_MESSAGE_SIZE = "filter.message-size"
    MANAGER_ADDRESS = "manager.caller-address"
    MANAGER_BUFFER = "manager.buffer"
    MANAGER_TIMEOUT = "manager.timeout"
    MANAGER_UPGRADE = "manager.upgrade"
    MANAGER_ROUTES = "manager.routes-pending"
    MANAGER_LOG = "manager.access-log"
    ROUTE_DISABLED = "route.disabled"
    ROUTE_UNCOVERED = "route.uncovered"
    ROUTE_FAILURE_MODE = "route.failure-mode"
    ROUTE_SERVER = "route.other-server"
    ROUTE_UNKNOWN = "route.unknown-filter"
    ROUTE_UNREAD = "route.unread"
    ROUTE_TIMEOUT = "route.timeout"
    ROUTE_BUFFER = "route.buffer"
    ROUTE_MIRROR = "route.mirror"
    HOST_UNROUTED = "host.unrouted"
    CLUSTER_MISSING = "cluster.missing"
    CLUSTER_BREAKER = "cluster.breaker"
    CLUSTER_EMPTY = "cluster.no-endpoint"
    CLUSTER_SICK = "cluster.unhealthy"
    CLUSTER_HTTP2 = "cluster.http2"
    CLUSTER_STREAMS = "cluster.streams"
    CLUSTER_KEEPALIVE = "cluster.keepalive"
    CLUSTER_PLAINTEXT = "cluster.plaintext"
    UPSTREAM_MISSING = "upstream.missing"
    UPSTREAM_METADATA = "upstream.metadata"
    UPSTREAM_CLAIM = "upstream.pass"
    UPSTREAM_BODY = "upstream.body-mode"
    TLS_MISSING = "tls.missing"
    TLS_UNVERIFIED = "tls.unverified"
    TLS_NAME = "tls.name-unchecked"
    TLS_ENDED = "tls.ended"
    TRAFFIC_UNJUDGED = "traffic.unjudged"
    TRAFFIC_ENDED = "traffic.ended"
    TRAFFIC_OVERFLOW = "traffic.overflow"


WARNINGS: Final = frozenset(
    {
        Code.SERVER_CERTIFICATE_ENDS, Code.SERVER_CLOCK, Code.SERVER_NEEDS, Code.ENVOY_UPDATE, Code.ENVOY_VERSION,
        Code.FILTER_CHAINED, Code.FILTER_METADATA, Code.FILTER_MUTATIONS_OPEN, Code.FILTER_STATUS, Code.MANAGER_ADDRESS,
        Code.MANAGER_ROUTES,
        Code.ROUTE_UNKNOWN, Code.ROUTE_UNREAD, Code.ROUTE_TIMEOUT, Code.HOST_UNROUTED, Code.CLUSTER_BREAKER,
        Code.CLUSTER_STREAMS, Code.CLUSTER_KEEPALIVE, Code.TRAFFIC_OVERFLOW,
    }
)  # fmt: skip
"""What may go well for now. All the rest lets something pass unjudged, gives something away, or denies what should pass."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be: where, what is wrong, and what would be right."""

    code: Code
    where: str
    problem: str
    remedy: str

    @property
    def severity(self) -> str:
        return "warning" if self.code in WARNINGS else "error"

    def __str__(self) -> str:
        """One line for a terminal, which nothing that somebody else wrote can make anything else of."""
        text = f"{self.where}: {self.problem}; {self.remedy} [{self.severity} {self.code}]"
        return "".join(each if each.isprintable() else "?" for each in text)

    def clipped(self) -> "Finding":
        """With texts of a bounded length."""
        where, problem, remedy = (_clipped(text) for text in (self.where, self.problem, self.remedy))
        return replace(self, where=where, problem=problem, remedy=remedy)

    def as_json(self) -> dict[str, str]:
        """For a program."""
        return {
            "code": self.code,
            "severity": self.severity,
            "where": self.where,
            "problem": self.problem,
            "remedy": self.remedy,
        }


def _clipped(text: str) -> str:
    return text if len(text) <= MOST_LETTERS else f"{text[:MOST_LETTERS]}..."
