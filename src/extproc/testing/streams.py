"""Bodies in pieces: what Envoy says of them, what leaves, and every way to cut one."""

from collections.abc import Iterable, Iterator

from extproc.core.event import Event
from extproc.core.filter import BodyTransformer, EndOfBody
from extproc.core.phase import Direction, Part
from extproc.testing.answer import Answer, GoOn


def pieces(*data: bytes, of: Direction = Direction.RESPONSE, end: bool = True) -> list[Event]:
    """Each as a piece of the answer's body (or of the request's); the last one ends it."""
    last = len(data) - 1
    return [Event(of, Part.BODY, body=piece, end=end and number == last) for number, piece in enumerate(data)]


def splits(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """`data` in two, at every place: a value must not slip through between them."""
    for at in range(len(data) + 1):
        yield data[:at], data[at:]


def sent(answers: Iterable[Answer]) -> bytes:
    """What left of a body that is streamed both ways."""
    return b"".join(answer.body or b"" for answer in answers if isinstance(answer, GoOn))


def fed(transformer: BodyTransformer, *chunks: bytes) -> bytes:
    """All that a transformer gives for these chunks and their end, as the engine would feed them.

    Raises:
        Failure: as the transformer does.
    """
    done: list[bytes] = []
    try:
        for chunk in chunks:
            done.append(transformer.feed(chunk))
            while getattr(transformer, "behind", False):
                done.append(transformer.feed(b""))
    except EndOfBody as end:
        return b"".join((*done, end.last))
    return b"".join((*done, *transformer.finish()))
