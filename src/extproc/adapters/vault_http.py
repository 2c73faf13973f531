"""Vault's API through hvac, as seen from a thread: one session, answers bounded in size and time, and every foreign
exception turned into a value here (`attempt`), so that none of them, with its URL, body and frames, reaches anybody's log.
"""

import io
import os
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import hvac
import requests
import urllib3
from hvac import exceptions as vault
from requests.adapters import HTTPAdapter

from extproc.adapters.untrusted import refusal
from extproc.errors import ConfigError, Place

MOST_BYTES: Final = 1024 * 1024
"""The longest answer that is read; Vault's own limit for an entry with integrated storage."""
THREADS: Final = 4

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why there is no answer: one fixed sentence. `down`: Vault cannot be asked; `login`: it does not let us in. Either says
    nothing about the question.
    """

    sentence: str
    down: bool = False
    login: bool = False


SEALED: Final = Trouble("Vault is sealed, or not active", down=True)
BUSY: Final = Trouble("Vault refuses more requests for now (429)", down=True)
BROKEN: Final = Trouble("Vault answers with an error of its own (5xx)", down=True)
UNINITIALISED: Final = Trouble("Vault is not initialised", down=True)
UNREACHABLE: Final = Trouble("Vault refuses connections, or breaks them off", down=True)
SLOW: Final = Trouble("Vault does not answer in time", down=True)
TLS: Final = Trouble(
    "no trusted TLS connection to Vault can be made; look at `ca`, and at the server's certificate", down=True
)
STRANGE: Final = Trouble("the answer is not one that Vault gives: look at `address`", down=True)
UNREADABLE: Final = Trouble("the answer is longer than 1 MiB, or nested too deeply: it is not read", down=True)
OPEN: Final = Trouble("Vault failed several times in a row, and is not asked again so soon", down=True)
CLOSED: Final = Trouble("the connection to Vault was closed, as its configuration is no longer in use", down=True)
DENIED: Final = Trouble(
    "Vault denies this: the policies of the gateway's role do not grant it, or Vault revoked its token"
)
REFUSED: Final = Trouble("Vault finds this request wrong (400)")
MISSING: Final = Trouble("Vault has nothing there")

TROUBLES: Final[tuple[tuple[type[Exception], Trouble], ...]] = (
    (vault.VaultDown, SEALED),
    (vault.RateLimitExceeded, BUSY),
    (vault.VaultNotInitialized, UNINITIALISED),
    (vault.InternalServerError, BROKEN),
    (vault.BadGateway, BROKEN),
    (vault.Forbidden, DENIED),
    (vault.Unauthorized, DENIED),
    (vault.InvalidRequest, REFUSED),
    (vault.InvalidPath, MISSING),
    (requests.exceptions.SSLError, TLS),
    (requests.exceptions.Timeout, SLOW),
    (urllib3.exceptions.TimeoutError, SLOW),
    (requests.exceptions.ConnectionError, UNREACHABLE),
    (urllib3.exceptions.ProtocolError, UNREACHABLE),
    (requests.exceptions.ContentDecodingError, UNREADABLE),
    (RecursionError, UNREADABLE),
)
"""In this order: an SSLError is a ConnectionError to requests."""


def attempt(work: Callable[[], T]) -> T | Trouble:
    """What `work` returns, or the trouble that its exception is."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - hvac lets through what its libraries raise; each is an answer that we cannot use
        found = next((trouble for kind, trouble in TROUBLES if isinstance(error, kind)), STRANGE)
        return replace(found, sentence=found.sentence + refusal(error)) if found is TLS else found


@dataclass(frozen=True, slots=True)
class VaultServer:
    """Where Vault is. `timeout` (seconds) is for connecting, and again for the answer. `ca`: a file with the only
    authorities that are trusted, None for the system's. `cert` and `key`: what we show, if the server wants that.
    `namespace`: as Vault Enterprise and OpenBao have them.
    """

    address: str
    timeout: float = 1.0
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    namespace: str | None = None
    allow_plaintext: bool = False

    def __post_init__(self) -> None:
        """Raises: ConfigError."""
        _check_address(self.address, self.allow_plaintext)
        if (self.cert is None) != (self.key is None):
            raise ConfigError("cert and key are given together, or not at all", Place(field="connections.vault.cert"))
        for name, path in {"ca": self.ca, "cert": self.cert, "key": self.key}.items():
            if path is not None and not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises where nobody may look
                raise ConfigError(f"{str(path)!r} is not a file", Place(field=f"connections.vault.{name}"))

    def session(self) -> requests.Session:
        """Connections that are kept. No retries; no proxy, netrc or CA bundle out of the environment."""
        session = requests.Session()
        session.trust_env = False
        session.verify = str(self.ca) if self.ca else _system_authorities()
        session.headers["accept-encoding"] = "identity"
        for scheme in ("https://", "http://"):
            session.mount(scheme, _Bounded(self.timeout))
        return session

    def client(self, session: requests.Session, token: str = "", *, rooted: bool = False) -> hvac.Client:
        """A client with this token; `rooted` asks the root namespace. No redirect is followed: it would get the token."""
        # What is left out, hvac takes from the environment: VAULT_TOKEN, ~/.vault-token, VAULT_CLIENT_CERT, VAULT_CACERT.
        cert: Any = (str(self.cert), str(self.key)) if self.cert else ()
        seconds: Any = self.timeout
        return hvac.Client(
            url=self.address.rstrip("/"),
            token=token,
            cert=cert,
            verify=session.verify,
            timeout=seconds,
            allow_redirects=False,
            session=session,
            namespace=None if rooted else self.namespace,
        )


class _Bounded(HTTPAdapter):
    """Reads an answer to its end before anybody sees it, within `seconds` and MOST_BYTES: the library's own timeout starts
    anew with each byte that comes.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        super().__init__(pool_connections=1, pool_maxsize=THREADS, max_retries=0)

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        response = super().send(request, *args, **(kwargs | {"stream": True}))
        try:
            response.raw = io.BytesIO(self._body(response.raw))
        except BaseException:
            response.close()
            raise
        return response

    def _body(self, raw: urllib3.BaseHTTPResponse) -> bytes:
        deadline = time.monotonic() + self._seconds
        body = bytearray()
        while chunk := raw.read1(65536, decode_content=True):
            body += chunk
            if len(body) > MOST_BYTES:
                raise requests.exceptions.ContentDecodingError
            if time.monotonic() > deadline:
                raise requests.exceptions.ReadTimeout
        raw.release_conn()
        return bytes(body)


def _check_address(address: str, allow_plaintext: bool) -> None:
    place = Place(field="connections.vault.address")
    wrong = "this is no address of a Vault server: write https://HOST:PORT"
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ConfigError(wrong, place) from None
    if parts.scheme not in ("http", "https") or not host or "@" in parts.netloc or parts.path not in ("", "/"):
        raise ConfigError(wrong, place)
    if parts.query or parts.fragment or not address.isprintable() or " " in address:
        raise ConfigError(wrong, place)
    if parts.scheme == "http" and not allow_plaintext and not _loopback(host):
        raise ConfigError(
            "secrets and tokens would cross the network unencrypted: write https://, or say allowPlaintext: true", place
        )


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _system_authorities() -> str | bool:
    """Those that OpenSSL uses here; requests would take a list of its own, which it falls back to where there are none."""
    paths = ssl.get_default_verify_paths()
    return paths.cafile or paths.capath or True
