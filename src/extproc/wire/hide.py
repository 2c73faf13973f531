"""Finding bytes in a field value however they are spelt, and putting `***` in their place."""

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote_to_bytes

STARS: Final = b"***"
LAYERS: Final = 3
"""How often a value may have been percent-encoded for what it hides still to be found."""


def hide(value: bytes, cores: Iterable[bytes]) -> bytes:
    """`value` without any of `cores` (none empty), be they as they are or percent-encoded; itself if it has none."""
    for core in cores:
        if core in value:
            value = value.replace(core, STARS)
        if (b"%" in value or b"+" in value) and _is_spelt(core, value):
            value = _spellings(core).sub(STARS, value)
    return value


def _is_spelt(core: bytes, value: bytes) -> bool:
    """Whether `core` may be in `value` once its escapes are read; forms write a space as a plus. What has an escape of its own
    would be read as something else.
    """
    if b"%" in core:
        return True
    plain = core.replace(b"+", b" ")
    for _ in range(LAYERS):
        value = unquote_to_bytes(value)
        if plain in value.replace(b"+", b" "):
            return True
    return False


def _spellings(core: bytes) -> re.Pattern[bytes]:
    """Every way to write `core` with some of its bytes percent-encoded, once or several times over."""
    return re.compile(b"".join(map(_spelling, core)), re.DOTALL)


def _spelling(byte: int) -> bytes:
    raw = re.escape(bytes([byte])) + (rb"|\+" if byte == ord(" ") else b"")
    return rb"(?:%b|(?i:%%(?:25)*%02x))" % (raw, byte)
