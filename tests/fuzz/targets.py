"""What must hold for every body, whatever bytes it is made of. The first bytes say how it is cut and what it is said to be.

Run by pytest with bytes of hypothesis's, and by `fuzz_bodies.py` with bytes of a fuzzer's that sees which code they reach.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from extproc.core.filter import BodyTransformer, EndOfBody
from extproc.errors import Malformed, TooLarge
from extproc_filters.pii.answers import Assigned, Restoration, Return
from extproc_filters.pii.decoding import Pieces
from extproc_filters.pii.edits import mask
from extproc_filters.pii.jsonedit import is_document
from extproc_filters.pii.media import Coding, Media
from extproc_filters.pii.placeholders import Placeholders
from extproc_filters.pii.redaction import Redaction
from extproc_filters.pii.scanner import Scanner
from extproc_filters.pii.screening import Screening
from extproc_filters.pii.streamed import Streamed
from extproc_filters.pii.task import Task

LIMIT: Final = 20_000
EMAIL: Final = "jane.roe@example.org"
LEAKED: Final = re.compile(rb"(?<![\w.-])jane\.roe@example\.org(?![\w.-])")
"""The address, where nothing makes it another."""

VALUE: Final = 'j"\\\n\u20ac@example.org'
CODINGS: Final = (None, *Coding)
MEDIA: Final = tuple(Media)
SCANNER: Final = Scanner(["EMAIL_ADDRESS", "CREDIT_CARD", "US_SSN"])


def cut(data: bytes) -> Iterator[bytes]:
    """`data` without its first byte, in pieces whose size that byte says."""
    size = data[0] % 64 + 1 if data else 1
    for start in range(1, len(data), size):
        yield data[start : start + size]


def whole(transformer: BodyTransformer, chunks: Iterator[bytes]) -> bytes | None:
    """What leaves, or None if the body is refused. Nothing else may be raised."""
    out: list[bytes] = []
    try:
        out += [transformer.feed(chunk) for chunk in chunks]
        out += transformer.finish()
    except (Malformed, TooLarge):
        return None
    except EndOfBody as end:
        out.append(end.last)
    transformer.conclude()
    return b"".join(out)


def placeholders() -> Placeholders:
    made = Placeholders()
    made.write("EMAIL_ADDRESS", VALUE, 0)
    made.write("US_SSN", "123-45-6789", 0)
    return made


def decoding(data: bytes) -> None:
    """Any bytes, in any encoding: at most so many come out of a few of them."""
    pieces = Pieces(CODINGS[data[0] % 4] if data else None, LIMIT)
    try:
        for chunk in cut(data[1:]):
            for piece in pieces.take(chunk):
                assert len(piece) <= LIMIT
        pieces.end()
    except (Malformed, TooLarge):
        return


def redacting(data: bytes) -> None:
    """What a reader of what leaves can see is no value; and JSON that leaves is JSON."""
    media = MEDIA[data[0] % 3] if data else Media.JSON
    task = Task(SCANNER, None, restore=True)
    left = whole(Redaction(task, media, None, LIMIT), cut(data[1:]))
    if left is not None:
        assert LEAKED.search(left) is None
        assert media is not Media.JSON or is_document(left.decode().removeprefix("\ufeff"))


def restoring(data: bytes) -> None:
    """JSON stays JSON, and a text that holds no placeholder stays as it is."""
    media = Media.JSON if data and data[0] % 2 else Media.TEXT
    body = data[2:]
    left = whole(Restoration(Assigned(placeholders(), {}), media, None, LIMIT), cut(data[1:]))
    if left is None:
        return
    in_pieces = any(name in body for name in (b"choices", b"candidates", b"delta"))
    plain = body.replace(b"\\", b"")
    assert left == body or in_pieces or b"[EMAIL_ADDRESS_1]" in plain or b"[US_SSN_1]" in plain
    if media is Media.JSON and _is_document(body):
        assert _is_document(left)


def streaming(data: bytes) -> None:
    """Cuts make no difference, and a stream without a placeholder leaves byte for byte."""
    results = {
        whole(Streamed(Return(Assigned(placeholders(), {})), None, LIMIT), chunks)
        for chunks in (cut(data), iter([data[1:]]), (data[at : at + 1] for at in range(1, len(data))))
    }
    assert len(results) == 1
    if b"_1" not in data and b"[" not in data and b"\\" not in data:
        assert results == {data[1:]}


def screening(data: bytes) -> None:
    """Whatever comes as an event stream, no value leaves: not in data, not in a comment or an id."""
    block = bool(data) and data[0] > 127
    task = Task(SCANNER, mask, edit=not block, block=block, answer=True)
    left = whole(Streamed(Screening(task, LIMIT), None, LIMIT), cut(data))
    assert left is None or LEAKED.search(left) is None


def answering(data: bytes) -> None:
    """A whole answer, perhaps a list of events: no value leaves, JSON stays JSON, and what holds none leaves as it came."""
    body = data[1:]
    redaction = Redaction(Task(SCANNER, mask, answer=True), Media.JSON, None, LIMIT)
    left = whole(redaction, cut(data))
    if left is not None:
        assert LEAKED.search(left) is None
        assert _is_document(left)
        assert redaction.found or left == body


def _is_document(body: bytes) -> bool:
    try:
        return is_document(body.decode().removeprefix("\ufeff"))
    except UnicodeDecodeError:
        return False


TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = MappingProxyType(
    {
        "decoding": decoding,
        "redacting": redacting,
        "restoring": restoring,
        "streaming": streaming,
        "screening": screening,
        "answering": answering,
    }
)
