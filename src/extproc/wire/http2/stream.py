"""One call on a connection: messages in, messages out, and a status at the end, in trailers (gRPC over HTTP/2)."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Final

from extproc.wire.call import HEADERS, Gone
from extproc.wire.framing import Frames, encoded, frame
from extproc.wire.http2.frames import WINDOW, Flag, Kind, window_update
from extproc.wire.http2.frames import frame as framed
from extproc.wire.http2.head import Fields, Head, block
from extproc.wire.http2.outbox import Outbox
from extproc.wire.status import Ended, Status

BEGIN: Final = block(tuple(HEADERS), b"200")
RETURNED: Final = WINDOW // 2
"""Bytes of a stream's window that are given back at once, so that a short call never needs it."""


class Stream:
    """A call in the task that serves it; `left` is told when it has ended. `limit` are the bytes of the largest message, either
    way; `window` are those that may still be sent, `room` those that may still come.
    """

    __slots__ = (
        "_begun", "_ended", "_fault", "_frames", "_left", "_limit", "_messages", "_out", "_owed", "_waiter", "closed", "gone",
        "head", "number", "room", "task", "window",
    )  # fmt: skip

    def __init__(
        self, out: Outbox, left: Callable[["Stream"], None], number: int, head: Head, limit: int, window: int
    ) -> None:
        self._out, self._left, self.number, self.head, self._limit = out, left, number, head, limit
        self._frames = Frames(limit)
        self._messages: deque[bytes] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._begun = self._ended = self.closed = self.gone = False
        self._fault: Ended | None = None
        self._owed = 0
        self.room = WINDOW
        self.window = window
        self.task: asyncio.Task[None] | None = None

    async def read(self) -> bytes | None:
        """The client's next message; None at the end of its half.

        Raises:
            Gone: it went away. If that happens while nobody reads or writes, the task is cancelled instead.
            Ended: what it sent is no message, or none that is taken.
        """
        while not self._messages:
            if self._fault:
                raise self._fault
            if self._ended:
                self._frames.end()
                return None
            await self.pause()
        message = self._messages.popleft()
        if not self._messages:
            self._give_back()
        return message

    async def write(self, message: bytes) -> None:
        """Send a message; it waits while the client does not read. Raises: Gone, Ended."""
        if self.closed:
            raise Gone
        if len(message) > self._limit:
            raise Ended(Status.RESOURCE_EXHAUSTED, "the answer is too large")
        begin = b"" if self._begun else framed(Kind.HEADERS, Flag.END_HEADERS, self.number, BEGIN)
        self._begun = True
        data = frame(message)
        if len(data) <= self._out.room(self):  # nearly always
            self._out.send_data(self, data, begin)
            return
        self._out.send(begin)
        await self._write_in_pieces(data)

    async def end(self, status: Status, text: str = "") -> None:
        """The status of the call: in trailers, or in the headers where nothing was written. A client that has not ended its
        half is not told to stop with a reset, as it might be (RFC 9113 section 8.1): grpc-core would take that for a failure.

        Raises:
            Gone: it went away.
        """
        if self.closed:
            raise Gone
        flags = Flag.END_STREAM | Flag.END_HEADERS
        self._out.send(framed(Kind.HEADERS, flags, self.number, _last(status, text, begun=self._begun)))
        self.closed = True
        self._left(self)

    async def wait(self, until: asyncio.Event, seconds: float) -> None:
        """Wait for `until`, at most so many seconds. A client that goes away meanwhile cancels the task."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await until.wait()

    def take(self, piece: bytes, size: int = 0, *, end: bool) -> None:
        """What came for this call, in a frame of `size` bytes, and whether that was all."""
        self._owed += size
        self._ended = self._ended or end
        try:
            self._messages.extend(self._frames.feed(piece))
        except Ended as error:  # for who reads: what came before it counts
            self._fault = error
        if not self._messages:
            self._give_back()
        if self._messages or self._ended or self._fault:
            self.wake()

    @property
    def half_closed(self) -> bool:
        """Whether the client has said all that it had to say."""
        return self._ended

    def break_off(self) -> None:
        """The client went away: the work on its last message is for nobody."""
        self.gone = self.closed = True
        if self._waiter:
            self.wake()
        elif self.task:
            self.task.cancel()

    async def pause(self) -> None:
        """Until something came, or there is room. Raises: Gone."""
        if not self.closed:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self.closed:
            raise Gone

    def wake(self) -> None:
        """What was waited for may have come."""
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    async def _write_in_pieces(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            size = min(self._out.room(self), len(data) - at)
            if size <= 0:
                await self._out.wait_for_room(self)
                continue
            self._out.send_data(self, data[at : at + size])
            at += size

    def _give_back(self) -> None:
        """What was read makes room for more; what waits to be read does not."""
        if self._owed >= RETURNED and not (self._ended or self._fault):
            self._out.send(window_update(self.number, self._owed))
            self.room += self._owed
            self._owed = 0


@lru_cache(maxsize=64)
def _last(status: Status, text: str, *, begun: bool) -> bytes:
    """The header block that ends a call."""
    told: Fields = ((b"grpc-status", b"%d" % status),)
    if text:
        told += ((b"grpc-message", encoded(text)),)
    return block(told) if begun else block((*HEADERS, *told), b"200")
