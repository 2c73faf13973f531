"""One family of errors.

A denial is not here: it is a value (`extproc.core.verdict.Respond`). What is here are surprises, each with the place it
belongs to: the wire (`ProtocolError`), an extension at run time (`Failure`, one class per cause of DESIGN section 6),
and the configuration (`ConfigError`).
"""

from dataclasses import dataclass
from enum import StrEnum


class ExtprocError(Exception):
    """Whatever this project raises on purpose."""


class ProtocolError(ExtprocError):
    """A message that ext_proc does not allow here: the stream is aborted, which Envoy answers with an error."""


class Cause(StrEnum):
    """Why an extension failed; the names that `failOpenOn` lists."""

    UNAVAILABLE = "unavailable"
    TIMEOUT = "timeout"
    UNSUPPORTED = "unsupported"
    DEFECT = "defect"
    TOO_LARGE = "too-large"
    MALFORMED = "malformed"
    INTERRUPTED = "interrupted"


class Failure(ExtprocError):
    """An extension could not decide. The text goes to the log and to Envoy's response details, never to a client."""

    cause: Cause = Cause.DEFECT


class Unavailable(Failure):
    """A dependency is down, or refuses to be asked again so soon."""

    cause = Cause.UNAVAILABLE


class TimedOut(Failure):
    """The extension's timeout, or the budget of the message, is spent."""

    cause = Cause.TIMEOUT


class Unsupported(Failure):
    """The type is unknown, or its phase is not served."""

    cause = Cause.UNSUPPORTED


class Defect(Failure):
    """The filter did something that its contract forbids."""

    cause = Cause.DEFECT


class TooLarge(Failure):
    """The body is larger, deeper or more crowded than the extension reads."""

    cause = Cause.TOO_LARGE


class Malformed(Failure):
    """The body is not what its content-type and content-encoding say."""

    cause = Cause.MALFORMED


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the configuration: file, line (from 1), document (from 1), field (dotted, as written)."""

    file: str = ""
    line: int = 0
    document: int = 0
    field: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        parts = [where, f"document {self.document}" if self.document else "", self.field]
        told = ": ".join(part for part in parts if part)
        return told.encode(errors="backslashreplace").decode()  # a file's name may be no text


class ConfigError(ExtprocError):
    """A configuration that is refused: the place, what is wrong, what would be right. Exit code 2."""

    def __init__(self, message: str, place: Place | None = None, reason: str = "Invalid") -> None:
        super().__init__(f"{place}: {message}" if place else message)
        self.message = message
        self.place = place or Place()
        self.reason = reason


class ExpressionError(ExtprocError):
    """A CEL expression that has no value for this exchange. Always closed: 500, whatever failOpen says."""


class Refused(ExtprocError):
    """A configuration with at least one error: all that were found, in the order of their places."""

    def __init__(self, errors: list[ConfigError]) -> None:
        super().__init__("\n".join(map(str, errors)))
        self.errors = tuple(errors)
