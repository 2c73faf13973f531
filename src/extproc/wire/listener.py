"""Where the server listens, and who may connect. Whoever can connect is handed the keys: so the rules are strict, and all
of them are judged before a port opens (DESIGN section 3, "Listeners").
"""

import ipaddress
import os
import re
import socket
import ssl
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import structlog

from extproc.errors import ConfigError

log = structlog.get_logger("extproc.wire")

UNIX: Final = "unix://"
LONGEST_PATH: Final = 107
"""Bytes of a socket's path that Linux takes (unix(7))."""

SOCKET_MODE: Final = 0o660
DIRECTORY_MODE: Final = 0o750
NO_PASSWORD: Final = ""
"""Of a key: else OpenSSL would ask for it at the terminal, and the server would wait for an answer, be it long at work."""

ENDPOINT: Final = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Tls:
    """Mutual TLS: a client needs a certificate of `client_ca`, with a DNS or URI name out of `allowed_clients`."""

    cert: Path
    key: Path
    client_ca: Path
    allowed_clients: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Listener:
    """`unix:///absolute/path`, or `host:port` with TLS; without it only on a loopback address that says `insecure`."""

    address: str
    tls: Tls | None = None
    insecure: bool = False

    @property
    def socket(self) -> Path | None:
        """The path of a Unix socket, or None."""
        return Path(self.address.removeprefix(UNIX)) if self.address.startswith(UNIX) else None

    @property
    def place(self) -> tuple[str, int]:
        """Host and port, where it is no socket."""
        host, _, port = self.address.rpartition(":")
        return host.strip("[]"), int(port)


def check(listener: Listener) -> None:
    """Judge what is written, without looking at the machine.

    Raises:
        ConfigError: the address is none that is served, or not served like this.
    """
    if listener.address.startswith(("unix:", "unix-abstract:")):
        _check_unix(listener)
    else:
        _check_tcp(listener)


def for_worker(listener: Listener, index: int, count: int) -> Listener:
    """What worker `index` (from 0) of `count` listens on: a socket or a port of its own, where there are several.

    Raises:
        ConfigError: there is no such port.
    """
    if count <= 1:
        return listener
    if path := listener.socket:
        return replace(listener, address=f"{UNIX}{path.with_name(f'{path.stem}-{index}{path.suffix}')}")
    host, _, port = listener.address.rpartition(":")
    own = replace(listener, address=f"{host}:{int(port) + index}")
    check(own)
    return own


def claim(listener: Listener) -> None:
    """Make the place ready: the socket's folder, no stale socket in it, certificates that can be read.

    Raises:
        ConfigError: the folder is not ours alone, somebody else listens there, or a file of the certificate is unusable.
    """
    check(listener)
    if path := listener.socket:
        _claim_folder(path.parent)
        vacate(path)
    elif listener.tls:
        server_context(listener.tls)
    else:
        log.warning("insecure_listener", address=listener.address, risk="every process of this host is handed the keys")


def _check_unix(listener: Listener) -> None:
    address = listener.address
    if not address.startswith("unix:///") or "\0" in address or address.endswith("/"):
        raise ConfigError(
            f"listen address {address!r}: a Unix socket is written unix:///absolute/path"
            " (abstract sockets have no permissions and are refused)"
        )
    path = address.removeprefix(UNIX)
    if os.path.normpath(path) != path:
        raise ConfigError(f"listen address {address!r}: the path has `.`, `..` or an empty part")
    if len(os.fsencode(path)) > LONGEST_PATH - len("-999"):
        raise ConfigError(f"listen address {address!r}: the path of a socket has at most {LONGEST_PATH - 4} bytes")
    if listener.tls or listener.insecure:
        raise ConfigError(f"listen address {address!r}: `tls` and `insecure` are for TCP; a socket's folder guards it")


def _check_tcp(listener: Listener) -> None:
    found = ENDPOINT.fullmatch(listener.address)
    if not found or not 0 < int(found[2]) < 65536:
        raise ConfigError(
            f"listen address {listener.address!r}: write unix:///absolute/path, or host:port with a port from 1 to 65535"
        )
    if listener.tls and listener.insecure:
        raise ConfigError(f"listen address {listener.address!r}: either `tls` or `insecure`, not both")
    if listener.tls and not all(listener.tls.allowed_clients or ("",)):
        raise ConfigError(
            f"listen address {listener.address!r}: tls.allowedClients needs at least one name, none empty"
        )
    if not listener.tls and not listener.insecure:
        raise ConfigError(
            f"listen address {listener.address!r}: TCP needs `tls` (a loopback address may say `insecure: true`)"
        )
    if listener.insecure and not _is_loopback(found[1]):
        raise ConfigError(f"listen address {listener.address!r}: `insecure: true` is for loopback addresses only")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _claim_folder(folder: Path) -> None:
    try:
        if not folder.exists() and folder.parent.stat().st_uid == os.geteuid():
            folder.mkdir(DIRECTORY_MODE)
        found = folder.lstat()
    except OSError as error:
        message = (
            f"the folder of the socket cannot be used ({error.strerror}): make it, with mode 0750, or listen elsewhere"
        )
        raise ConfigError(f"{folder}: {message}") from None
    if not stat.S_ISDIR(found.st_mode):
        raise ConfigError(f"{folder}: the socket needs a folder, and this is none (a link counts as none)")
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise ConfigError(
            f"{folder}: the folder of the socket must be owned by uid {os.geteuid()} and writable by nobody else"
            f" (it is uid {found.st_uid}, mode {stat.S_IMODE(found.st_mode):04o})"
        )


def vacate(path: Path) -> None:
    """A file that is there is removed if it is a socket of ours at which nobody listens. Raises: ConfigError, if it is not."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid():
        raise ConfigError(f"{path}: there is something that is no socket of ours; remove it, or listen elsewhere")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise ConfigError(
                f"{path}: cannot tell whether somebody listens there: {error.strerror or error}"
            ) from None
    raise ConfigError(f"{path}: another process listens there")


def server_context(tls: Tls) -> ssl.SSLContext:
    """For handshakes with these files as they are now. Raises: ConfigError, if they are not a certificate, its key and a CA."""
    for path in (tls.cert, tls.key, tls.client_ca):
        if not os.path.isfile(path):  # noqa: PTH113 - where nobody may look there is none; Path.is_file raises
            raise ConfigError(f"{path}: no such file, or none that may be read")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["h2"])
    try:
        context.load_cert_chain(tls.cert, tls.key, NO_PASSWORD)
    except (OSError, ValueError):
        raise ConfigError(f"{tls.cert}, {tls.key}: not a certificate and its key in PEM, not encrypted") from None
    try:
        context.load_verify_locations(tls.client_ca)
    except (OSError, ValueError):
        raise ConfigError(f"{tls.client_ca}: no CA certificate in PEM") from None
    return context
