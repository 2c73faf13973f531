"""Every code that a client may read, as Markdown."""

from collections.abc import Iterator
from typing import Final

from extproc.core.verdict import DENIALS, FAILURES
from extproc.envoy.replies import OTHERS, REPLIES

STATUSES: Final = {
    "backend_unavailable": "502, 503",
    "backend_timeout": "504",
    "request_timeout": "408",
    "headers_too_large": "431",
    "gateway_error": "5xx",
}
"""Of the codes of Envoy's own replies, which keep the status that Envoy chose."""


def codes() -> str:
    """Code, status, sentence, and who says it."""
    return "\n".join(["| code | status | message | said by |", "|---|---|---|---|", *_rows()]) + "\n"


def _rows() -> Iterator[str]:
    envoys = {reply.code for reply in REPLIES}
    failures = {*FAILURES.values(), "response_unprocessable"}
    for code, (status, message) in DENIALS.items():
        who = "an extension that failed" if code in failures else "a decision"
        also = ", Envoy" if code in envoys else ""
        yield f"| [`{code}`](../troubleshooting.md#{code}) | {status} | {message} | {who}{also} |"
    for code, message in OTHERS.items():
        yield f"| [`{code}`](../troubleshooting.md#{code}) | {STATUSES[code]} | {message} | Envoy |"
