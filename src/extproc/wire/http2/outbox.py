"""What is sent on one connection: together where it can be, and no faster than the client takes it."""

import asyncio
from typing import Final, Protocol

from extproc.wire.http2.frames import MOST_DATA, MOST_WINDOW, WINDOW, Code, Fault, Kind, frame

MOST_WAITING: Final = 1024 * 1024
"""Bytes that may wait for a client that does not read what it provokes: acknowledgements, pongs and resets."""


class Sender(Protocol):
    """A stream, as far as it sends."""

    number: int
    window: int

    def wake(self) -> None:
        """There may be room."""
        ...

    async def pause(self) -> None:
        """Until it is woken."""
        ...


class Outbox:
    """Of one connection. `most` are the bytes of a DATA frame that the client takes."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._waiting: list[bytes] = []
        self._scheduled = self._paused = False
        self._provoked = 0
        self._window = WINDOW
        self._blocked: set[Sender] = set()
        self.most = MOST_DATA

    def open(self, transport: asyncio.Transport) -> None:
        """From now on something can leave."""
        self._transport = transport

    def close(self) -> bool:
        """Close the connection behind what waits. Whether that takes the client to read."""
        self._flush()
        if self._transport and self._paused:
            self._transport.abort()
        elif self._transport:
            self._transport.close()
        return not self._paused

    def abort(self) -> None:
        """Close it at once."""
        if self._transport:
            self._transport.abort()

    def pause(self) -> None:
        """The client does not read."""
        self._paused, self._provoked = True, 0

    def resume(self) -> None:
        """It reads again."""
        self._paused = False
        self.wake()

    def send(self, data: bytes) -> None:
        """What is sent in one turn of the loop leaves together."""
        if data:
            self._waiting.append(data)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def answer(self, data: bytes) -> None:
        """What a client provokes without a call. Raises: Fault, if it goes on without reading it."""
        self._provoked += len(data)
        if self._paused and self._provoked > MOST_WAITING:
            raise Fault(Code.ENHANCE_YOUR_CALM, "a client that does not read its answers")
        self.send(data)

    def room(self, stream: Sender) -> int:
        """Bytes that may be sent on it now; less than none after its window shrank."""
        return 0 if self._paused else min(stream.window, self._window)

    def send_data(self, stream: Sender, data: bytes, begin: bytes = b"") -> None:
        """Bytes for which there is room, behind `begin`."""
        stream.window -= len(data)
        self._window -= len(data)
        for at in range(0, len(data), self.most):
            begin += frame(Kind.DATA, 0, stream.number, data[at : at + self.most])
        self.send(begin)

    async def wait_for_room(self, stream: Sender) -> None:
        """Until there may be some. Raises: Gone."""
        self._blocked.add(stream)
        try:
            await stream.pause()
        finally:
            self._blocked.discard(stream)

    def widen(self, size: int) -> None:
        """The client takes more on all streams together. Raises: Fault, if that is nothing, or too much (section 6.9)."""
        self._window += size
        if not size or self._window > MOST_WINDOW:
            raise Fault(Code.FLOW_CONTROL_ERROR if size else Code.PROTOCOL_ERROR, "a window that may not be")
        self.wake()

    def wake(self) -> None:
        """There may be room for those who wait."""
        for stream in list(self._blocked):
            stream.wake()

    def _flush(self) -> None:
        self._scheduled = False
        if self._waiting and self._transport:
            data, self._waiting = b"".join(self._waiting), []
            self._transport.write(data)
