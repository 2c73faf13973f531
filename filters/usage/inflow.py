"""A body that is decoded as it comes, so much at a time."""

from collections import deque
from collections.abc import Iterator
from typing import Final

from extproc.errors import TooLarge
from extproc_filters.pii.decoding import Pieces
from extproc_filters.pii.media import Coding

SLICE: Final = 8 * 1024
"""Decoded bytes that are worked on without a pause. What comes encoded can become a hundred times as long, and a hostile text
is a hundred times the work of an ordinary one.
"""

BITE: Final = 4 * 1024 * 1024
"""Decoded bytes that may come of 2 KiB: as much as deflate can make of them, and more."""

WAITING: Final = 1024 * 1024
"""Encoded bytes that may wait. Of an event stream they are some hundred thousand events."""


class Inflow:
    """Takes pieces as they come and gives their text in slices: of what is encoded about one slice for each question. What is
    more waits for the next, and it is `behind`. `finished`: all was given, to its right end.
    """

    def __init__(self, coding: Coding | None) -> None:
        self.finished = False
        self.behind = False
        self._pieces = Pieces(coding, BITE)
        self._encoded = coding is not None
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._slices: Iterator[bytes] = iter(())

    def put(self, chunk: bytes) -> Iterator[bytes]:
        """What there is to work on now that `chunk` has come. Raises: TooLarge, Malformed."""
        self._waiting.append(chunk)
        self._size += len(chunk)
        if self._size > WAITING:
            raise TooLarge("the body grows faster than it is read")
        self.behind = False
        room = SLICE
        for data in self._take():
            yield data
            room -= len(data)
            if self._encoded and room <= 0:
                self.behind = True
                return

    def rest(self) -> Iterator[bytes]:
        """All that waits: the body has ended. Raises: TooLarge; Malformed, also if the end of what is encoded is missing."""
        yield from self._take()
        self._pieces.end()
        self.finished = True

    @property
    def waiting(self) -> int:
        """Bytes that came and have not been given."""
        return self._size

    def _take(self) -> Iterator[bytes]:
        while True:
            if (data := next(self._slices, None)) is not None:
                yield data
            elif self._waiting:
                chunk = self._waiting.popleft()
                self._size -= len(chunk)
                self._slices = self._decoded(chunk)
            else:
                return

    def _decoded(self, chunk: bytes) -> Iterator[bytes]:
        for data in self._pieces.take(chunk):
            for start in range(0, len(data), SLICE):
                yield data[start : start + SLICE]
