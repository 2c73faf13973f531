"""Egress policy for Envoy. What a filter needs is here; what its tests need is in `extproc.testing`, and what it can ask of the
outside in `extproc.ports`.

These names are public, and change by the rules of docs/filters.md. Everything else may change with every version.
"""

from extproc.core.exchange import Exchange
from extproc.core.filter import (
    Authenticator,
    BodyFilter,
    BodyTransformer,
    Compensating,
    EndOfBody,
    Filter,
    Following,
    Reading,
    Rerouting,
    Settling,
    Streaming,
)
from extproc.core.headers import Headers
from extproc.core.message import Request, Response
from extproc.core.peer import Backend, Peer, Route
from extproc.core.phase import Phase
from extproc.core.secret import Secret
from extproc.core.verdict import Continue, Respond, Verdict, deny
from extproc.errors import Cause, ConfigError, Failure, Malformed, Place, TimedOut, TooLarge, Unavailable
from extproc.ports import FilterContext
from extproc.schema import Duration, Model

__version__ = "0.1.0"
__all__ = [
    "Authenticator",
    "Backend",
    "BodyFilter",
    "BodyTransformer",
    "Cause",
    "Compensating",
    "ConfigError",
    "Continue",
    "Duration",
    "EndOfBody",
    "Exchange",
    "Failure",
    "Filter",
    "FilterContext",
    "Following",
    "Headers",
    "Malformed",
    "Model",
    "Peer",
    "Phase",
    "Place",
    "Reading",
    "Request",
    "Rerouting",
    "Respond",
    "Response",
    "Route",
    "Secret",
    "Settling",
    "Streaming",
    "TimedOut",
    "TooLarge",
    "Unavailable",
    "Verdict",
    "deny",
]
