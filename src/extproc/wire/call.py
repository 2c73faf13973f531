"""One gRPC call as ASGI carries it: messages in, messages out, and a status at the end, in trailers.

A client that goes away while a message is worked on must end that work: ASGI tells of it only to who asks, so the next piece
is always asked for before a message is handed out. One piece is read ahead, and no more.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

from extproc.wire.framing import Frames, encoded, frame
from extproc.wire.status import Ended, Status

Event = Mapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]

START: Final = "http.response.start"
BODY: Final = "http.response.body"
TRAILERS: Final = "http.response.trailers"
HEADERS: Final = [(b"content-type", b"application/grpc"), (b"grpc-accept-encoding", b"identity")]
BEGIN: Final = {"type": START, "status": 200, "headers": HEADERS, "trailers": True}
LAST: Final = {"type": BODY, "body": b"", "more_body": False}


class Gone(Exception):
    """The client has gone: there is nobody to tell."""


class Call:
    """A call in the task that serves it. `limit` are the bytes of the largest message, either way."""

    __slots__ = (
        "_ahead", "_begun", "_frames", "_limit", "_messages", "_more", "_receive", "_send", "_task", "_waits", "gone",
    )  # fmt: skip

    def __init__(self, receive: Receive, send: Send, limit: int) -> None:
        self._receive, self._send, self._limit = receive, send, limit
        self._frames = Frames(limit)
        self._messages: Iterator[bytes] = iter(())
        self._more = True
        self._ahead: asyncio.Future[Event] | None = None
        self._task = asyncio.current_task()
        self._waits = self._begun = False
        self.gone = False
        """Whether the client went away, so that a cancellation of the task comes from here."""

    async def read(self) -> bytes | None:
        """The client's next message; None at the end of its half.

        Raises:
            Gone: it went away. If that happens while nobody reads, the task is cancelled instead.
            Ended: what it sent is no message, or none that is taken.
        """
        while True:
            for message in self._messages:
                return message
            if not self._more:
                self._frames.end()
                return None
            event = await self._next()
            self._more = event.get("more_body", False)
            if self._more:
                self._ask()
            self._messages = self._frames.feed(event.get("body", b""))

    async def write(self, message: bytes) -> None:
        """Send a message; it waits while the client does not read. Raises: Gone, Ended."""
        if len(message) > self._limit:
            raise Ended(Status.RESOURCE_EXHAUSTED, "the answer is too large")
        if not self._begun:
            self._begun = True
            await self._give(BEGIN)
        await self._give({"type": BODY, "body": frame(message), "more_body": True})

    async def end(self, status: Status, text: str = "") -> None:
        """The status of the call: in trailers, or in the headers where nothing was written. Raises: Gone."""
        fields = [(b"grpc-status", b"%d" % status)]
        if text:
            fields.append((b"grpc-message", encoded(text)))
        if not self._begun:
            await self._give({"type": START, "status": 200, "headers": [*HEADERS, *fields], "trailers": False})
            await self._give(LAST)
            return
        await self._give(LAST)
        await self._give({"type": TRAILERS, "headers": fields, "more_trailers": False})

    async def wait(self, until: asyncio.Event, seconds: float) -> None:
        """Wait for `until`, at most so many seconds. A client that goes away meanwhile cancels the task, soon: after the end of
        its half nothing comes by itself that tells.
        """
        self._ask()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await until.wait()
        if self._ahead and self._ahead.done():
            self._ahead = None

    def leave(self) -> None:
        """What was asked for and has not come is not wanted any more."""
        if self._ahead:
            self._ahead.remove_done_callback(self._came)
            if isinstance(self._ahead, asyncio.Task):  # a future is the server's, which will set its result
                self._ahead.cancel()

    async def _next(self) -> Event:
        """Raises: Gone."""
        self._waits = True
        try:
            event = await (self._ahead or self._receive())
        finally:
            self._waits, self._ahead = False, None
        if event["type"] != "http.request":
            raise Gone
        return event

    def _ask(self) -> None:
        if self._ahead is None:
            self._ahead = asyncio.ensure_future(self._receive())
            self._ahead.add_done_callback(self._came)

    def _came(self, ahead: "asyncio.Future[Event]") -> None:
        """The next piece is there. If it is the client's end, the work on its last message is for nobody."""
        if self._waits or ahead.cancelled() or ahead.exception() or ahead.result()["type"] == "http.request":
            return
        self.gone = True
        if self._task:
            self._task.cancel()

    async def _give(self, event: Event) -> None:
        """ASGI 2.4: sending to a client that has gone is an OSError, so nobody else has to tell. Raises: Gone."""
        self._waits = True
        try:
            await self._send(event)
        except OSError as error:
            error.__traceback__ = None  # pyvoy has one for all calls: with their frames it would keep each of them
            raise Gone from None
        finally:
            self._waits = False
