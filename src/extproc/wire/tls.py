"""Mutual TLS for grpc: certificates are renewed while the server runs, so the files are read again when they change."""

from typing import Any

import grpc
import structlog

from extproc.errors import ConfigError
from extproc.wire.listener import Tls, check_files

log = structlog.get_logger("extproc.wire")


def credentials(tls: Tls) -> grpc.ServerCredentials:
    """Credentials that demand a client certificate, and follow the files of `tls`.

    Raises:
        ConfigError: the files are not usable now. Later that is only logged, and the last good ones stay.
    """
    files = _Files(tls)
    return grpc.dynamic_ssl_server_credentials(files.read(), files.fetch, require_client_authentication=True)


class _Files:
    """The files of one listener, and what they looked like when they were last good."""

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        self._seen: tuple[object, ...] = ()

    def read(self) -> Any:
        """What the files hold. Raises: ConfigError."""
        seen = self._look()
        check_files(self._tls)
        try:
            pair = self._tls.key.read_bytes(), self._tls.cert.read_bytes()
            found = grpc.ssl_server_certificate_configuration([pair], self._tls.client_ca.read_bytes())
        except OSError as error:
            raise ConfigError(f"{self._tls.cert}: {error.strerror}") from None
        self._seen = seen
        return found

    def fetch(self) -> Any:
        """For grpc, which asks at each handshake: what the files hold, if they changed; else None. Must not raise."""
        try:
            return None if self._look() == self._seen else self.read()
        except ConfigError as error:
            log.error("certificate_not_renewed", error=str(error))  # noqa: TRY400 - the place says all, a traceback nothing
            return None

    def _look(self) -> tuple[object, ...]:
        try:
            found = [path.stat() for path in (self._tls.cert, self._tls.key, self._tls.client_ca)]
        except OSError as error:
            raise ConfigError(f"{error.filename}: {error.strerror}") from None
        return tuple((each.st_ino, each.st_size, each.st_mtime_ns) for each in found)
