"""Log lines: one JSON object each, on standard error.

No line has content of an exchange: records are names and words, and what other libraries log is cut down to its
template, without the arguments, because those may be anything.
"""

import json
import logging
import math
import sys
from types import TracebackType
from typing import Any, Final, TextIO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from extproc.core.event import Record
from extproc.core.journal import Skip
from extproc.telemetry.sink import Sink, standard_error

LONGEST: Final = 512
"""Characters of one value: what a caller can provoke does not fill the disk."""

FIRST: Final = ("timestamp", "level", "event")
"""What each line begins with, for whoever reads them raw."""

log: Final[FilteringBoundLogger] = structlog.get_logger("extproc")


def configure_logging(level: str = "info", stream: TextIO | None = None) -> None:
    """Send every log line of this process to `stream` as JSON (default: to standard error, by its Sink); those of the standard
    library's loggers too.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[structlog.stdlib.add_log_level, structlog.processors.TimeStamper("iso", utc=True), render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(stream) if stream else lambda *_: Lines(standard_error()),
        cache_logger_on_first_use=False,
    )
    handler = Foreign(level=max(number, logging.WARNING))
    logging.basicConfig(handlers=[handler], level=handler.level, force=True)
    logging.captureWarnings(True)


def log_exchange(record: Record) -> None:
    """One line for an exchange that was denied, failed, or went on without an extension, and one for what could not be
    settled at its end; none for the others.
    """
    if record.failure:
        log.warning("failed", **_who(record), **_why(record), cause=record.failure, **_skips(record))
    elif record.code:
        log.info("denied", **_who(record), **_why(record), **_skips(record))
    elif record.skips:
        log.warning("skipped", **_who(record), **_skips(record))
    for each in record.unsettled:
        log.warning("unsettled", **_who(record), **_skip(each))


def render(logger: WrappedLogger, method: str, event: EventDict) -> str:  # noqa: ARG001 - structlog's signature
    """One line of ASCII, whatever the values hold: control characters, quotes and what is no ASCII leave as `\\uXXXX`."""
    first = {name: event.pop(name) for name in FIRST if name in event}
    if error := event.pop("exc_info", None):
        event.update(_error(error))
    return json.dumps(_plain({**first, **event}), ensure_ascii=True).replace("\x7f", "\\u007f")


class Lines:
    """A logger of structlog's, whose lines go to `sink`."""

    def __init__(self, sink: Sink) -> None:
        self.debug = self.info = self.warning = self.error = self.critical = sink.write


class Foreign(logging.Handler):
    """What other libraries log, in our form."""

    def emit(self, record: logging.LogRecord) -> None:
        error = _error(record.exc_info) if record.exc_info else {}
        level = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL)  # the ones that have a name
        log.log(level, _template(record), logger=record.name, **error)


def _template(record: logging.LogRecord) -> str:
    """The first line of what was to be formatted: fixed text. A warning of Python is its text."""
    text = record.getMessage() if record.name == "py.warnings" else str(record.msg)
    return text.partition("\n")[0]


def _error(found: object) -> dict[str, str]:
    """The kind and the place of an error, without its text: that may hold a header or a body."""
    if isinstance(found, tuple):
        found = found[1]
    elif not isinstance(found, BaseException):
        found = sys.exception()
    if not isinstance(found, BaseException):
        return {}
    return {"error": type(found).__name__, "at": _place(found.__traceback__)}


def _place(trace: TracebackType | None) -> str:
    while trace and trace.tb_next:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}" if trace else ""


def _plain(value: Any) -> Any:
    """`value` as JSON can hold it, each text bounded. What has no plain form is named by its kind, not shown."""
    if isinstance(value, str):
        return value[:LONGEST]
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {str(key)[:LONGEST]: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each) for each in value]
    return type(value).__name__


def _who(record: Record) -> dict[str, str]:
    traced = {"traceId": record.trace.trace_id} if record.trace else {}
    return {
        "gateway": record.gateway,
        "route": record.route,
        "backend": record.backend,
        "namespace": record.namespace,
        "serviceAccount": record.service_account,
        "requestId": record.request_id,
        **traced,
    }


def _why(record: Record) -> dict[str, str]:
    return {"extension": record.extension, "phase": record.phase, "code": record.code, "reason": record.reason}


def _skips(record: Record) -> dict[str, Any]:
    if not record.skips:
        return {}
    return {"skips": [_skip(skip) for skip in record.skips]}


def _skip(skip: Skip) -> dict[str, str]:
    return {"extension": skip.extension, "phase": skip.phase, "cause": skip.cause, "reason": skip.reason}
