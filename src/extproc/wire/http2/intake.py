"""What comes on one connection: bytes that are cut anywhere, handed on as whole frames, and whole header blocks."""

from collections.abc import Callable, Mapping

from extproc.wire.http2.frames import HEAD, MOST_DATA, PREFACE, STREAM, Code, Fault, Flag, Kind, fragment
from extproc.wire.http2.head import MOST_LIST

Read = Callable[[int, int, bytes], None]
"""Takes a frame: its flags, its stream, what it holds. Of a HEADERS frame that is the whole block."""


class Intake:
    """Hands each frame to the one in `readers` for its kind; kinds that nobody reads are passed over (RFC 9113 section 4.1)."""

    def __init__(self, readers: Mapping[int, Read]) -> None:
        self._readers = readers
        self._rest = b""
        self._block: tuple[int, int, bytearray] | None = None
        self.greeted = False
        """Whether the client has said that it speaks HTTP/2."""

    def feed(self, data: bytes) -> None:
        """What came. Raises: Fault; nothing may be fed after it."""
        if self._rest:
            data = self._rest + data
        at = 0 if self.greeted else self._greet(data)
        size = len(data) if self.greeted else 0
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
        self.greeted = len(data) >= len(PREFACE)
        return len(PREFACE) if self.greeted else 0

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if self._block or kind == Kind.CONTINUATION:
            self._continue(kind, flags, stream, payload)
        elif kind == Kind.HEADERS:
            self._headers(flags, stream, payload)
        elif read := self._readers.get(kind):
            read(flags, stream, payload)

    def _headers(self, flags: int, stream: int, payload: bytes) -> None:
        block = fragment(flags, stream, payload)
        if flags & Flag.END_HEADERS:
            self._readers[Kind.HEADERS](flags, stream, block)
        else:
            self._block = stream, flags, bytearray(block)

    def _continue(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if self._block is None:
            raise Fault(Code.PROTOCOL_ERROR, "a continuation of nothing")
        begun, first, block = self._block
        if kind != Kind.CONTINUATION or stream != begun:
            raise Fault(Code.PROTOCOL_ERROR, "a header block was not continued")
        if not (payload or flags & Flag.END_HEADERS):
            raise Fault(Code.ENHANCE_YOUR_CALM, "a piece of a header block with nothing in it")
        if len(block) <= MOST_LIST:  # else it is too long whatever comes, and none of that is kept
            block += payload
        if flags & Flag.END_HEADERS:
            self._block = None
            self._readers[Kind.HEADERS](first, begun, bytes(block))
