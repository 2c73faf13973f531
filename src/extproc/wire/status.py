"""How a stream ends that does not end well: gRPC's statuses, and the fixed texts that go with ours. Every transport ends its
streams so.
"""

from enum import IntEnum
from typing import Final

import structlog

from extproc.errors import ProtocolError

log = structlog.get_logger("extproc.wire")


class Status(IntEnum):
    """The statuses that are used here; the names and numbers of gRPC (statuscodes.md)."""

    OK = 0
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


class Ended(Exception):
    """A stream is to end with `status`. `text` is ours and fixed: Envoy writes it into logs and response details."""

    def __init__(self, status: Status, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


REFUSED: Final = "the message is not one to answer"
FAILED: Final = "the exchange could not be processed"


def ended(error: Exception) -> Ended:
    """What the client is told of `error`. If that is less than what it was, it is logged: of a ProtocolError the text, which is
    ours and fixed; of another its type.
    """
    if isinstance(error, Ended):
        return error
    if isinstance(error, ProtocolError):
        log.error("stream_failed", error=str(error))
        return Ended(Status.FAILED_PRECONDITION, REFUSED)
    log.error("stream_failed", error=type(error).__name__)
    return Ended(Status.INTERNAL, FAILED)
