"""Names of hosts as configurations have them: which are names at all, and which are inside."""

import re
from ipaddress import ip_address
from typing import Final

LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
HOSTNAME: Final = re.compile(rf"(?!.{{254}}){LABEL}(?:\.{LABEL})*")
NUMERIC: Final = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)")
"""A last label that is a number makes the whole an IPv4 address to many readers: 127.1, 0x7f.1, 2130706433 (WHATWG URL
section 3.5). No top-level domain is one."""

IPV6: Final = re.compile(r"[0-9a-f.]*:[0-9a-f.]*:[0-9a-f:.]*(?:%.*)?")
INSIDE: Final = (".localhost", ".svc", ".cluster.local")


def normal_hostname(text: str) -> str:
    """A Backend's hostname for matching: lower case, without one trailing dot; an IPv6 address in brackets.

    Raises:
        ValueError: it is neither a name nor an address in its usual form.
    """
    host = text.lower().removesuffix(".")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if IPV6.fullmatch(bare):
        return f"[{_address(bare, text)}]"
    if "*" in host:
        raise ValueError(f"{text!r} is a wildcard: a Backend is one host")
    if not HOSTNAME.fullmatch(host):
        raise ValueError(
            f"{text!r} is not a host name: write letters, digits, hyphens and dots, without scheme, port or path"
        )
    return _address(host, text) if _looks_numeric(host) else host


def is_internal(host: str) -> bool:
    """Whether a normal hostname needs `allowInternal`: addresses, single labels, localhost and the cluster's own names."""
    return host.startswith("[") or "." not in host or _looks_numeric(host) or host.endswith(INSIDE)


def route_hostname(text: str) -> str:
    """A hostname of an HTTPRoute, lower case: a name, or `*.` and a name.

    Raises:
        ValueError: it is neither.
    """
    host = text.lower().removesuffix(".")
    name = host.removeprefix("*.")
    if not HOSTNAME.fullmatch(name) or _looks_numeric(name):
        raise ValueError(f"{text!r} is not a hostname: write a name such as api.openai.com, or *.openai.com")
    return host


def _looks_numeric(host: str) -> bool:
    return NUMERIC.fullmatch(host.rpartition(".")[2]) is not None


def _address(host: str, text: str) -> str:
    try:
        address = ip_address(host)
    except ValueError:
        raise ValueError(
            f"{text!r} reads as an IP address, and is none in its usual form: write it as 192.0.2.1"
        ) from None
    if "%" in host:
        raise ValueError(f"{text!r} has a zone: a Backend is an address that means the same everywhere")
    return str(address)
