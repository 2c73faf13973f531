"""What a filter says: go on, perhaps with changes, or respond in the place of the upstream."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from extproc.core.headers import Value
from extproc.core.secret import Secret
from extproc.core.values import swift
from extproc.errors import Cause

HeaderValue = str | Value | Sequence[str | Value]
"""One value of a header, or all of them. They are read more than once, so an iterator will not do."""

NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


@swift
@dataclass(frozen=True, slots=True)
class Continue:
    """Go on, with these changes. What is not named stays as it is.

    Removals come before settings. `set_headers` replaces all values of a name. `body` (whole, in the body phases) replaces
    the body; the engine keeps content-length right. `facts` are values that later extensions find by their class;
    `state` is what this extension finds again in its own later phases; `report` goes into the dynamic metadata and
    the metrics: numbers and words about the exchange, never its content.
    """

    set_headers: Mapping[str, HeaderValue] = field(default_factory=dict)
    remove_headers: Iterable[str] = ()
    set_query: Mapping[str, str | Secret] = field(default_factory=dict)
    remove_query: Iterable[str] = ()
    body: bytes | None = field(default=None, repr=False)
    facts: tuple[object, ...] = ()
    state: object = None
    report: Mapping[str, int | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Respond:
    """Answer the client now: a denial, decided and final.

    `message` is what the client reads and is the same for every denial of its `code`; `reason` says more and goes to
    the log and to Envoy's response details only.
    """

    status: int
    code: str
    message: str
    headers: Mapping[str, HeaderValue] = field(default_factory=dict)
    reason: str = ""


Verdict = Continue | Respond

DENIALS: Final[Mapping[str, tuple[int, str]]] = MappingProxyType(
    {
        "bad_request": (400, "The request is not one that this gateway can route safely."),
        "unauthenticated": (401, "A valid workload token is required."),
        "forbidden": (403, "This workload may not use this gateway in this way."),
        "no_backend": (403, "This destination is not one that the gateway serves."),
        "backend_mismatch": (403, "The destination does not match the policy for this request."),
        "no_credential": (403, "There is no credential for this workload and destination."),
        "key_unresolved": (403, "A rate limit for this request could not be applied."),
        "pii_blocked": (403, "The request or its answer holds personal data that may not pass."),
        "body_unsupported": (415, "The content type of the body is not one that the gateway can inspect."),
        "rate_limited": (429, "Too many requests."),
        "policy_unavailable": (503, "A policy could not be evaluated. Try again later."),
        "policy_timeout": (504, "A policy could not be evaluated in time. Try again later."),
        "policy_error": (500, "A policy could not be evaluated."),
        "body_too_large": (413, "The body is larger than the gateway can inspect."),
        "body_malformed": (400, "The body could not be read as what its headers say it is."),
        "response_unprocessable": (502, "The answer of the destination could not be inspected."),
    }
)
"""Every code with its status and its one sentence (DESIGN section 6). Tests and docs read this table."""

FAILURES: Final[Mapping[Cause, str]] = MappingProxyType(
    {
        Cause.UNAVAILABLE: "policy_unavailable",
        Cause.TIMEOUT: "policy_timeout",
        Cause.UNSUPPORTED: "policy_unavailable",
        Cause.DEFECT: "policy_error",
        Cause.TOO_LARGE: "body_too_large",
        Cause.MALFORMED: "body_malformed",
        Cause.INTERRUPTED: "policy_error",
    }
)
"""What a failure that is not open answers."""


def deny(code: str, reason: str = "", headers: Mapping[str, HeaderValue] = NOTHING) -> Respond:
    """The denial that `DENIALS` has under `code`."""
    status, message = DENIALS[code]
    return Respond(status, code, message, headers, reason)


def answer_to(cause: Cause, *, in_response: bool, reason: str) -> Respond:
    """What the client gets for a failure that `failOpen` does not cover."""
    unprocessable = in_response and cause in (Cause.TOO_LARGE, Cause.MALFORMED)
    return deny("response_unprocessable" if unprocessable else FAILURES[cause], reason)
