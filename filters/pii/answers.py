"""The answer to a request in which values were replaced: it gets them back, whole or as an event stream."""

from collections.abc import Iterator, Mapping
from typing import Final

from extproc import Continue, Verdict
from extproc.errors import TooLarge
from extproc_filters.pii.decoding import Intake
from extproc_filters.pii.dialects import Delta
from extproc_filters.pii.links import Joined
from extproc_filters.pii.media import Coding, Media
from extproc_filters.pii.paths import Path
from extproc_filters.pii.placeholders import Placeholders
from extproc_filters.pii.restore import MOST, Restorer, Restoring, StreamedPlaces
from extproc_filters.pii.where import BEGUN
from extproc_filters.pii.work import SLICE, Work

MARK: Final = "\ufeff"


class Assigned:
    """What the request leaves for its answer: the placeholders, and what was reported of it."""

    __slots__ = ("placeholders", "report")

    def __init__(self, placeholders: Placeholders, report: Mapping[str, int | str]) -> None:
        self.placeholders = placeholders
        self.report = report

    def __repr__(self) -> str:
        return f"Assigned({self.placeholders!r})"


class Restoration:
    """A BodyTransformer for an answer that is there as a whole: JSON or text, of at most `limit` decoded bytes."""

    def __init__(self, assigned: Assigned, media: Media, coding: Coding | None, limit: int) -> None:
        self._restorer = Restorer(assigned.placeholders, limit)
        self._report = assigned.report
        self._media = media
        self._intake = Intake(coding, limit)
        self._limit = limit

    def feed(self, chunk: bytes) -> bytes:
        """Raises: TooLarge, Malformed."""
        self._intake.take(chunk)
        return b""

    def finish(self) -> Iterator[bytes]:
        """The answer, decoded. Raises: TooLarge, Malformed."""
        result: list[bytes] = []
        for _ in self._work(result):
            yield b""
        for start in range(0, len(result[0]), SLICE):
            yield result[0][start : start + SLICE]

    def conclude(self) -> Verdict:
        return Continue(report={**self._report, "restored": self._restorer.restored})

    def _work(self, result: list[bytes]) -> Work[None]:
        body = self._intake.whole()
        written = yield from self._written(body)
        if len(written) - len(body) > self._limit:
            raise TooLarge(f"the answer has grown by more than {self._limit} bytes")
        result.append(written)

    def _written(self, body: bytes) -> Work[bytes]:
        """What is no UTF-8, or no JSON where it says that it is, is left as it came: a placeholder in it is no harm."""
        try:
            text = body.decode()
        except UnicodeDecodeError:
            return body
        mark, text = text[: text.startswith(MARK)], text.removeprefix(MARK)
        if self._media is Media.JSON:
            new = yield from self._restorer.document(text)
        else:
            new = yield from self._restorer.whole(text)
        return body if new == text else (mark + new).encode()


class Return:
    """The Passage that puts values back into an event stream."""

    strict = False

    def __init__(self, assigned: Assigned, limit: int = MOST) -> None:
        self._restorer = Restorer(assigned.placeholders, limit)
        self._report = assigned.report
        self._places = StreamedPlaces()
        self._plain = Joined(self._places.items)

    def writing(self, delta: Delta) -> Restoring:
        """Readers join what comes: the blocks of an answer, and some even its choices. A link may go on in another."""
        return self._restorer.text_being_written(document=delta.document, others=self._places.items)

    def document(self, text: str, spared: frozenset[Path]) -> Work[str]:
        """An event that brings pieces of texts (`spared`) has nothing else that goes on; others may have."""
        return (yield from self._restorer.document(text, 0, spared, reading=None if spared else self._places))

    def text(self, text: str) -> Work[str]:
        """What begins like JSON and is none is left alone: nobody knows how to write a value into it."""
        return text if BEGUN.match(text) else (yield from self._restorer.whole(text, links=self._plain))

    def clean(self, text: str) -> Work[bool]:  # noqa: ARG002 - it is not strict
        yield from ()
        return True

    def report(self) -> Mapping[str, int | str]:
        return {**self._report, "restored": self._restorer.restored}
