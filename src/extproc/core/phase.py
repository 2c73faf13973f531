"""The points of an exchange at which extensions run, and the order in which ext_proc may tell of them."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Phase(StrEnum):
    """The seven phases, in the order in which they are evaluated (DESIGN section 4)."""

    REQUEST_HEADERS = "request-headers"
    REQUEST_BODY = "request-body"
    CONNECT = "connect"
    BACKEND_REQUEST = "backend-request"
    BACKEND_RESPONSE = "backend-response"
    RESPONSE_HEADERS = "response-headers"
    RESPONSE_BODY = "response-body"

    @property
    def is_response(self) -> bool:
        return self in RESPONSE_PHASES

    @property
    def has_body(self) -> bool:
        return self in (Phase.REQUEST_BODY, Phase.RESPONSE_BODY)


ORDER: Final = tuple(Phase)
RESPONSE_PHASES: Final = frozenset({Phase.BACKEND_RESPONSE, Phase.RESPONSE_HEADERS, Phase.RESPONSE_BODY})
UPSTREAM_PHASES: Final = frozenset({Phase.CONNECT, Phase.BACKEND_REQUEST, Phase.BACKEND_RESPONSE})


class Direction(StrEnum):
    """The two halves of an exchange; Envoy advances them independently (PROTOCOL 1.1)."""

    REQUEST = "request"
    RESPONSE = "response"


class Part(StrEnum):
    """What one ext_proc message carries of its direction."""

    HEADERS = "headers"
    BODY = "body"
    TRAILERS = "trailers"


FOLLOWERS: Final[Mapping[Part | None, frozenset[Part]]] = {
    None: frozenset({Part.HEADERS}),
    Part.HEADERS: frozenset({Part.BODY, Part.TRAILERS}),
    Part.BODY: frozenset({Part.BODY, Part.TRAILERS}),
    Part.TRAILERS: frozenset(),
}
"""What may follow what, in each direction on its own. Headers that end the stream are followed by nothing."""
