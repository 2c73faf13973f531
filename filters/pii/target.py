"""What of a request lies outside its body: path, query and headers."""

import re
from collections.abc import Collection
from typing import Final
from urllib.parse import unquote, unquote_plus

from extproc.core.headers import Headers
from extproc.core.message import Request

UNSCANNED: Final = re.compile(
    r"host|user-agent|date|accept(?:-.*)?|content-(?:type|length|encoding|language|range|digest|md5)"
    r"|transfer-encoding|te|connection|keep-alive|upgrade|expect|priority|cache-control|pragma|range|if-.*"
    r"|via|forwarded|x-forwarded-(?:for|host|port|proto|prefix|client-cert)|x-real-ip|x-envoy-.*"
    r"|traceparent|tracestate|baggage|b3|x-b3-.*|x-request-id|x-correlation-id|x-client-request-id|x-cloud-trace-context"
    r"|x-amzn-trace-id|x-stainless-.*|anthropic-version|anthropic-beta|openai-beta|x-goog-api-client|idempotency-key"
    r"|authorization|proxy-authorization|x-api-key|api-key|x-goog-api-key"
)
"""Headers whose values look like personal data by nature, and are none: what frames and steers a message, versions, dates, ids
of traces, addresses that the proxies themselves have set. And credentials, which are there to be sent: whose they may be is
CredentialInjector's to say.
"""


def outside_body(request: Request, scan: Collection[str]) -> str:
    """The parts of `request` that `scan` names, each on lines of its own, decoded. Values that are secret, which the platform
    itself has set, are not read.
    """
    parts: list[str] = []
    if "path" in scan:
        parts.append(unquote(request.path_only))
    if "query" in scan and request.query:
        parts.append(unquote_plus(request.query.replace("&", "\n")))
    if "headers" in scan:
        parts += _lines(request.headers)
    return "\n".join(parts)


def _lines(headers: Headers) -> list[str]:
    """`name: value`, so that a name speaks of its value as the words of a sentence do."""
    return [
        f"{name}: {_text(value)}"
        for name, value in headers
        if isinstance(value, bytes) and UNSCANNED.fullmatch(name) is None
    ]


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
