"""What Envoy tells and what it is answered, as values: the border between the engine and the wire."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from extproc.core.headers import NO_CHANGE, HeaderChange, Headers
from extproc.core.journal import Decision, Skip
from extproc.core.phase import Direction, Part
from extproc.core.secret import Secret
from extproc.core.trace import Trace
from extproc.core.values import swift
from extproc.core.verdict import Respond


class BodyMode(StrEnum):
    """How Envoy sends a body; the names of its own enum."""

    NONE = "NONE"
    STREAMED = "STREAMED"
    BUFFERED = "BUFFERED"
    BUFFERED_PARTIAL = "BUFFERED_PARTIAL"
    FULL_DUPLEX_STREAMED = "FULL_DUPLEX_STREAMED"
    GRPC = "GRPC"


@swift
@dataclass(frozen=True, slots=True)
class Event:
    """One message from Envoy. `fields` are the header or trailer fields, pseudo fields included; `attributes` those that
    the generated configuration asks for. `configured` are the body modes (request, response) in force, and ride on the
    first message of a stream only. `passport` is what the downstream pass left for the upstream pass.
    """

    direction: Direction
    part: Part
    fields: Headers = field(default_factory=Headers)
    body: bytes = field(default=b"", repr=False)
    end: bool = False
    attributes: Mapping[str, str] = field(default_factory=dict)
    configured: tuple[BodyMode, BodyMode] | None = None
    passport: str = field(default="", repr=False)


class Modes(NamedTuple):
    """A whole `mode_override`: what is not said would mean NONE to Envoy (PROTOCOL 2.6). Request trailers always come, so
    that they can be removed.
    """

    request_body: BodyMode = BodyMode.NONE
    response_headers: bool = False
    response_body: BodyMode = BodyMode.NONE
    response_trailers: bool = False


@swift
@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to one event. With `respond` the client gets that and nothing else counts; else the message goes on with
    these changes. `body` None leaves the body alone. `path` is the new request target, `hidden_query` belongs to its end.
    `end` is there only where bodies are streamed both ways: whether this piece is the last. `reroute`: Envoy chooses the route
    anew.
    """

    direction: Direction
    part: Part
    change: HeaderChange = NO_CHANGE
    path: str | None = None
    hidden_query: tuple[tuple[str, Secret], ...] = ()
    body: bytes | None = field(default=None, repr=False)
    end: bool | None = None
    modes: Modes | None = None
    metadata: Mapping[str, Any] | None = None
    reroute: bool = False
    respond: Respond | None = None
    request_id: str = ""
    passport: str = field(default="", repr=False)


@swift
@dataclass(frozen=True, slots=True)
class Record:
    """What is told of an exchange when it has ended: names and words, never a header, a body or a secret. `is_try`: it is
    told of one try in the upstream pass; the exchange itself is told of by the downstream pass. `began` (as `Pace.now` tells)
    and `trace` are there where traces are wanted.
    """

    gateway: str
    route: str = ""
    backend: str = ""
    namespace: str = ""
    service_account: str = ""
    request_id: str = ""
    code: str = ""
    reason: str = ""
    extension: str = ""
    phase: str = ""
    failure: str = ""
    decisions: tuple[Decision, ...] = ()
    skips: tuple[Skip, ...] = ()
    unsettled: tuple[Skip, ...] = ()
    reports: Mapping[str, Mapping[str, int | str]] = field(default_factory=dict)
    is_try: bool = False
    began: float = 0.0
    trace: Trace | None = None
    request_bytes: int = 0
    response_bytes: int = 0
