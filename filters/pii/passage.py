"""What becomes of the texts of an event stream, which `Streamed` takes apart and puts together again."""

from collections.abc import Mapping
from typing import Protocol

from extproc_filters.pii.paths import Path
from extproc_filters.pii.pieces import Delta
from extproc_filters.pii.work import Work


class Writing(Protocol):
    """One text that comes in pieces."""

    @property
    def holds(self) -> bool:
        """Whether something of it has not left."""
        ...

    def push(self, piece: str) -> Work[str]:
        """What may leave of all that has come."""
        ...

    def flush(self) -> Work[str]:
        """The rest: the text ends here."""
        ...


class Passage(Protocol):
    """What becomes of the texts of a stream."""

    strict: bool
    """Whether what cannot be read may not pass, nor lines besides the data that hold something."""

    def writing(self, delta: Delta) -> Writing | None:
        """For a text that begins; None for one that is left alone."""
        ...

    def document(self, text: str, spared: frozenset[Path], *, whole: bool = False) -> Work[str]:
        """An event that is JSON, but for the places in `spared`. `whole`: nothing else of it goes on in another event."""
        ...

    def text(self, text: str) -> Work[str]:
        """An event that is none."""
        ...

    def clean(self, text: str) -> Work[bool]:
        """Whether nothing is found in `text`. Asked if it is strict."""
        ...

    def report(self) -> Mapping[str, int | str]: ...


class Stop(Exception):
    """Nothing more may leave but `last`, the data of one event. Raised by a Passage."""

    def __init__(self, last: bytes) -> None:
        super().__init__("the stream ends here")
        self.last = last
