"""Envoy's own errors in the JSON of our denials (DESIGN section 6), and the access log."""

from dataclasses import dataclass
from typing import Final

from extproc.core.verdict import DENIALS
from extproc.envoy.plan import Json
from extproc.envoy.shape import extension, typed

OURS: Final = "extproc_"
"""What the response details of the server's own answers begin with: those are JSON already."""

OTHERS: Final = {
    "backend_unavailable": "The destination could not be reached.",
    "backend_timeout": "The destination did not answer in time.",
    "request_timeout": "The request did not arrive in time.",
    "headers_too_large": "The headers are larger than the gateway takes.",
    "gateway_error": "The gateway could not serve the request.",
}
"""Codes for what no policy decided, beside those of `DENIALS`."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A local reply of Envoy for which `when` (CEL) holds is answered with `code`, and `status` if that is not 0."""

    when: str
    code: str
    status: int = 0


DETAILS: Final = "response.code_details"
POLICY: Final = " || ".join(
    f"{DETAILS}.startsWith('{words}')"
    for words in ("ext_proc", "header_mutation", "mismatch_between", "spurious_message", "unhandled_")
)
"""Envoy's words for a server that is away, fails, or says what it may not (PROTOCOL 1.4, 2.3, 2.4)."""

CROWDED: Final = f"{DETAILS} == 'header_mutation_result_exceeds_limit'"
"""A message came with so many headers that those which the server adds are too many."""

REPLIES: Final = (
    Reply(f"{DETAILS} == 'direct_response' || {DETAILS} == 'route_not_found'", "no_backend", 403),
    Reply(f"{DETAILS}.contains('message_timeout_exceeded')", "policy_timeout", 504),
    Reply(f"{CROWDED} && has(upstream.address)", "response_unprocessable", 502),
    Reply(CROWDED, "headers_too_large", 431),
    Reply(POLICY, "policy_unavailable", 503),
    Reply(f"{DETAILS} == 'request_payload_too_large'", "body_too_large", 413),
    Reply(f"{DETAILS} == 'response_payload_too_large'", "response_unprocessable", 502),
    Reply(f"{DETAILS} == 'overload'", "gateway_error"),
    Reply("response.code == 403", "forbidden"),
    Reply("response.code == 408", "request_timeout"),
    Reply("response.code == 431", "headers_too_large"),
    Reply("response.code >= 400 && response.code < 500", "bad_request"),
    Reply("response.code == 500", "policy_error"),
    Reply("response.code == 504", "backend_timeout"),
    Reply("response.code == 502 || response.code == 503", "backend_unavailable"),
    Reply("response.code >= 500", "gateway_error"),
)
"""The first that holds decides."""


def local_replies() -> Json:
    """What a client reads when Envoy itself answers. The server's own answers stay as they are."""
    ours = {"filter": _when(f"{DETAILS}.startsWith('{OURS}')"), "body_format_override": _as_it_is()}
    return {"mappers": [ours, *map(_mapper, REPLIES)]}


def message_of(code: str) -> str:
    """The one sentence of `code`."""
    return DENIALS[code][1] if code in DENIALS else OTHERS[code]


def access_log() -> Json:
    """One JSON line for each exchange on standard output: never a header's value, a path or a query."""
    return extension(
        "envoy.access_loggers.stdout",
        "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
        log_format={
            "json_format": {
                "time": "%START_TIME%",
                "method": "%REQ(:METHOD):20%",  # over HTTP/2 it is whatever a caller wants, of any length
                "protocol": "%PROTOCOL%",
                "status": "%RESPONSE_CODE%",
                "details": "%RESPONSE_CODE_DETAILS%",
                "flags": "%RESPONSE_FLAGS%",
                "duration_ms": "%DURATION%",
                "received_bytes": "%BYTES_RECEIVED%",
                "sent_bytes": "%BYTES_SENT%",
                "request_id": "%STREAM_ID%",
                "source": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%",
                "cluster": "%UPSTREAM_CLUSTER%",
                "route": "%ROUTE_NAME%",
                "peer": "%DYNAMIC_METADATA(extproc:peer)%",
                "denied": "%DYNAMIC_METADATA(extproc:denied)%",
                "skipped": "%DYNAMIC_METADATA(extproc:skipped)%",
            }
        },
    )


def _mapper(reply: Reply) -> Json:
    error = {
        "type": "egress_denied",
        "code": reply.code,
        "message": message_of(reply.code),
        "request_id": "%REQ(X-REQUEST-ID)%",
    }
    mapper = {"filter": _when(reply.when), "body_format_override": {"json_format": {"error": error}}}
    return {**mapper, "status_code": reply.status} if reply.status else mapper


def _as_it_is() -> Json:
    return {"text_format_source": {"inline_string": "%LOCAL_REPLY_BODY%"}, "content_type": "application/json"}


def _when(expression: str) -> Json:
    cel = typed("envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter", expression=expression)
    return {"extension_filter": {"name": "envoy.access_loggers.extension_filters.cel", "typed_config": cel}}
