"""The texts that configurations are made of, each with the rule it keeps and the sentence it is refused with."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Final, TypeVar

from pydantic import AfterValidator, Field, Strict

from extproc.core.headers import FRAMING, TOKEN
from extproc.policy.hosts import HOSTNAME

T = TypeVar("T")
Many = Annotated[tuple[T, ...], Strict(strict=False)]
"""A YAML list, kept as a tuple."""

LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
"""RFC 1123: what Kubernetes calls a namespace."""

_DOTTED: Final = rf"{LABEL.pattern}(\.{LABEL.pattern})*"
SUBDOMAIN: Final = re.compile(rf"(?!.{{254}}){_DOTTED}")
KIND: Final = re.compile(rf"(?:(?P<domain>{_DOTTED})/)?[A-Z][A-Za-z0-9]{{0,62}}:v[0-9][a-z0-9]{{0,15}}")
HOST: Final = re.compile(rf"(?i:{HOSTNAME.pattern})")
UNIX: Final = "unix://"


def _matching(pattern: re.Pattern[str], sentence: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(f"{value!r} is not {sentence}")
        return value

    return check


def _header_name(value: str) -> str:
    name = value.lower()
    if not TOKEN.fullmatch(name):
        raise ValueError(f"{value!r} is not a header name (RFC 9110 section 5.6.2)")
    if name in FRAMING or name.startswith("x-envoy-"):
        raise ValueError(f"{value!r} belongs to the connection or to Envoy and cannot be named here")
    return name


Label = Annotated[
    str, AfterValidator(_matching(LABEL, "a name of at most 63 lower-case letters, digits and inner hyphens"))
]
Name = Annotated[
    str, AfterValidator(_matching(SUBDOMAIN, "a name of lower-case letters, digits, hyphens and dots (RFC 1123)"))
]
ObjectName = Annotated[
    str,
    AfterValidator(
        _matching(
            re.compile(rf"{LABEL.pattern}/{SUBDOMAIN.pattern}"), "of the form namespace/name, such as egress/openai"
        )
    ),
]
HeaderName = Annotated[str, AfterValidator(_header_name)]
"""Lower-cased. Nothing that frames the message or steers Envoy."""

TypeName = Annotated[
    str,
    AfterValidator(
        _matching(KIND, "a type: write Kind:version, or domain/Kind:version for other people's (PIIDetector:v1)")
    ),
]
Port = Annotated[int, Field(ge=1, le=65535)]


@dataclass(frozen=True, slots=True)
class Address:
    """Where something listens: `path` of a Unix socket, or `host` and `port`."""

    path: Path | None = None
    host: str = ""
    port: int = 0

    @property
    def loopback(self) -> bool:
        """Whether only this machine's processes (of this network namespace) can connect."""
        if self.path or self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{UNIX}{self.path}" if self.path else f"{host}:{self.port}"


def parse_address(value: str) -> Address:
    """`unix:///absolute/path`, `host:port` or `[IPv6]:port`.

    Raises:
        ValueError: it is neither, or an abstract socket, which has no owner and no mode.
    """
    if value.startswith(("unix:@", "unix-abstract:", "unix://@", "unix:\0", "unix:///\0")) or "\0" in value:
        raise ValueError(f"{value!r} is an abstract socket, which anybody can connect to: write unix:///absolute/path")
    if value.startswith("unix:"):
        return _unix(value)
    host, _, port = value.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not bare or (":" in bare) != (bare != host) or not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError(f"{value!r} is no address: write host:port, [IPv6]:port or unix:///absolute/path")
    if not (_is_ip(bare) if bare != host else HOST.fullmatch(bare)):
        raise ValueError(f"{value!r} is no address: {bare!r} is no host")
    return Address(host=bare, port=int(port))


def _unix(value: str) -> Address:
    path = value.removeprefix(UNIX) if value.startswith(UNIX) else ""
    if not path.startswith("/") or path.endswith("/") or ".." in path.split("/"):
        raise ValueError(f"{value!r} is no address of a Unix socket: write unix:///absolute/path")
    if len(path.encode()) > 100:
        raise ValueError(f"{value!r} is too long for a Unix socket: at most 100 bytes")
    return Address(path=Path(path))


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _address(value: str) -> str:
    parse_address(value)
    return value


AddressText = Annotated[str, AfterValidator(_address)]
"""As written; `parse_address` reads it."""
