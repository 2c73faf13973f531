"""A client of streamed chats, which sees when each event comes."""

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.chat import REQUEST
from bench.gateway import HEADERS, PATH

CREATED = re.compile(rb'"created": ?(\d+)')
END = b"\r\n0\r\n\r\n"
PATIENCE = 60.0
"""Seconds for one chat."""


@dataclass
class Seen:
    """Microseconds: of each event, from when it was sent until it was here; of each chat, until its first event, and until its
    end beyond what the upstream took for it.
    """

    events: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)

    def add(self, others: Sequence["Seen"]) -> None:
        for other in others:
            self.events += other.events
            self.first += other.first
            self.whole += other.whole


def chats(port: int, *, callers: int, events: int) -> Seen:
    """So many chats at once, of so many events each. Raises: RuntimeError, if one is not whole."""
    try:
        return asyncio.run(_chats(port, callers, events))
    except (TimeoutError, OSError) as error:
        raise RuntimeError(f"the chats did not come through: {error!r}") from None


async def _chats(port: int, callers: int, events: int) -> Seen:
    seen = Seen()
    async with asyncio.timeout(PATIENCE):
        seen.add(await asyncio.gather(*(_chat(port, events) for _ in range(callers))))
    return seen


async def _chat(port: int, events: int) -> Seen:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    fields = {**HEADERS, "Content-Length": str(len(REQUEST)), "X-Events": str(events)}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    begun = time.monotonic_ns()
    writer.write(f"POST {PATH} HTTP/1.1\r\n{head}\r\n".encode() + REQUEST)
    try:
        return await _read(reader, begun, events)
    finally:
        writer.close()


async def _read(reader: asyncio.StreamReader, begun: int, events: int) -> Seen:
    data, at, sent, came = b"", 0, list[int](), list[int]()
    while END not in data[-len(END) :]:
        piece = await reader.read(65536)
        now = time.monotonic_ns()
        data += piece
        if not piece:
            break
        while found := CREATED.search(data, at):  # an event's time is in its first bytes: enough of it is here
            if found.end() == len(data):
                break
            at = found.end()
            sent.append(int(found[1]))
            came.append(now)
    if len(sent) < events:
        raise RuntimeError(f"a chat of {events} events ended after {len(sent)}: {data[:300]!r}")
    lags = [(here - there) / 1000 for there, here in zip(sent, came, strict=True)]
    upstream = sent[-1] - sent[0]
    return Seen(lags[:events], [(came[0] - begun) / 1000], [(came[-1] - begun - upstream) / 1000])
