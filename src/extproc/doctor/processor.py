"""Is the ext_proc filter configured so that nothing passes unjudged, and everything that is judged can be?"""

from collections.abc import Iterator
from typing import Final

from extproc.core import upstream
from extproc.doctor.finding import Code, Finding
from extproc.doctor.headers import of_forwarding, of_mutations
from extproc.doctor.needs import Needs
from extproc.doctor.recognize import UNTYPED
from extproc.doctor.tree import Json, node, nodes, number, word, words
from extproc.envoy.processor import NAMESPACE, REQUEST_ATTRIBUTES, RESPONSE_ATTRIBUTES

MESSAGE_TIMEOUT: Final = 0.2
"""Envoy's, where nothing is said (PROTOCOL 2.7)."""

ENVELOPE: Final = 64 * 1024
"""Bytes of a message around its body: what it says of headers."""

FORBIDDEN: Final = {
    "failure_mode_allow": (
        Code.FILTER_FAILURE_MODE,
        "whatever the server cannot answer passes unjudged",
        "set it to false",
    ),
    "observability_mode": (
        Code.FILTER_OBSERVING,
        "the server only watches, and nothing that it decides is done",
        "remove it",
    ),
    "disable_immediate_response": (Code.FILTER_NO_DENIALS, "no denial reaches the client", "remove it"),
    "send_body_without_waiting_for_header_response": (
        Code.FILTER_BODY_EARLY,
        "the server cannot choose the body modes",
        "remove it",
    ),
}
"""Fields that must not be true: the code, what they do, and what would be right."""

Setting = tuple[bool, Code, str, str]
"""Whether it is wrong; and if it is, the finding's code, problem and remedy."""


def of_filter(where: str, config: Json, needs: Needs | None) -> Iterator[Finding]:
    """The whole filter of the first pass, for a server with these needs."""
    yield from of_any(where, config, needs, REQUEST_ATTRIBUTES)
    yield from of_modes(where, node(config, "processing_mode"), needs)
    yield from of_size(where, config, needs)
    for name in RESPONSE_ATTRIBUTES:
        if name not in words(config, "response_attributes"):
            problem = (
                f"the server is not told {name}, and cannot tell an answer of Envoy's from one that went around it"
            )
            yield Finding(Code.FILTER_ATTRIBUTES, where, problem, "add it to response_attributes")
    yield from of_pass(where, nodes(config, "grpc_service", "initial_metadata"))
    yield from of_published(where, words(config, *UNTYPED), needs)
    yield from _found(where, _of_routing(config))


def of_any(where: str, config: Json, needs: Needs | None, attributes: tuple[str, ...]) -> Iterator[Finding]:
    """What is the same in both passes; `attributes` are those that the server must be told."""
    for name, (code, effect, right) in FORBIDDEN.items():
        if config.get(name) is True:
            yield Finding(code, where, f"{name} is true: {effect}", right)
    yield from _found(where, _of_answers(config))
    yield from of_told(where, config, attributes)
    yield from of_forwarding(where, node(config, "forward_rules"))
    yield from of_mutations(where, node(config, "mutation_rules"))
    timeout = number(config, "message_timeout", default=MESSAGE_TIMEOUT)
    if needs and timeout <= needs.budget:
        problem = f"message_timeout is {timeout:g} s, and the server may take its budget of {needs.budget:g} s"
        remedy = f"set it to more, for example {max(1.0, needs.budget + 0.2):g}s"
        yield Finding(Code.FILTER_TIMEOUT, where, problem, remedy)


def of_told(where: str, config: Json, attributes: tuple[str, ...]) -> Iterator[Finding]:
    """What the server must learn of an exchange, and what it may say of one."""
    for name in attributes:
        if name not in words(config, "request_attributes"):
            yield Finding(
                Code.FILTER_ATTRIBUTES, where, f"the server is not told {name}", "add it to request_attributes"
            )
    if NAMESPACE not in words(config, *UNTYPED):
        yield of_metadata(where)
    if "processing_request_modifier" in config:
        yield of_modifier(where)


def of_metadata(where: str) -> Finding:
    problem = "the server's metadata (peer, denial, skips) is not accepted"
    return Finding(
        Code.FILTER_METADATA, where, problem, f"add {NAMESPACE} to metadata_options.receiving_namespaces.untyped"
    )


def of_published(where: str, received: list[str], needs: Needs | None) -> Iterator[Finding]:
    """What other filters are to read beside that."""
    for name in needs.namespaces if needs else ():
        if name not in received:
            problem = f"what is published in {name} is not accepted: filters that count by it see nothing"
            remedy = f"add {name} to metadata_options.receiving_namespaces.untyped"
            yield Finding(Code.FILTER_METADATA, where, problem, remedy)


def of_modifier(where: str) -> Finding:
    problem = "processing_request_modifier changes what the server is told"
    return Finding(Code.FILTER_MODIFIER, where, problem, "remove it")


def of_modes(where: str, modes: Json, needs: Needs | None) -> Iterator[Finding]:
    """What the server is shown of an exchange."""
    yield from of_headers(where, modes)
    if modes.get("request_trailer_mode") != "SEND":
        problem = "request_trailer_mode is not SEND: trailers reach the destination as the caller sent them"
        yield Finding(Code.FILTER_TRAILERS, where, problem, "set it to SEND")
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
            yield Finding(Code.FILTER_HEADERS, where, f"{name} is SKIP: {why}", "set it to SEND")


def of_size(where: str, config: Json, needs: Needs | None) -> Iterator[Finding]:
    """Does an answer with the largest body, after it has grown to twice its size, reach Envoy?"""
    most = number(config, "grpc_service", "envoy_grpc", "max_receive_message_length")
    if needs is None or not needs.any_body or not most:
        return
    wanted = 2 * needs.max_body_bytes + ENVELOPE
    if most < wanted:
        grown = f"a body of {needs.max_body_bytes} bytes that grew"
        problem = f"max_receive_message_length is {most:.0f}, and an answer may hold {grown}"
        yield Finding(Code.FILTER_MESSAGE_SIZE, where, problem, f"set it to {wanted} or more, or remove it")


def of_pass(where: str, metadata: list[Json]) -> Iterator[Finding]:
    """The first pass must not call itself the second one."""
    if any(word(one, "key").lower() == upstream.PASS for one in metadata):
        problem = f"it sends {upstream.PASS}, by which the server takes it for the filter of a cluster"
        yield Finding(Code.FILTER_CLAIM, where, problem, "remove it from initial_metadata")


def _of_answers(config: Json) -> Iterator[Setting]:
    """How errors are answered, and what the server may choose."""
    yield (
        word(config, "status_on_error", "code") != "ServiceUnavailable",
        Code.FILTER_STATUS,
        "status_on_error is not 503: where the server fails, clients read an error of Envoy's own",
        "set it to {code: ServiceUnavailable}",
    )
    yield (
        config.get("allow_mode_override") is not True,
        Code.FILTER_OVERRIDES,
        "allow_mode_override is not true: bodies that no extension reads are buffered, and upgrades hang",
        "set it to true",
    )
    yield (
        bool(config.get("allowed_override_modes")),
        Code.FILTER_OVERRIDES,
        "allowed_override_modes narrows what the server may choose, in silence",
        "remove it",
    )
    yield (
        "http_service" in config,
        Code.FILTER_HTTP,
        "it asks over http_service, which this server does not speak",
        "replace it by grpc_service",
    )


def _of_routing(config: Json) -> Iterator[Setting]:
    yield (
        config.get("route_cache_action") == "CLEAR",
        Code.FILTER_ROUTE_CACHE,
        "route_cache_action is CLEAR: the route is chosen anew after it was judged, and a credential may go elsewhere",
        "remove it",
    )


def _found(where: str, settings: Iterator[Setting]) -> Iterator[Finding]:
    return (Finding(code, where, problem, remedy) for wrong, code, problem, remedy in settings if wrong)


def _body(where: str, name: str, modes: Json, *, needed: bool) -> Iterator[Finding]:
    mode = word(modes, name) or "NONE"
    if needed and mode == "NONE":
        problem = f"{name} is NONE, and an extension reads that body"
        yield Finding(Code.FILTER_BODY, where, problem, "set it to BUFFERED")
    elif mode not in ("NONE", "BUFFERED"):
        problem = f"{name} is {mode}, which this server refuses"
        yield Finding(Code.FILTER_BODY, where, problem, f"set it to {'BUFFERED' if needed else 'NONE'}")
