"""Questions to a process that is starting: does it accept connections yet, does Envoy say that it is live?"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from extproc.policy.names import Address

PATIENCE: Final = 1.0
"""Seconds for one question."""

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def accepts(address: Address) -> bool:
    """Whether somebody listens at `address`."""
    try:
        async with asyncio.timeout(PATIENCE), connected(address):
            return True
    except (OSError, TimeoutError):
        return False


async def envoy_live(admin: Address) -> bool:
    """Whether Envoy has its listeners open, as its admin interface says."""
    try:
        async with asyncio.timeout(PATIENCE), connected(admin) as (reader, writer):
            writer.write(b"GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            return (await reader.readline()).startswith(b"HTTP/1.1 200 ")
    except (OSError, TimeoutError):
        return False


@asynccontextmanager
async def connected(address: Address) -> AsyncIterator[Streams]:
    """A connection to `address`. Raises: OSError."""
    if address.path:
        reader, writer = await asyncio.open_unix_connection(address.path)
    else:
        reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        yield reader, writer
    finally:
        writer.close()
