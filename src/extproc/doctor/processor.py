"""Is the ext_proc filter configured so that nothing passes unjudged, and everything that is judged can be?"""

from collections.abc import Iterator
from typing import Final

from extproc.doctor.finding import Finding, Needs
from extproc.doctor.gateway import UNTYPED
from extproc.doctor.tree import Json, node, number, word, words
from extproc.envoy.processor import NAMESPACE, REQUEST_ATTRIBUTES

MESSAGE_TIMEOUT: Final = 0.2
"""Envoy's, where nothing is said (PROTOCOL 2.7)."""

HEADERS_AND_ROOM: Final = 64 * 1024

FORBIDDEN: Final = {
    "failure_mode_allow": ("whatever the server cannot answer passes unjudged", "set it to false"),
    "observability_mode": ("the server only watches, and nothing that it decides is done", "remove it"),
    "disable_immediate_response": ("no denial reaches the client", "remove it"),
    "send_body_without_waiting_for_header_response": ("the server cannot choose the body modes", "remove it"),
}
"""Fields that must not be true: what they do, and what would be right."""


def of_filter(where: str, config: Json, needs: Needs | None) -> Iterator[Finding]:
    """The whole filter, for a server with these needs."""
    yield from of_any(where, config, needs, REQUEST_ATTRIBUTES)
    yield from of_modes(where, node(config, "processing_mode"), needs)


def of_any(where: str, config: Json, needs: Needs | None, attributes: tuple[str, ...]) -> Iterator[Finding]:
    """What is the same in both passes; `attributes` are those that the server must be told."""
    yield from _forbidden(where, config)
    yield from _overrides(where, config)
    yield from _told(where, config, attributes)
    timeout = number(config, "message_timeout", default=MESSAGE_TIMEOUT)
    if needs and timeout <= needs.budget:
        problem = f"message_timeout is {timeout:g} s, and the server may take its budget of {needs.budget:g} s"
        yield Finding(where, problem, f"set it to more, for example {max(1.0, needs.budget + 0.2):g}s")


def of_modes(where: str, modes: Json, needs: Needs | None) -> Iterator[Finding]:
    """What the server is shown of an exchange."""
    yield from of_headers(where, modes)
    if modes.get("request_trailer_mode") != "SEND":
        problem = "request_trailer_mode is not SEND: trailers reach the destination as the caller sent them"
        yield Finding(where, problem, "set it to SEND")
    if needs:
        yield from _body(where, "request_body_mode", modes, needed=needs.request_body)
        yield from _body(where, "response_body_mode", modes, needed=needs.response_body)


def of_headers(where: str, modes: Json) -> Iterator[Finding]:
    """Whether it is shown the headers of both directions."""
    for name, why in (
        ("request_header_mode", "nothing is judged"),
        (
            "response_header_mode",
            "no extension of a response phase runs, and a credential that comes back is not masked",
        ),
    ):
        if modes.get(name) == "SKIP":
            yield Finding(where, f"{name} is SKIP: {why}", "set it to SEND")


def of_buffer(where: str, buffer_bytes: float, needs: Needs | None) -> Iterator[Finding]:
    """Does the largest body that an extension reads fit, after it has grown to twice its size?"""
    if needs is None or not (needs.request_body or needs.response_body):
        return
    wanted = 2 * needs.max_body_bytes + HEADERS_AND_ROOM
    if buffer_bytes < wanted:
        read = f"and bodies of {needs.max_body_bytes} bytes are read"
        problem = f"per_connection_buffer_limit_bytes is {buffer_bytes:.0f}, {read}"
        yield Finding(where, problem, f"set it to {wanted} or more")


def _forbidden(where: str, config: Json) -> Iterator[Finding]:
    for name, (effect, right) in FORBIDDEN.items():
        if config.get(name) is True:
            yield Finding(where, f"{name} is true: {effect}", right)
    if word(config, "status_on_error", "code") != "ServiceUnavailable":
        problem = "status_on_error is not 503: where the server fails, clients read an error of Envoy's own"
        yield Finding(where, problem, "set it to {code: ServiceUnavailable}")


def _overrides(where: str, config: Json) -> Iterator[Finding]:
    if config.get("allow_mode_override") is not True:
        problem = "allow_mode_override is not true: bodies that no extension reads are buffered, and upgrades hang"
        yield Finding(where, problem, "set it to true")
    if config.get("allowed_override_modes"):
        yield Finding(where, "allowed_override_modes narrows what the server may choose, in silence", "remove it")


def _told(where: str, config: Json, attributes: tuple[str, ...]) -> Iterator[Finding]:
    """What the server must learn of an exchange, and what it may say of one."""
    for name in attributes:
        if name not in words(config, "request_attributes"):
            yield Finding(where, f"the server is not told {name}", "add it to request_attributes")
    if config.get("forward_rules"):
        yield Finding(where, "forward_rules hides headers from the server", "remove it")
    if NAMESPACE not in words(config, *UNTYPED):
        problem = "the server's metadata (peer, denial, skips) is not accepted"
        yield Finding(where, problem, f"add {NAMESPACE} to metadata_options.receiving_namespaces.untyped")


def _body(where: str, name: str, modes: Json, *, needed: bool) -> Iterator[Finding]:
    mode = word(modes, name) or "NONE"
    if needed and mode == "NONE":
        yield Finding(where, f"{name} is NONE, and an extension reads that body", "set it to BUFFERED")
    elif mode not in ("NONE", "BUFFERED"):
        yield Finding(
            where, f"{name} is {mode}, which this server refuses", f"set it to {'BUFFERED' if needed else 'NONE'}"
        )
