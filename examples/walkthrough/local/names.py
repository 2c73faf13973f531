"""DNS, as much of it as one question takes: for an address of a name (RFC 1035). And a server that stands in for CoreDNS where
that is not on the machine.
"""

import asyncio
import ipaddress
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

ADDRESS = struct.pack("!HH", 1, 1)
"""A record, class IN."""
PATIENCE = 5.0
DOTS = 5
"""With fewer of them a pod's names are looked for in its search domains first (`ndots:5`)."""


def candidates(name: str, namespace: str) -> list[str]:
    """What a pod of this namespace asks for, in its order, as the kubelet writes its resolv.conf."""
    domains = (f"{namespace}.svc.cluster.local", "svc.cluster.local", "cluster.local")
    longer = [f"{name}.{domain}" for domain in domains]
    return [*longer, name] if name.count(".") < DOTS else [name, *longer]


async def lookup(name: str, port: int) -> str | None:
    """The first address that the server on this port of loopback has for the name. Raises: TimeoutError."""
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[bytes] = loop.create_future()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Once(answered), remote_addr=("127.0.0.1", port))
    try:
        transport.sendto(struct.pack("!HHHHHH", 1, 0x0100, 1, 0, 0, 0) + _encoded(name) + ADDRESS)
        async with asyncio.timeout(PATIENCE):
            return _first_address(await answered)
    finally:
        transport.close()


class _Once(asyncio.DatagramProtocol):
    def __init__(self, answered: asyncio.Future[bytes]) -> None:
        self._answered = answered

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002 - the base class's signature
        if not self._answered.done():
            self._answered.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self._answered.done():
            self._answered.set_exception(TimeoutError(str(exc)))


def _encoded(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.rstrip(".").split(".")) + b"\0"


def _first_address(message: bytes) -> str | None:
    count = struct.unpack_from("!H", message, 6)[0]
    at = _after_name(message, 12) + 4
    for _ in range(count):
        at = _after_name(message, at)
        kind, _, _, length = struct.unpack_from("!HHIH", message, at)
        data = message[at + 10 : at + 10 + length]
        if kind == 1:
            return str(ipaddress.IPv4Address(data))
        at += 10 + length
    return None


def _after_name(message: bytes, at: int) -> int:
    while (length := message[at]) and length < 0xC0:
        at += length + 1
    return at + (2 if length else 1)


def question(message: bytes) -> str:
    """The name that a message asks for."""
    labels, at = [], 12
    while length := message[at]:
        labels.append(message[at + 1 : at + 1 + length].decode("ascii", "replace"))
        at += length + 1
    return ".".join(labels)


class StandIn(asyncio.DatagramProtocol):
    """A DNS server that knows addresses (A) alone. `address` has none for a name that does not exist."""

    def __init__(self, address: Callable[[str], str | None]) -> None:
        self._address = address
        self._transport: asyncio.DatagramTransport | None = None
        self.closed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the base class's signature
        self.closed.set()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Echo the question, and what is known."""
        end = _after_name(data, 12) + 4
        found = self._address(question(data).lower())
        wanted = data[end - 4 : end] == ADDRESS
        record = b"\xc0\x0c" + ADDRESS + struct.pack("!IH", 1, 4) + ipaddress.IPv4Address(found or 0).packed
        answers = [record] if found and wanted else []
        flags = 0x8580 if found else 0x8583
        head = data[:2] + struct.pack("!HHHHH", flags, 1, len(answers), 0, 0)
        if self._transport:
            self._transport.sendto(head + data[12:end] + b"".join(answers), addr)


@asynccontextmanager
async def serving(port: int, address: Callable[[str], str | None]) -> AsyncIterator[None]:
    """The stand-in on this port of loopback."""
    loop = asyncio.get_running_loop()
    server = StandIn(address)
    transport, _ = await loop.create_datagram_endpoint(lambda: server, local_addr=("127.0.0.1", port))
    try:
        yield
    finally:
        transport.close()
        await server.closed.wait()
