"""gRPC's messages in a stream of bytes: each has five bytes before it, a flag and its length (gRPC over HTTP/2, "Requests").
Pure: no clock, no loop, no ASGI.
"""

from collections.abc import Iterator
from typing import Final, NoReturn

from extproc.wire.status import Ended, Status

HEAD: Final = 5
"""Bytes before a message: one that says whether it is compressed, four with its length (big endian)."""

ROOM: Final = 1024 * 1024
"""Bytes that a message may have beside a body: headers (60 KiB in Envoy by default) and attributes."""

SAFE: Final = frozenset(range(0x20, 0x7F)) - {ord("%")}


class Frames:
    """The messages in pieces that are cut anywhere. One of more than `limit` bytes is refused when its length is known. Nothing
    is read after what was refused: the inside of a message must never pass for one.
    """

    __slots__ = ("_fault", "_limit", "_rest")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = bytearray()
        self._fault: Ended | None = None

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The messages that are whole with this piece, in their order. To be read to its end before the next piece.

        Raises:
            Ended: one is too long, or compressed, or what comes is no message; and again for each piece after it.
        """
        if self._fault:
            raise self._fault
        rest = self._rest
        if not rest and len(piece) >= HEAD and self._length(piece, 0) == len(piece) - HEAD:
            yield piece[HEAD:]  # as Envoy sends nearly all of them
            return
        rest += piece
        begin = 0
        while len(rest) - begin >= HEAD:
            end = begin + HEAD + self._length(rest, begin)
            if end > len(rest):
                break
            yield bytes(rest[begin + HEAD : end])
            begin = end
        del rest[:begin]

    def end(self) -> None:
        """There are no more pieces. Raises: Ended, if a message has only begun."""
        if self._rest:
            raise Ended(Status.INTERNAL, "the stream ends within a message")

    def _length(self, data: bytes | bytearray, at: int) -> int:
        if data[at] == 1:
            self._refuse(Status.UNIMPLEMENTED, "compressed messages are not read")
        if data[at]:
            self._refuse(Status.INTERNAL, "a message with a flag that is not known")
        length = int.from_bytes(data[at + 1 : at + HEAD], "big")
        if length > self._limit:
            self._refuse(Status.RESOURCE_EXHAUSTED, "the message is too large")
        return length

    def _refuse(self, status: Status, text: str) -> NoReturn:
        self._fault = Ended(status, text)
        raise self._fault


def frame(message: bytes) -> bytes:
    """`message` with its five bytes, not compressed."""
    return b"\0%b%b" % (len(message).to_bytes(4, "big"), message)


def encoded(text: str) -> bytes:
    """A status message as it travels in a header (percent-encoded UTF-8; gRPC over HTTP/2, "Status-Message")."""
    return b"".join(bytes([byte]) if byte in SAFE else b"%%%02X" % byte for byte in text.encode())
