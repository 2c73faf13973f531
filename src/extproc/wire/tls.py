"""Mutual TLS: certificates are renewed while the server runs, so the files are read again when they change; and only clients
with a certificate of an allowed name are served.
"""

import ssl
from typing import Any, Final

import structlog

from extproc.errors import ConfigError
from extproc.wire.listener import Tls, check_files
from extproc.wire.status import Ended, Status

log = structlog.get_logger("extproc.wire")

KINDS: Final = {"DNS": False, "URI": True}
"""The kinds of names that count, and whether such a name has a colon: neither passes for the other."""


class Certificates:
    """The files of one listener, and what they looked like when they were last good.

    Raises:
        ConfigError: the files are not usable now. Later that is only logged, and the last good ones stay.
    """

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        self._seen = self._look()
        self._context = _context(tls)

    def context(self) -> ssl.SSLContext:
        """For a handshake that begins now."""
        try:
            if (seen := self._look()) != self._seen:
                self._context, self._seen = _context(self._tls), seen
        except ConfigError as error:
            log.error("certificate_not_renewed", error=str(error))  # noqa: TRY400 - the place says all, a traceback nothing
        return self._context

    def _look(self) -> tuple[object, ...]:
        try:
            found = [path.stat() for path in (self._tls.cert, self._tls.key, self._tls.client_ca)]
        except OSError as error:
            raise ConfigError(f"{error.filename}: {error.strerror}") from None
        return tuple((each.st_ino, each.st_size, each.st_mtime_ns) for each in found)


def admitted(certificate: dict[str, Any] | None, allowed: frozenset[str]) -> Ended | None:
    """What a client is refused with, unless its certificate has a name out of `allowed`. It was verified in the handshake."""
    found = (certificate or {}).get("subjectAltName", ())
    names = {name for kind, name in found if kind in KINDS and (":" in name) is KINDS[kind]}
    if not names:
        return Ended(Status.UNAUTHENTICATED, "a client certificate with a DNS or URI name is required")
    if not names & allowed:
        log.warning("client_refused", names=sorted(names))
        return Ended(Status.PERMISSION_DENIED, "this client may not connect")
    return None


def _context(tls: Tls) -> ssl.SSLContext:
    """Raises: ConfigError."""
    check_files(tls)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["h2"])
    context.load_cert_chain(tls.cert, tls.key)
    context.load_verify_locations(tls.client_ca)
    return context
