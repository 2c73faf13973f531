"""Which trace a request says that it belongs to (W3C Trace Context, https://www.w3.org/TR/trace-context/)."""

import re
from typing import Final, NamedTuple

from extproc.core.headers import Headers

PARENT: Final = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-[\x20-\x7e]{0,200})?"
)
"""`traceparent`: version, trace, parent and flags, in lower case; what a later version than 00 adds stands behind a hyphen."""

STATE: Final = re.compile(rb"[\t\x20-\x7e]{1,512}")
"""`tracestate`: as much of it as everybody must be able to pass on (section 3.3.1.5). What is longer is left out whole."""

KNOWN_FLAGS: Final = 0b11
"""Sampled, and that the trace id is random."""


class Trace(NamedTuple):
    """The parent that a request names, as it was written: hexadecimal ids, the flags that are known, and `tracestate`."""

    trace_id: str
    parent_id: str
    flags: int = 0
    state: str = ""


def trace_of(fields: Headers) -> Trace | None:
    """None if the request names none, or not as the specification says: it then counts as one that has none (section 4.3)."""
    given = fields.values("traceparent")
    found = PARENT.fullmatch(given[0]) if len(given) == 1 and isinstance(given[0], bytes) else None
    if found is None or (found[5] and found[1] == b"00"):
        return None
    states = [value for value in fields.values("tracestate") if isinstance(value, bytes)]
    state = STATE.fullmatch(b",".join(states))
    ids = found[2].decode(), found[3].decode()
    return Trace(*ids, int(found[4], 16) & KNOWN_FLAGS, state[0].decode() if state else "")
