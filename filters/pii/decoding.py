"""Undo a content encoding piece by piece, never holding more than the body may be long."""

import zlib
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final, Protocol

import brotli

from extproc.errors import Malformed, TooLarge
from extproc_filters.pii.media import Coding
from extproc_filters.pii.work import SLICE

GZIP_WINDOW: Final = 31
RAW_WINDOW: Final = -15


class Decoder(Protocol):
    """One body in one encoding."""

    def decode(self, chunk: bytes, room: int) -> bytes:
        """What `chunk` adds: at most a little more than `room` bytes, where more is too much anyway."""
        ...

    def finished(self) -> bool:
        """Whether the body is complete."""
        ...


class Zlib:
    """gzip, and deflate with or without its zlib header: senders disagree (RFC 9110 section 8.4.1.2)."""

    def __init__(self, window: int = 0) -> None:
        self._window = window
        self._head = b""
        self._engine = zlib.decompressobj(window) if window else None

    def decode(self, chunk: bytes, room: int) -> bytes:
        if self._engine is None:
            chunk = self._head = self._head + chunk
            if len(chunk) < 2:
                return b""
            wrapped = chunk[0] & 15 == 8 and int.from_bytes(chunk[:2], "big") % 31 == 0
            self._engine = zlib.decompressobj(zlib.MAX_WBITS if wrapped else RAW_WINDOW)
        return self._members(self._engine, chunk, room)

    def _members(self, engine: "zlib._Decompress", chunk: bytes, room: int) -> bytes:
        """A gzip body may have several members, which follow each other; deflate ends where it ends."""
        pieces: list[bytes] = []
        while chunk:
            if engine.eof:
                if self._window != GZIP_WINDOW:
                    raise Malformed("there is something behind the end of the encoded body")
                engine = self._engine = zlib.decompressobj(GZIP_WINDOW)
            pieces.append(engine.decompress(chunk, room + 1))
            room -= len(pieces[-1])
            if room < 0:
                break
            chunk = engine.unused_data
        return b"".join(pieces)

    def finished(self) -> bool:
        return self._engine is not None and self._engine.eof


class Brotli:
    """RFC 7932."""

    def __init__(self) -> None:
        self._engine = brotli.Decompressor()

    def decode(self, chunk: bytes, room: int) -> bytes:
        pieces = [self._engine.process(chunk, output_buffer_limit=room + 1)]
        room -= len(pieces[0])
        while room >= 0 and not self._engine.can_accept_more_data():
            pieces.append(self._engine.process(b"", output_buffer_limit=room + 1))
            room -= len(pieces[-1])
        return b"".join(pieces)

    def finished(self) -> bool:
        return bool(self._engine.is_finished())


class Plain:
    """Not encoded."""

    def decode(self, chunk: bytes, room: int) -> bytes:  # noqa: ARG002 - the protocol's signature
        return chunk

    def finished(self) -> bool:
        return True


def decoder(coding: Coding | None) -> Decoder:
    match coding:
        case Coding.GZIP:
            return Zlib(GZIP_WINDOW)
        case Coding.DEFLATE:
            return Zlib()
        case Coding.BROTLI:
            return Brotli()
        case None:
            return Plain()


ENCODED: Final[Mapping[type[Exception], str]] = MappingProxyType(
    {zlib.error: "the body is not what its content encoding says", brotli.error: "the body is not brotli"}
)


BITE: Final = 2048
"""Encoded bytes that are decoded at once: what they may become is bounded, whatever follows them."""


class Pieces:
    """A body that is decoded as it comes. Of a few encoded bytes at most `limit` bytes may come."""

    def __init__(self, coding: Coding | None, limit: int) -> None:
        self._decoder = decoder(coding)
        self._bite = SLICE if coding is None else BITE
        self._limit = limit
        self._begun = False

    def take(self, chunk: bytes) -> Iterator[bytes]:
        """What `chunk` adds. Raises: TooLarge, Malformed."""
        self._begun = self._begun or bool(chunk)
        for start in range(0, len(chunk), self._bite):
            yield _decoded(self._decoder, chunk[start : start + self._bite], self._limit, self._limit)

    def end(self) -> None:
        """Raises: Malformed, if the end of the body is missing."""
        if self._begun and not self._decoder.finished():
            raise Malformed("the encoded body ends too early")


def _decoded(decoding: Decoder, chunk: bytes, room: int, limit: int) -> bytes:
    """Raises: TooLarge, Malformed."""
    try:
        piece = decoding.decode(chunk, room)
    except tuple(ENCODED) as error:
        raise Malformed(ENCODED[type(error)]) from None
    if len(piece) > room:
        raise TooLarge(f"the decoded body is larger than {limit} bytes")
    return piece


class Intake:
    """The decoded body, at most `limit` bytes of it."""

    def __init__(self, coding: Coding | None, limit: int) -> None:
        self._decoder = decoder(coding)
        self._pieces: list[bytes] = []
        self._room = limit
        self._limit = limit

    def take(self, chunk: bytes) -> None:
        """Raises: TooLarge, Malformed."""
        piece = _decoded(self._decoder, chunk, self._room, self._limit)
        self._room -= len(piece)
        self._pieces.append(piece)

    def whole(self) -> bytes:
        """The body. Raises: Malformed, if its end is missing."""
        if not self._decoder.finished():
            raise Malformed("the encoded body ends too early")
        return b"".join(self._pieces)
