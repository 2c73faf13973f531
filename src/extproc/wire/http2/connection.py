"""One connection: its frames, its windows, its streams. Everything a client can make grow is bounded here, and whoever breaks
the rules of HTTP/2 loses the connection; that a stream is reset never costs the others anything (PROTOCOL 7).
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, cast

from extproc.wire.http2.frames import (
    MOST_WINDOW,
    SETTINGS_TAKEN,
    STREAM,
    WINDOW,
    Code,
    Fault,
    Flag,
    Kind,
    Setting,
    check_farewell,
    check_priority,
    frame,
    go_away,
    read_number,
    read_settings,
    refuse_promise,
    reset,
    settings,
    unpadded,
    window_update,
)
from extproc.wire.http2.head import MOST_LIST, Fields, Heads, head, trailing
from extproc.wire.http2.intake import Intake
from extproc.wire.http2.outbox import Outbox
from extproc.wire.http2.stream import Stream

MOST_STREAMS: Final = 8192
"""Calls at once on one connection: an event stream is one for as long as it lasts, and costs nothing while nothing comes."""

OWN_WINDOW: Final = 16 * 1024 * 1024
"""Bytes that a client may have on its way on all streams together. What each of them may have is its own window."""

PATIENCE: Final = 10.0
"""Seconds until a client has said that it speaks HTTP/2."""

MOST_CUT: Final = 1000
"""Calls that were reset of which it is known that more of them may be on its way."""

FAREWELL: Final = b"farewell"
"""What a ping says whose answer tells that the client has heard to begin nothing more."""

OPENING: Final = settings(
    {
        Setting.HEADER_TABLE_SIZE: 0,
        Setting.MAX_CONCURRENT_STREAMS: MOST_STREAMS,
        Setting.MAX_HEADER_LIST_SIZE: MOST_LIST,
    }
) + window_update(0, OWN_WINDOW - WINDOW)

Serve = Callable[[Stream], Coroutine[Any, Any, None]]
"""Serves a call to its end. It raises nothing."""


class Connection(asyncio.Protocol):
    """A client's connection, whose calls `serve` serves. `limit` are the bytes of the largest message; `lost` is told when it
    has ended. `fault` says why it was closed, if the client broke the rules.
    """

    def __init__(self, serve: Serve, limit: int, lost: Callable[["Connection"], None]) -> None:
        self.serve, self._limit, self._lost = serve, limit, lost
        self._loop = asyncio.get_running_loop()
        self._out = Outbox(self._loop)
        self._out.send(OPENING)
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self.parted: asyncio.Future[None] = self._loop.create_future()
        self.fault: Fault | None = None
        self._impatience = self._loop.call_later(PATIENCE, self._impatient)
        self._heads = Heads()
        self._streams: dict[int, Stream] = {}
        self._left: set[int] = set()
        self._cut: deque[int] = deque(maxlen=MOST_CUT)
        self._going = False
        self._last = 0
        self._initial = WINDOW
        self._room, self._owed = OWN_WINDOW, 0
        self._intake = Intake(
            {
                Kind.DATA: self._data,
                Kind.HEADERS: self._headers,
                Kind.PRIORITY: check_priority,
                Kind.RST_STREAM: self._reset,
                Kind.SETTINGS: self._settings,
                Kind.PUSH_PROMISE: refuse_promise,
                Kind.PING: self._ping,
                Kind.GOAWAY: check_farewell,
                Kind.WINDOW_UPDATE: self._window_update,
            }
        )

    @property
    def welcome(self) -> bool:
        """Whether it is a client's that we know: it speaks HTTP/2."""
        return self._intake.greeted

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._out.open(cast("asyncio.Transport", transport))  # of a stream's server

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._impatience.cancel()
        self._out.closed = True
        self._break_off()
        self._lost(self)
        if not self.ended.done():
            self.ended.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self._out.closed:  # TLS hands on what was decrypted before
            return
        try:
            self._intake.feed(data)
            self._out.check()
        except Fault as fault:
            self.fault = fault
            self.close(fault.code)

    def eof_received(self) -> None:
        """No client of gRPC ends one half of a connection: it went away."""
        self.close()

    def pause_writing(self) -> None:
        self._out.pause()

    def resume_writing(self) -> None:
        self._out.resume()

    def finish(self) -> None:
        """Ask the client to begin no more calls. Those that are on their way are served: who answers the ping has heard it
        (RFC 9113 section 6.8), which `parted` tells.
        """
        if not self._going:
            self._out.send(go_away(STREAM, Code.NO_ERROR) + frame(Kind.PING, 0, 0, FAREWELL))

    def part(self) -> None:
        """Take no more calls. The client hangs up when those that are open have ended."""
        if not self._going:
            self._going = True
            self._out.send(go_away(self._last, Code.NO_ERROR))
        if not self.parted.done():
            self.parted.set_result(None)

    def close(self, code: Code = Code.NO_ERROR) -> None:
        """Say why, and end it with all that is open. One who does not read it has PATIENCE."""
        if self._out.closed:
            return
        self._out.send(go_away(self._last, code))
        self._break_off()
        self._impatience.cancel()
        if self._out.close():
            self._impatience = self._loop.call_later(PATIENCE, self.abort)

    def abort(self) -> None:
        """End it at once."""
        self._out.abort()

    def _break_off(self) -> None:
        """All that is open, and begin no more."""
        self._going = True
        if not self.parted.done():
            self.parted.set_result(None)
        for stream in list(self._streams.values()):
            stream.break_off()
        self._streams.clear()

    def _leave(self, stream: Stream) -> None:
        """A call has ended. What the client still has to say of it is not heard."""
        self._streams.pop(stream.number, None)
        if not stream.half_closed:
            self._left.add(stream.number)

    def _data(self, flags: int, number: int, payload: bytes) -> None:
        """All of a frame counts for the windows, its padding too."""
        self._known(number)
        self._count(len(payload))
        stream = self._streams.get(number)
        piece, end = unpadded(flags, payload), bool(flags & Flag.END_STREAM)
        if stream is None:
            self._late(number, end=end)
            return
        stream.room -= len(payload)
        if stream.room < 0:
            raise Fault(Code.FLOW_CONTROL_ERROR, "more than a stream's window")
        if stream.half_closed:
            self._abort(stream, Code.STREAM_CLOSED)
            return
        stream.take(piece, len(payload), end=end)

    def _headers(self, flags: int, number: int, block: bytes) -> None:
        """A call, or the trailers of one."""
        if not number & 1:
            raise Fault(Code.PROTOCOL_ERROR, "a stream of which a client has none")
        fields = self._heads.read(block)
        end = bool(flags & Flag.END_STREAM)
        if stream := self._streams.get(number):
            if stream.half_closed:
                self._abort(stream, Code.STREAM_CLOSED)
            elif not end or not trailing(fields):
                self._abort(stream, Code.PROTOCOL_ERROR)
            else:
                stream.take(b"", end=True)
        elif number <= self._last:
            self._late(number, end=True)
        else:
            self._begin(number, fields, end=end)

    def _begin(self, number: int, fields: Fields, *, end: bool) -> None:
        self._last = number
        asked = head(fields)
        if asked is None:
            self._refuse(number, Code.PROTOCOL_ERROR)
        elif self._going or len(self._streams) + len(self._left) >= MOST_STREAMS:
            self._refuse(number, Code.REFUSED_STREAM)
        else:
            stream = self._streams[number] = Stream(self._out, self._leave, number, asked, self._limit, self._initial)
            if end:
                stream.take(b"", end=True)
            stream.task = self._loop.create_task(self.serve(stream))

    def _reset(self, _flags: int, number: int, payload: bytes) -> None:
        self._known(number)
        read_number(payload)
        self._left.discard(number)
        if stream := self._streams.pop(number, None):
            stream.break_off()

    def _settings(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise Fault(Code.PROTOCOL_ERROR, "settings of a stream")
        if flags & Flag.ACK:
            if payload:
                raise Fault(Code.FRAME_SIZE_ERROR, "an acknowledgement that says something")
            return
        for key, value in dict(read_settings(payload)).items():  # the last one of a kind counts
            if key == Setting.INITIAL_WINDOW_SIZE and value != self._initial:
                self._resize(value - self._initial)
                self._initial = value
            elif key == Setting.MAX_FRAME_SIZE:
                self._out.most = value
        self._out.send(SETTINGS_TAKEN)

    def _resize(self, change: int) -> None:
        """The windows of streams that are open change too, below nothing if need be (section 6.9.2)."""
        for stream in self._streams.values():
            stream.window += change
            if stream.window > MOST_WINDOW:
                raise Fault(Code.FLOW_CONTROL_ERROR, "a window that is too large")
            stream.wake()

    def _window_update(self, _flags: int, number: int, payload: bytes) -> None:
        size = read_number(payload) & STREAM
        if not number:
            self._out.widen(size)
            return
        self._known(number)
        stream = self._streams.get(number)
        if stream and (not size or stream.window + size > MOST_WINDOW):
            self._abort(stream, Code.FLOW_CONTROL_ERROR if size else Code.PROTOCOL_ERROR)
        elif stream:
            stream.window += size
            stream.wake()

    def _ping(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise Fault(Code.PROTOCOL_ERROR, "a ping of a stream")
        if len(payload) != 8:
            raise Fault(Code.FRAME_SIZE_ERROR, "a ping of another size than eight")
        if not flags & Flag.ACK:
            self._out.send(frame(Kind.PING, Flag.ACK, 0, payload))
        elif payload == FAREWELL:
            self.part()

    def _known(self, number: int) -> None:
        """Raises: Fault, if it is a stream that never was."""
        if not number or number > self._last or not number & 1:
            raise Fault(Code.PROTOCOL_ERROR, "a frame of a stream that is not open")

    def _late(self, number: int, *, end: bool) -> None:
        """Something came for a call that has ended: it was on its way, or breaks the rules. Raises: Fault."""
        if number in self._left:
            if end:
                self._left.discard(number)
        elif number not in self._cut:
            raise Fault(Code.STREAM_CLOSED, "more of a stream that was closed")

    def _count(self, size: int) -> None:
        """Bytes of the connection's window: given back at once, since each stream has a window of its own."""
        self._room -= size
        if self._room < 0:
            raise Fault(Code.FLOW_CONTROL_ERROR, "more than the connection's window")
        self._owed += size
        if self._owed >= OWN_WINDOW // 2:
            self._out.send(window_update(0, self._owed))
            self._room += self._owed
            self._owed = 0

    def _abort(self, stream: Stream, code: Code) -> None:
        """End one call whose client broke the rules."""
        self._streams.pop(stream.number, None)
        self._refuse(stream.number, code)
        stream.break_off()

    def _refuse(self, number: int, code: Code) -> None:
        """What the client sent before it hears of that is not heard (section 5.1)."""
        self._cut.append(number)
        self._out.send(reset(number, code))

    def _impatient(self) -> None:
        if not self.welcome:
            self.close(Code.PROTOCOL_ERROR)
