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


@dataclass(frozen=True, slots=True)
class Engine:
    """What all exchanges of a process share. `mask` replaces what secrets hide in header values; `tell` gets the record of
    each exchange, and of each try, that has ended. `passports` and `tries` are there where the upstream pass is.
    """

    policy: Policy
    pace: Pace
    admission: Admission
    mask: Callable[[Headers, tuple[Secret, ...]], Headers]
    tell: Callable[[Record], None]
    passports: Passports | None = field(default=None, repr=False)
    tries: Tries | None = None
