"""The frames of HTTP/2 (RFC 9113 section 4 and 6): read from bytes, written as bytes. Pure: no clock, no loop, no stream."""

from enum import IntEnum
from struct import Struct, iter_unpack
from struct import error as StructError  # noqa: N812 - it is an error's class
from typing import Final, NoReturn

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client says first (section 3.4)."""

HEAD: Final = Struct(">IBI")
"""Length (24 bits) and type (8) together, flags, stream (its highest bit is reserved)."""

STREAM: Final = 0x7FFF_FFFF
MOST_DATA: Final = 16_384
"""Bytes of a frame unless a setting says more: neither side has to take more (section 4.2)."""

WINDOW: Final = 65_535
"""Of a stream and of a connection until something is said (section 6.9.2)."""

MOST_WINDOW: Final = 0x7FFF_FFFF


class Kind(IntEnum):
    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Flag:
    """Plain numbers: those of `enum` are slow where each frame is asked for them."""

    ACK: Final = 0x1
    END_STREAM: Final = 0x1
    END_HEADERS: Final = 0x4
    PADDED: Final = 0x8
    PRIORITY: Final = 0x20


class Code(IntEnum):
    """Why a stream or a connection ends (section 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class Setting(IntEnum):
    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class Fault(Exception):
    """The connection cannot go on: what came is no HTTP/2, or more than is taken. `text` is ours and fixed."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return HEAD.pack(len(payload) << 8 | kind, flags, stream) + payload


def reset(stream: int, code: Code) -> bytes:
    return frame(Kind.RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def window_update(stream: int, size: int) -> bytes:
    return frame(Kind.WINDOW_UPDATE, 0, stream, size.to_bytes(4, "big"))


def go_away(last: int, code: Code) -> bytes:
    return frame(Kind.GOAWAY, 0, 0, last.to_bytes(4, "big") + code.to_bytes(4, "big"))


def settings(values: dict[Setting, int]) -> bytes:
    body = b"".join(key.to_bytes(2, "big") + value.to_bytes(4, "big") for key, value in values.items())
    return frame(Kind.SETTINGS, 0, 0, body)


SETTINGS_TAKEN: Final = frame(Kind.SETTINGS, Flag.ACK, 0)


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """In their order; what is not known is for the reader to pass over (section 6.5.2). Raises: Fault."""
    try:
        found: list[tuple[int, int]] = list(iter_unpack(">HI", payload))
    except StructError:
        raise Fault(Code.FRAME_SIZE_ERROR, "settings of no whole number") from None
    for key, value in found:
        _check_setting(key, value)
    return found


def read_number(payload: bytes) -> int:
    """The one number of a WINDOW_UPDATE or RST_STREAM. Raises: Fault."""
    if len(payload) != 4:
        raise Fault(Code.FRAME_SIZE_ERROR, "a frame of four bytes that has not four")
    return int.from_bytes(payload, "big")


def unpadded(flags: int, payload: bytes) -> bytes:
    """What a DATA or HEADERS frame holds beside its padding. Raises: Fault."""
    if not flags & Flag.PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise Fault(Code.PROTOCOL_ERROR, "more padding than there is room")
    return payload[1 : len(payload) - payload[0]]


def fragment(flags: int, stream: int, payload: bytes) -> bytes:
    """The piece of a header block in a HEADERS frame. Priorities are obsolete and passed over. Raises: Fault."""
    block = unpadded(flags, payload)
    if not flags & Flag.PRIORITY:
        return block
    if len(block) < 5:
        raise Fault(Code.FRAME_SIZE_ERROR, "a priority without room for one")
    if int.from_bytes(block[:4], "big") & STREAM == stream:
        raise Fault(Code.PROTOCOL_ERROR, "a stream that depends on itself")
    return block[5:]


def check_priority(_flags: int, stream: int, payload: bytes) -> None:
    """Obsolete (section 5.3.2), but checked. Raises: Fault."""
    if not stream:
        raise Fault(Code.PROTOCOL_ERROR, "a priority of no stream")
    if len(payload) != 5:
        raise Fault(Code.FRAME_SIZE_ERROR, "a priority of another size than five")
    fragment(Flag.PRIORITY, stream, payload)


def check_farewell(_flags: int, stream: int, payload: bytes) -> None:
    """The client begins nothing more, and what is open goes on: nothing is to be done. Raises: Fault."""
    if stream:
        raise Fault(Code.PROTOCOL_ERROR, "a farewell of a stream")
    if len(payload) < 8:
        raise Fault(Code.FRAME_SIZE_ERROR, "a farewell of less than eight")


def refuse_promise(_flags: int, _stream: int, _payload: bytes) -> NoReturn:
    """Raises: Fault."""
    raise Fault(Code.PROTOCOL_ERROR, "a promise from a client")


def _check_setting(key: int, value: int) -> None:
    if key == Setting.INITIAL_WINDOW_SIZE and value > MOST_WINDOW:
        raise Fault(Code.FLOW_CONTROL_ERROR, "an initial window that is too large")
    if key == Setting.MAX_FRAME_SIZE and not MOST_DATA <= value < 1 << 24:
        raise Fault(Code.PROTOCOL_ERROR, "a frame size that may not be asked for")
    if key == Setting.ENABLE_PUSH and value > 1:
        raise Fault(Code.PROTOCOL_ERROR, "a switch that is neither on nor off")
