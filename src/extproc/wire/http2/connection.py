"""One connection: its frames, its windows, its streams. Everything a client can make grow is bounded here, and whoever breaks
the rules of HTTP/2 loses the connection; that a stream is reset never costs the others anything (PROTOCOL 7).
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, cast

import structlog

from extproc.wire.http2.frames import (
    HEAD,
    MOST_DATA,
    MOST_WINDOW,
    PREFACE,
    SETTINGS_TAKEN,
    STREAM,
    WINDOW,
    Code,
    Fault,
    Flag,
    Kind,
    Setting,
    fragment,
    frame,
    go_away,
    read_number,
    read_settings,
    reset,
    settings,
    unpadded,
    window_update,
)
from extproc.wire.http2.head import MOST_LIST, Heads, head, trailing
from extproc.wire.http2.outbox import Outbox
from extproc.wire.http2.stream import Stream

log = structlog.get_logger("extproc.wire")

MOST_STREAMS: Final = 8192
"""Calls at once on one connection: an event stream is one for as long as it lasts, and costs nothing while nothing comes."""

OWN_WINDOW: Final = 16 * 1024 * 1024
"""Bytes that a client may have on its way on all streams together. What each of them may have is its own window."""

PATIENCE: Final = 10.0
"""Seconds until a client has said that it speaks HTTP/2."""

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
    has ended.
    """

    def __init__(self, serve: Serve, limit: int, lost: Callable[["Connection"], None]) -> None:
        self.serve, self._limit, self._lost = serve, limit, lost
        self._loop = asyncio.get_running_loop()
        self._out = Outbox(self._loop)
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._impatience = self._loop.call_later(PATIENCE, self._impatient)
        self._heads = Heads()
        self._streams: dict[int, Stream] = {}
        self._left: set[int] = set()
        self._rest = b""
        self._opened = self._greeted = self._going = False
        self._last = 0
        self._block: tuple[int, int, bytes] | None = None
        self._initial = WINDOW
        self._room, self._owed = OWN_WINDOW, 0
        self._read: dict[int, Callable[[int, int, bytes], None]] = {
            Kind.DATA: self._data,
            Kind.HEADERS: self._headers,
            Kind.PRIORITY: self._priority,
            Kind.RST_STREAM: self._reset,
            Kind.SETTINGS: self._settings,
            Kind.PUSH_PROMISE: self._push_promise,
            Kind.PING: self._ping,
            Kind.GOAWAY: self._go_away,
            Kind.WINDOW_UPDATE: self._window_update,
            Kind.CONTINUATION: self._continuation,
        }

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._opened = True
        self._out.open(cast("asyncio.Transport", transport))  # of a stream's server
        self._out.send(OPENING)
        self.data_received(b"")

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._impatience.cancel()
        self._going = True
        for stream in list(self._streams.values()):
            stream.break_off()
        self._streams.clear()
        self._lost(self)
        if not self.ended.done():
            self.ended.set_result(None)

    def data_received(self, data: bytes) -> None:
        if not self._opened:  # it came with the end of the handshake
            self._rest += data
            return
        try:
            self._take(self._rest + data if self._rest else data)
        except Fault as fault:
            log.warning("connection_closed", why=fault.text)
            self.close(fault.code)

    def pause_writing(self) -> None:
        self._out.pause()

    def resume_writing(self) -> None:
        self._out.resume()

    def finish(self) -> None:
        """Take no more calls. The client hangs up when those that are open have ended."""
        if not self._going:
            self._going = True
            self._out.send(go_away(self._last, Code.NO_ERROR))

    def close(self, code: Code = Code.NO_ERROR) -> None:
        """Say why, and end it with all that is open. One who does not read it has PATIENCE."""
        self._going = True
        self._out.send(go_away(self._last, code))
        self._impatience.cancel()
        if self._out.close():
            self._impatience = self._loop.call_later(PATIENCE, self.abort)

    def abort(self) -> None:
        """End it at once."""
        self._out.abort()

    def _leave(self, stream: Stream) -> None:
        """A call has ended. What the client still has to say of it is not heard."""
        self._streams.pop(stream.number, None)
        if not stream.half_closed:
            self._left.add(stream.number)

    def _take(self, data: bytes) -> None:
        at = 0
        if not self._greeted:
            at = self._greet(data)
        size = len(data)
        while size - at >= HEAD.size:
            first, flags, stream = HEAD.unpack_from(data, at)
            end = at + HEAD.size + (first >> 8)
            if first >> 8 > MOST_DATA:
                raise Fault(Code.FRAME_SIZE_ERROR, "a frame that is too long")
            if end > size:
                break
            self._frame(first & 0xFF, flags, stream & STREAM, data[at + HEAD.size : end])
            at = end
        self._rest = data[at:]

    def _greet(self, data: bytes) -> int:
        """How much of `data` is the preface. Raises: Fault."""
        if not PREFACE.startswith(data[: len(PREFACE)]):
            raise Fault(Code.PROTOCOL_ERROR, "what came is no HTTP/2")
        if len(data) < len(PREFACE):
            return 0
        self._greeted = True
        self._impatience.cancel()
        return len(PREFACE)

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if self._block and (kind != Kind.CONTINUATION or stream != self._block[0]):
            raise Fault(Code.PROTOCOL_ERROR, "a header block was not continued")
        if read := self._read.get(kind):  # kinds that are not known are passed over (section 4.1)
            read(flags, stream, payload)

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

    def _headers(self, flags: int, number: int, payload: bytes) -> None:
        if not number & 1:
            raise Fault(Code.PROTOCOL_ERROR, "a stream of which a client has none")
        block = fragment(flags, number, payload)
        if flags & Flag.END_HEADERS:
            self._begin(number, flags, block)
        else:
            self._block = number, flags, block

    def _continuation(self, flags: int, number: int, payload: bytes) -> None:
        if self._block is None:
            raise Fault(Code.PROTOCOL_ERROR, "a continuation of nothing")
        _, first, block = self._block
        block += payload
        if len(block) > MOST_LIST or not (payload or flags & Flag.END_HEADERS):
            raise Fault(Code.ENHANCE_YOUR_CALM, "a header block that is too long")
        self._block = number, first, block
        if flags & Flag.END_HEADERS:
            self._block = None
            self._begin(number, first, block)

    def _begin(self, number: int, flags: int, block: bytes) -> None:
        """A call, or the trailers of one."""
        fields = self._heads.read(block)
        end = bool(flags & Flag.END_STREAM)
        if stream := self._streams.get(number):
            if stream.half_closed or not end or not trailing(fields):
                self._abort(stream, Code.PROTOCOL_ERROR)
            else:
                stream.take(b"", end=True)
            return
        if number <= self._last:
            self._late(number, end=True)
            return
        self._last = number
        asked = head(fields)
        if asked is None:
            self._out.answer(reset(number, Code.PROTOCOL_ERROR))
        elif self._going or len(self._streams) + len(self._left) >= MOST_STREAMS:
            self._out.answer(reset(number, Code.REFUSED_STREAM))
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
        for key, value in read_settings(payload):
            if key == Setting.INITIAL_WINDOW_SIZE:
                self._resize(value - self._initial)
                self._initial = value
            elif key == Setting.MAX_FRAME_SIZE:
                self._out.most = value
        self._out.answer(SETTINGS_TAKEN)

    def _resize(self, change: int) -> None:
        """The windows of streams that are open change too, below nothing if need be (section 6.9.2)."""
        for stream in self._streams.values():
            stream.window += change
            if stream.window > MOST_WINDOW:
                raise Fault(Code.FLOW_CONTROL_ERROR, "a window that is too large")
        self._out.wake()

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
            self._out.answer(frame(Kind.PING, Flag.ACK, 0, payload))

    def _go_away(self, _flags: int, number: int, _payload: bytes) -> None:
        """The client begins nothing more; what is open goes on."""
        if number:
            raise Fault(Code.PROTOCOL_ERROR, "a farewell of a stream")

    def _priority(self, _flags: int, number: int, payload: bytes) -> None:
        """Obsolete (section 5.3.2), but checked."""
        if not number:
            raise Fault(Code.PROTOCOL_ERROR, "a priority of no stream")
        if len(payload) != 5:
            raise Fault(Code.FRAME_SIZE_ERROR, "a priority of another size than five")
        fragment(Flag.PRIORITY, number, payload)

    def _push_promise(self, _flags: int, _number: int, _payload: bytes) -> None:
        raise Fault(Code.PROTOCOL_ERROR, "a promise from a client")

    def _known(self, number: int) -> None:
        """Raises: Fault, if it is a stream that never was."""
        if not number or number > self._last or not number & 1:
            raise Fault(Code.PROTOCOL_ERROR, "a frame of a stream that is not open")

    def _late(self, number: int, *, end: bool) -> None:
        """Something came for a call that has ended: it was on its way, or breaks the rules. Raises: Fault."""
        if number not in self._left:
            raise Fault(Code.STREAM_CLOSED, "more of a stream that was closed")
        if end:
            self._left.discard(number)

    def _count(self, size: int) -> None:
        """Bytes of the connection's window: given back at once, since each stream has a window of its own."""
        self._room -= size
        if self._room < 0:
            raise Fault(Code.FLOW_CONTROL_ERROR, "more than the connection's window")
        self._owed += size
        if self._owed >= OWN_WINDOW // 2:
            self._out.answer(window_update(0, self._owed))
            self._room += self._owed
            self._owed = 0

    def _abort(self, stream: Stream, code: Code) -> None:
        """End one call whose client broke the rules."""
        self._streams.pop(stream.number, None)
        self._out.answer(reset(stream.number, code))
        stream.break_off()

    def _impatient(self) -> None:
        self.close(Code.PROTOCOL_ERROR)
