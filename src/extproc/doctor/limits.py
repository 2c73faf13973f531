"""Are Envoy's buffers large enough for what the server reads, and its timeouts longer than what the server may take?"""

from collections.abc import Iterator
from typing import Final

from extproc.doctor.finding import Code, Finding
from extproc.doctor.needs import Needs
from extproc.doctor.roads import Manager, Road
from extproc.doctor.tree import node, number

HEADERS_AND_ROOM: Final = 64 * 1024

DEFAULT_ANSWER: Final = 15
"""Seconds after which Envoy ends an answer where a route says nothing."""

DEFAULT_IDLE: Final = 300
"""Seconds, `stream_idle_timeout`. Zero is never, here and below."""

ROUTE_TIMEOUTS: Final = (
    ("timeout",),
    ("idle_timeout",),
    ("max_stream_duration", "max_stream_duration"),
    ("retry_policy", "per_try_timeout"),
)
"""Of a route's action: where each is found."""


def of_limits(manager: Manager, needs: Needs | None) -> Iterator[Finding]:
    """Of the connection manager, and of the routes that say it differently."""
    if needs is None:
        return
    if needs.any_body:
        yield from _of_buffers(manager, needs)
    yield from _of_manager(manager, needs)
    for road in manager.roads:
        yield from _of_route(road, needs)


def _of_buffers(manager: Manager, needs: Needs) -> Iterator[Finding]:
    """Does the largest body that an extension reads fit, after it has grown to twice its size? Envoy buffers both directions
    within the listener's limit, a request also within its route's (PROTOCOL 3).
    """
    wanted = 2 * needs.max_body_bytes + HEADERS_AND_ROOM
    own = [(road, limit) for road in manager.roads if (limit := _request_limit(road)) is not None]
    raised = len(own) == len(manager.roads) > 0 and all(limit >= wanted for _, limit in own)
    if manager.buffer_bytes < wanted and not (raised and not needs.response_body):
        read = f"and bodies of {needs.max_body_bytes} bytes are read"
        problem = f"per_connection_buffer_limit_bytes is {manager.buffer_bytes:.0f}, {read}"
        yield Finding(Code.MANAGER_BUFFER, manager.where, problem, f"set it to {wanted} or more")
    for road, limit in own:
        if limit < wanted and needs.request_body:
            problem = f"request_body_buffer_limit is {limit:.0f}, and bodies of {needs.max_body_bytes} bytes are read"
            yield Finding(Code.ROUTE_BUFFER, road.where, problem, f"set it to {wanted} or more, or remove it")


def _request_limit(road: Road) -> float | None:
    """The route's limit, else its virtual host's."""
    for place in (road.route, road.host):
        if "request_body_buffer_limit" in place:
            return number(place, "request_body_buffer_limit")
    return None


def _of_manager(manager: Manager, needs: Needs) -> Iterator[Finding]:
    options = node(manager.config, "common_http_protocol_options")
    for name, seconds in (
        ("stream_idle_timeout", number(manager.config, "stream_idle_timeout", default=DEFAULT_IDLE)),
        ("max_stream_duration", number(options, "max_stream_duration")),
    ):
        if 0 < seconds <= needs.budget:
            yield Finding(Code.MANAGER_TIMEOUT, manager.where, _too_short(name, seconds, needs), "set it to more")


def _of_route(road: Road, needs: Needs) -> Iterator[Finding]:
    if "timeout" not in road.action and "max_stream_duration" not in road.action:
        problem = f"it has no timeout of its own, and Envoy ends answers after {DEFAULT_ANSWER} s: a model may speak for longer"
        yield Finding(Code.ROUTE_TIMEOUT, road.where, problem, "set timeout to 0s, or to what you want")
    for steps in ROUTE_TIMEOUTS:
        seconds = number(road.action, *steps)
        if 0 < seconds <= needs.budget:
            yield Finding(
                Code.ROUTE_TIMEOUT, road.where, _too_short(steps[-1], seconds, needs), "set it to more, or to 0s"
            )


def _too_short(name: str, seconds: float, needs: Needs) -> str:
    return f"{name} is {seconds:g} s, and the server alone may take its budget of {needs.budget:g} s"
