"""What all exchanges of a process share: the configuration as the engine asks it, time, and the gauges."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from extproc.core.admission import Admission
from extproc.core.chain import Chain
from extproc.core.event import Record
from extproc.core.headers import Headers
from extproc.core.link import Pace
from extproc.core.message import Request
from extproc.core.passport import Passports, Tries
from extproc.core.peer import Backend, Route
from extproc.core.publish import Publishing
from extproc.core.secret import Secret
from extproc.core.verdict import Respond

OURS: Final = "x-extproc-"
"""Headers of this prefix are ours: what a client sends under it is removed."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What the configuration has for a request. `tries` are the Backends (namespace/name) that Envoy may try it at, if any of
    them has an upstream pass.
    """

    chain: Chain
    route: Route | None = None
    backend: Backend | None = None
    tries: frozenset[str] = frozenset()


class Policy(Protocol):
    """The configuration as the engine asks it; immutable, so a session keeps the one it began with."""

    @property
    def gateway(self) -> str:
        """namespace/name."""
        ...

    @property
    def budget(self) -> float:
        """Seconds for the work on one message."""
        ...

    @property
    def identity_headers(self) -> frozenset[str]:
        """Removed from every request, before anybody looks."""
        ...

    @property
    def request_trailers(self) -> frozenset[str]:
        """Those that may pass."""
        ...

    def select(self, request: Request, cluster: str) -> Selection | Respond: ...


class Routing(Protocol):
    """The configuration as it is asked where extensions choose routes."""

    @property
    def routing_headers(self) -> frozenset[str]:
        """All headers by which some extension chooses routes: a caller's own are removed before anybody looks."""
        ...

    def select_again(self, request: Request) -> Selection | Respond | None:
        """As `Policy.select`, where Envoy has not said yet which cluster it is. None: no rule for this host depends on these
        headers, so what Envoy has chosen stands.
        """
        ...


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Engine:
    """What all exchanges of a process share. `mask` replaces what secrets hide in header values; `tell` gets the record of
    each exchange, and of each try, that has ended. `passports` and `tries` are there where the upstream pass is. `traces`: the
    records are to say when it began, and which trace it belongs to.
    """

    policy: Policy
    pace: Pace
    admission: Admission
    mask: Callable[[Headers, tuple[Secret, ...]], Headers]
    tell: Callable[[Record], None]
    passports: Passports | None = field(default=None, repr=False)
    tries: Tries | None = None
    routing: Routing | None = None
    """There where extensions choose routes."""
    publishing: Publishing | None = None
    traces: bool = False
    generation: str = ""
    """Names the configuration, in all processes of the gateway alike."""
    others: "Callable[[str], Engine | None] | None" = field(default=None, repr=False)
    """The engines of other configurations that exchanges may still be of, by their names."""

    def of(self, generation: str) -> "Engine":
        """The engine of that configuration, for an exchange that began with it; this one, if it is not there any more."""
        if generation == self.generation or self.others is None:
            return self
        return self.others(generation) or self
