"""From two messages to what Envoy is told: the difference, and what must go with it."""

from typing import Any, Final

from extproc.core.chain import Chain
from extproc.core.event import BodyMode, Event, Outcome
from extproc.core.headers import Headers, difference
from extproc.core.message import Message, Request
from extproc.core.phase import Part, Phase
from extproc.core.secret import Secret
from extproc.core.values import replace
from extproc.core.verdict import Respond, deny

MOST_OPERATIONS: Final = 100
"""Envoy answers 500 to more header operations than that in one message (PROTOCOL 2.3)."""

STALE: Final = frozenset({"content-digest", "content-md5", "digest", "repr-digest", "etag"})
"""What describes the bytes of a body, and is wrong once they are others (RFC 9530, RFC 9110 section 8.8.3)."""


def changed(event: Event, before: Message, after: Message, **told: Any) -> Outcome | Respond:
    """What leads from `before` to `after`; `told` is what else Envoy is told with it.

    A body that changed takes content-length with it: Envoy answers 500 to a wrong one (PROTOCOL 2.4). A body where none was
    has no length to keep: it goes out chunked.
    """
    body = None if after.body == (before.body or b"") or after.body is None else after.body
    headers = after.headers if body is None else after.headers.without(STALE)
    change = difference(before.headers, headers)
    if body is not None and "content-length" in headers and event.part is Part.BODY:
        change = replace(change, set=(*change.set, ("content-length", (str(len(body)).encode(),))))
    if len(change) > MOST_OPERATIONS:
        return deny("bad_request", "more header changes than Envoy takes")
    path, hidden = _path_change(before, after)
    return Outcome(event.direction, event.part, change, path, hidden, body, **told)


def rewritten(headers: Headers) -> Headers:
    """The headers of a body that is rewritten as it passes: without what speaks of the old one."""
    return headers.without(STALE | {"content-length"})


def _path_change(before: Message, after: Message) -> tuple[str | None, tuple[tuple[str, Secret], ...]]:
    if not isinstance(before, Request) or not isinstance(after, Request):
        return None, ()
    if after.path == before.path and after.hidden_query == before.hidden_query:
        return None, ()
    return after.path, after.hidden_query


def modes_refused(configured: tuple[BodyMode, BodyMode] | None, chain: Chain) -> Respond | None:
    """503, if Envoy is configured with modes that this server does not speak or that are weaker than the chain needs."""
    modes = configured or (BodyMode.NONE, BodyMode.NONE)
    for mode, phase in zip(modes, (Phase.REQUEST_BODY, Phase.RESPONSE_BODY), strict=True):
        if mode not in (BodyMode.NONE, BodyMode.BUFFERED):
            return deny("policy_unavailable", f"Envoy is configured with {phase} mode {mode}, which is not served")
        if mode is BodyMode.NONE and chain.at(phase):
            return deny(
                "policy_unavailable", f"Envoy is configured with {phase} mode NONE, and the chain needs BUFFERED"
            )
    return None
