"""`python -m bench.upstream PORT`: an upstream that streams chats, each event at its time, and says in it when it was sent.

The clock is the machine's monotonic one, which all its processes share (clock_gettime(2), CLOCK_MONOTONIC).
"""

import asyncio
import re
import sys
import time

from bench.chat import DONE, event, usage

PACE = 0.01
"""Seconds between two events."""

EVENTS = re.compile(rb"(?i)\r\nx-events: *(\d{1,6})\r\n")
LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d{1,9})\r\n")
FEW = 3
"""Events if the request does not say how many."""

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection."""
    try:
        while head := await _head(reader):
            if length := LENGTH.search(head):
                await reader.readexactly(int(length[1]))
            elif b"transfer-encoding" in head.lower():
                await _skip_chunks(reader)
            found = EVENTS.search(head)
            await _answer(writer, int(found[1]) if found else FEW)
    except (ConnectionError, asyncio.IncompleteReadError):
        return  # the gateway has left: the next test's affair
    finally:
        writer.close()


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


async def _skip_chunks(reader: asyncio.StreamReader) -> None:
    while size := int((await reader.readline()).split(b";")[0], 16):
        await reader.readexactly(size + 2)
    await reader.readline()


async def _answer(writer: asyncio.StreamWriter, events: int) -> None:
    writer.write(HEAD)
    begun = time.monotonic()
    for number in range(events):
        await asyncio.sleep(begun + number * PACE - time.monotonic())
        writer.write(_chunk(event(number, time.monotonic_ns())))
        await writer.drain()
    writer.write(_chunk(usage(time.monotonic_ns(), events)) + _chunk(DONE) + _chunk(b""))
    await writer.drain()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def main(port: int) -> None:
    """Until it is ended."""
    async with await asyncio.start_server(serve, "127.0.0.1", port) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
