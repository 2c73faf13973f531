"""What is sent on one connection: together where it can be, and no faster than the client takes it."""

import asyncio
from typing import Final, Protocol

from extproc.wire.http2.frames import MOST_DATA, MOST_WINDOW, WINDOW, Code, Fault, Kind, frame

MOST_WAITING: Final = 1024 * 1024
"""Bytes that may wait, beyond the windows, for a client that does not read: acknowledgements, pongs, resets and statuses."""


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
    """Of one connection. `most` are the bytes of a DATA frame that the client takes; when it is `closed`, nothing leaves."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._waiting: list[bytes] = []
        self._scheduled = self._paused = False
        self._unread = 0
        self._window = WINDOW
        self._blocked: dict[Sender, None] = {}
        self.most = MOST_DATA
        self.closed = False

    def open(self, transport: asyncio.Transport) -> None:
        """From now on something can leave."""
        self._transport = transport
        self.send(b"")

    def close(self) -> bool:
        """Close the connection behind what waits. Whether that takes the client to read."""
        self._flush()
        self.closed = True
        if self._transport and self._paused:
            self._transport.abort()
        elif self._transport:
            self._transport.close()
        return not self._paused

    def abort(self) -> None:
        """Close it at once."""
        self.closed = True
        if self._transport:
            self._transport.abort()

    def pause(self) -> None:
        """The client does not read."""
        self._paused = True

    def resume(self) -> None:
        """It reads again."""
        self._paused, self._unread = False, 0
        self.wake()

    def send(self, data: bytes) -> None:
        """What is sent in one turn of the loop leaves together."""
        if data:
            self._waiting.append(data)
            if self._paused:
                self._unread += len(data)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def check(self) -> None:
        """Raises: Fault, if the client goes on to provoke what it does not read."""
        if self._unread > MOST_WAITING:
            raise Fault(Code.ENHANCE_YOUR_CALM, "a client that does not read its answers")

    def room(self, stream: Sender) -> int:
        """Bytes that may be sent on it now; less than none after its window shrank."""
        return 0 if self._paused else min(stream.window, self._window)

    def send_data(self, stream: Sender, data: bytes, begin: bytes = b"") -> None:
        """Bytes for which there is room, behind `begin`."""
        stream.window -= len(data)
        self._window -= len(data)
        pieces = (data[at : at + self.most] for at in range(0, len(data), self.most))
        self.send(begin + b"".join(frame(Kind.DATA, 0, stream.number, piece) for piece in pieces))

    async def wait_for_room(self, stream: Sender) -> None:
        """Until there may be some. Where its own window is used up, an update of that wakes it. Raises: Gone."""
        if stream.window > 0:
            self._blocked[stream] = None
        try:
            await stream.pause()
        finally:
            self._blocked.pop(stream, None)

    def widen(self, size: int) -> None:
        """The client takes more on all streams together. Raises: Fault, if that is nothing, or too much (section 6.9)."""
        self._window += size
        if not size or self._window > MOST_WINDOW:
            raise Fault(Code.FLOW_CONTROL_ERROR if size else Code.PROTOCOL_ERROR, "a window that may not be")
        self.wake()

    def wake(self) -> None:
        """There is room for those who wait, in their order; who finds none waits again, behind the others."""
        if self._paused or self._window <= 0:
            return
        blocked, self._blocked = self._blocked, {}
        for stream in blocked:
            stream.wake()

    def _flush(self) -> None:
        self._scheduled = False
        if self._waiting and self._transport:
            data, self._waiting = b"".join(self._waiting), []
            if not self.closed:
                self._transport.write(data)
