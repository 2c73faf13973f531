"""Header blocks (HPACK, RFC 7541): what a call asks for, and the few that are answered.

Clients are asked to use no dynamic table. Then a block says the same wherever it stands, and the calls of a proxy all begin
with one of a few blocks, each of which is read once. The decoder is the `hpack` package's; what is answered needs no more
than literals.
"""

from contextlib import suppress
from functools import lru_cache
from typing import Final, NamedTuple

from hpack import Decoder, HPACKError, OversizedHeaderListError

from extproc.wire.http2.frames import Code, Fault

MOST_LIST: Final = 96 * 1024
"""Bytes of a header list, counted as HTTP/2 counts them (RFC 9113 section 6.5.2). An Envoy that traces hands on what callers
send as `tracestate`: that may be nearly all of the 60 KiB that it takes of a request by default.
"""

LONGEST_CACHED: Final = 2048

GIVEN_UP: Final = b"\x20"
"""How a block begins that says: there is no dynamic table (RFC 7541 section 6.3)."""

PSEUDO: Final = frozenset({b":method", b":path", b":scheme", b":authority"})
FORBIDDEN: Final = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})

Fields = tuple[tuple[bytes, bytes], ...]


class Head(NamedTuple):
    """The headers of a call."""

    method: bytes
    path: str
    fields: Fields

    def get(self, name: bytes) -> bytes:
        """The first value of a field, empty if there is none."""
        return next((value for found, value in self.fields if found == name), b"")


class Heads:
    """Reads the blocks of one connection. A client may use its dynamic table until it says that it gave it up."""

    def __init__(self) -> None:
        self._decoder = Decoder(max_header_list_size=MOST_LIST)
        self._stateless = False

    def read(self, block: bytes) -> Fields:
        """The fields of a block; none if they are too long, which makes no call. Raises: Fault."""
        if self._stateless and len(block) <= LONGEST_CACHED:
            return _known(block)
        found = _decoded(self._decoder, block)
        self._stateless = self._decoder.header_table_size == 0
        return found


@lru_cache(maxsize=64)
def head(fields: Fields) -> Head | None:
    """What a call asks for; None if its headers are malformed (RFC 9113 section 8.3)."""
    pseudo: dict[bytes, bytes] = {}
    rest: list[tuple[bytes, bytes]] = []
    for name, value in fields:
        if name.startswith(b":"):
            if rest or name in pseudo or name not in PSEUDO:
                return None
            pseudo[name] = value
        elif not _allowed(name, value):
            return None
        else:
            rest.append((name, value))
    if not {b":method", b":scheme", b":path"} <= pseudo.keys() or not pseudo[b":path"]:
        return None
    return Head(pseudo[b":method"], pseudo[b":path"].decode("latin-1"), tuple(rest))


def trailing(fields: Fields) -> bool:
    """Whether these can be trailers."""
    return all(not name.startswith(b":") and _allowed(name, value) for name, value in fields)


def block(fields: Fields, status: bytes = b"") -> bytes:
    """A header block without Huffman's code: literals that nobody is to remember, and `:status` by its number in the static
    table (RFC 7541 section 6.2.2 and appendix A).
    """
    begin = b"\x08" + _text(status) if status and status != b"200" else b"\x88" * bool(status)
    return begin + b"".join(b"\x00" + _text(name) + _text(value) for name, value in fields)


def _allowed(name: bytes, value: bytes) -> bool:
    """Names are in lower case, and nothing speaks of the connection (section 8.2)."""
    return name == name.lower() and name not in FORBIDDEN and (name != b"te" or value == b"trailers")


def _decoded(decoder: Decoder, data: bytes) -> Fields:
    """What is too long is not read to its end: that costs its call alone, unless later blocks build on it. Raises: Fault."""
    try:
        with suppress(OversizedHeaderListError):
            if len(data) <= MOST_LIST:
                return tuple((bytes(name), bytes(value)) for name, value in decoder.decode(data, raw=True))
    except HPACKError:
        raise Fault(Code.COMPRESSION_ERROR, "a header block that is none") from None
    if data.startswith(GIVEN_UP):
        decoder.header_table_size = 0
    if decoder.header_table_size:
        raise Fault(Code.COMPRESSION_ERROR, "a header block that is too long")
    return ()


@lru_cache(maxsize=256)
def _known(data: bytes) -> Fields:
    """The fields of a block that needs no table of its own. Each field is read once too: traced calls differ in one alone."""
    data = data.removeprefix(GIVEN_UP)
    pieces = _split(data)
    if pieces is None:
        return _alone(data)
    found = tuple(field for piece in pieces for field in _field(piece))
    return found if sum(len(name) + len(value) + 32 for name, value in found) <= MOST_LIST else ()


@lru_cache(maxsize=1024)
def _field(piece: bytes) -> Fields:
    return _alone(piece)


def _alone(data: bytes) -> Fields:
    """Raises: Fault."""
    decoder = Decoder(max_header_list_size=MOST_LIST)
    decoder.header_table_size = 0
    decoder.max_allowed_table_size = 0
    return _decoded(decoder, data)


def _split(data: bytes) -> list[bytes] | None:
    """The fields of a block, each by itself (RFC 7541 section 6); None if there is something else in it, or no end."""
    found, begin = [], 0
    try:
        while begin < len(data):
            first = data[begin]
            if first & 0xE0 == 0x20:  # the size of a table
                return None
            number, end = _number(data, begin, 0x7F if first & 0x80 else 0x3F if first & 0x40 else 0x0F)
            if not first & 0x80:
                end = _behind(data, end if number else _behind(data, end))
            found.append(data[begin:end])
            begin = end
    except IndexError:
        return None
    return found if begin == len(data) else None


def _number(data: bytes, at: int, prefix: int) -> tuple[int, int]:
    """An integer, and where it ends (section 5.1). Raises: IndexError."""
    value, shift = data[at] & prefix, 0
    if value < prefix:
        return value, at + 1
    while True:
        at += 1
        value += (data[at] & 0x7F) << shift
        if data[at] < 0x80:
            return value, at + 1
        shift += 7


def _behind(data: bytes, at: int) -> int:
    """Where a string literal ends (section 5.2). Raises: IndexError."""
    length, at = _number(data, at, 0x7F)
    return at + length


def _text(data: bytes) -> bytes:
    """A string literal: its length in seven bits, or in those and what follows (section 5.1)."""
    length = len(data)
    if length < 0x7F:
        return bytes([length]) + data
    length -= 0x7F
    prefix = bytearray(b"\x7f")
    while length >= 0x80:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    prefix.append(length)
    return bytes(prefix) + data
