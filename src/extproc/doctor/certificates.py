"""Are the certificates good, and for how long? Those of the server's listeners, and those that Envoy has."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from extproc.doctor.finding import Code, Finding
from extproc.doctor.needs import workers
from extproc.doctor.tree import Json, node, word

LEFT: Final = 0.1
"""Of the time for which a certificate is good: whoever renews it should have done so by then, whether that is days or hours."""

OURS: Final = "look at whoever renews it (cert-manager, say); the server reads the file again by itself"

ENDING: Final = re.compile(
    r"(?P<what>cluster|listener)\.(?P<where>.+)\.ssl\.certificate\.(?P<name>.+)\.expiration_unix_time_seconds"
)


def of_listeners(status: Json, now: float) -> Iterator[Finding]:
    """Those of the server. `now` is in Unix seconds, here and below."""
    for told in workers(status).values():
        for address, dates in node(told, "certificates").items():
            yield from _of_listener(f"listener {address} of the server", dates, now)


def of_envoys(counted: Mapping[str, float], now: float) -> Iterator[Finding]:
    """Those of Envoy: its own, and the first of each list of authorities. Envoy uses them as if they were good."""
    for name, ends in counted.items():
        if (found := ENDING.fullmatch(name)) and 0 < ends < now:
            problem = f"the certificate {found['name']} has ended on {_written(ends)}: handshakes with it fail"
            yield Finding(Code.TLS_ENDED, f"{found['what']} {found['where']}", problem, "renew it")


def _of_listener(where: str, dates: object, now: float) -> Iterator[Finding]:
    begins, ends = _seconds(dates, "notBefore"), _seconds(dates, "notAfter")
    if begins is None or ends is None:
        problem = "its certificate cannot be read: what was read before still counts"
        yield Finding(Code.SERVER_CERTIFICATE, where, problem, "correct the file; a new process could not start")
    elif not begins <= now <= ends:
        since = f"has ended on {_written(ends)}" if now > ends else f"begins only on {_written(begins)}"
        yield Finding(Code.SERVER_CERTIFICATE, where, f"its certificate {since}: Envoy cannot connect", OURS)
    elif ends - now < LEFT * (ends - begins):
        problem = f"its certificate ends on {_written(ends)}, and was not renewed yet"
        yield Finding(Code.SERVER_CERTIFICATE_ENDS, where, problem, OURS)


def _seconds(dates: object, name: str) -> float | None:
    try:
        return datetime.fromisoformat(word(dates, name)).astimezone(UTC).timestamp()
    except (ValueError, OverflowError):
        return None


def _written(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(sep=" ", timespec="minutes").replace("+00:00", " UTC")
