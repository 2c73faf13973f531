"""Content codings of answers, flushed at each piece, so that a reader has each event when it is said."""

import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import brotli


class Encoder(Protocol):
    def piece(self, data: bytes) -> bytes: ...
    def end(self) -> bytes: ...


class _Identity:
    def piece(self, data: bytes) -> bytes:
        return data

    def end(self) -> bytes:
        return b""


class _Zlib:
    def __init__(self, bits: int) -> None:
        self._deflate = zlib.compressobj(wbits=bits)

    def piece(self, data: bytes) -> bytes:
        return self._deflate.compress(data) + self._deflate.flush(zlib.Z_SYNC_FLUSH)

    def end(self) -> bytes:
        return self._deflate.flush()


class _Brotli:
    def __init__(self) -> None:
        self._brotli: Any = brotli.Compressor()

    def piece(self, data: bytes) -> bytes:
        return bytes(self._brotli.process(data) + self._brotli.flush())

    def end(self) -> bytes:
        return bytes(self._brotli.finish())


ENCODERS: Final[Mapping[str | None, Callable[[], Encoder]]] = {
    None: _Identity,
    "gzip": lambda: _Zlib(31),
    "deflate": lambda: _Zlib(15),
    "br": _Brotli,
}
"""By name. The window sizes are zlib's: for gzip, and for the zlib format that HTTP calls deflate (RFC 9110, 8.4.1.2)."""
