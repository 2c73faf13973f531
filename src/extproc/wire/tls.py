"""Mutual TLS: certificates are renewed while the server runs, so the files are read again when they change; and only clients
with a certificate of an allowed name are served.
"""

import ssl
from pathlib import Path
from typing import Any, Final

import structlog

from extproc.errors import ConfigError
from extproc.wire.listener import Tls, server_context
from extproc.wire.seldom import Seldom
from extproc.wire.status import Ended, Status

log = structlog.get_logger("extproc.wire")

KINDS: Final = {"DNS": False, "URI": True}
"""The kinds of names that count, and whether such a name has a colon: neither passes for the other."""


class Certificates:
    """The files of one listener, and what they looked like when they were last read.

    Raises:
        ConfigError: the files are not usable now. Later that is only logged, and the last good ones stay.
    """

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        self._seen = self._look()
        self._context = server_context(tls)

    def context(self) -> ssl.SSLContext:
        """For a handshake that begins now."""
        seen = self._look()
        if seen != self._seen:
            self._seen = seen
            try:
                self._context = server_context(self._tls)
            except ConfigError as error:  # said once, until they look different again: anybody may begin handshakes
                log.error("certificate_not_renewed", error=str(error))  # noqa: TRY400 - the place says all, a traceback nothing
        return self._context

    def _look(self) -> tuple[object, ...]:
        """Different when a file, or who may read it, is."""
        return tuple(_seen(path) for path in (self._tls.cert, self._tls.key, self._tls.client_ca))


def admitted(certificate: dict[str, Any] | None, allowed: frozenset[str], told: Seldom) -> Ended | None:
    """What a client is refused with, unless its certificate has a name out of `allowed`. It was verified in the handshake."""
    found = (certificate or {}).get("subjectAltName", ())
    names = {name for kind, name in found if kind in KINDS and (":" in name) is KINDS[kind]}
    if not names:
        return Ended(Status.UNAUTHENTICATED, "a client certificate with a DNS or URI name is required")
    if not names & allowed:
        told.warning("client_refused", names=sorted(names))
        return Ended(Status.PERMISSION_DENIED, "this client may not connect")
    return None


def _seen(path: Path) -> object:
    try:
        found = path.stat()
    except OSError as error:
        return error.errno
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
