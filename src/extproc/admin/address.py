"""Where the admin port listens, and which Host headers it believes."""

from ipaddress import IPv6Address, ip_address
from typing import Any, Final

from extproc.errors import ConfigError, Place
from extproc.policy.names import Address, parse_address

LOCAL_NAMES: Final = frozenset({"localhost", "localhost."})


def parse(text: str) -> Address:
    """`127.0.0.1:9090`, `localhost:9090`, `[::]:9090` or `unix:///path`.

    Raises:
        ConfigError: it is none of these.
    """
    try:
        return parse_address(text)
    except ValueError as error:
        raise ConfigError(f"the admin address {error}", Place(field="admin")) from None


def names(authority: str, address: Address) -> bool:
    """Whether a Host header names `address`, so that no web page under a name of its own reads it through a visitor's
    browser (DNS rebinding). A port-forward may have another port. No browser reaches a Unix socket.
    """
    if address.path is not None:
        return True
    name, colon, port = authority.rpartition(":")
    host = name if colon and port.isdigit() else authority
    host = host.removeprefix("[").removesuffix("]").lower()
    return host in LOCAL_NAMES or host == address.host or _is_loopback(host)


def is_near(peer: Any) -> bool:
    """Whether a connection comes from this machine, or this pod: `peer` is what a socket calls the other side."""
    return isinstance(peer, tuple) and bool(peer) and _is_loopback(str(peer[0]))


def _is_loopback(host: str) -> bool:
    try:
        found = ip_address(host)
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return (mapped or found).is_loopback
