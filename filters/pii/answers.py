"""The answer to a request in which values were replaced: it gets them back, whole or as an event stream."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from extproc import Continue, Exchange, Verdict
from extproc.core.filter import Reading
from extproc.errors import Malformed, TooLarge
from extproc_filters.pii.decoding import Intake
from extproc_filters.pii.links import Joined
from extproc_filters.pii.listed import listed
from extproc_filters.pii.media import MARK, Coding, Media, is_event_stream, read_media
from extproc_filters.pii.paths import Path
from extproc_filters.pii.pieces import Delta
from extproc_filters.pii.placeholders import Placeholders
from extproc_filters.pii.restore import MOST, Restorer, Restoring, StreamedPlaces
from extproc_filters.pii.where import BEGUN
from extproc_filters.pii.work import Work, given

EMBEDDINGS: Final = re.compile(r"(?i)/embeddings/?\Z|:(?:batch)?embedcontents?\Z")
"""Answers to these are large, and have no text (OpenAI, Gemini)."""


class Assigned:
    """What the request leaves for its answer: the placeholders, and what was reported of it."""

    __slots__ = ("placeholders", "report")

    def __init__(self, placeholders: Placeholders, report: Mapping[str, int | str]) -> None:
        self.placeholders = placeholders
        self.report = report

    def __repr__(self) -> str:
        return f"Assigned({self.placeholders!r})"


def reading_to_restore(exchange: Exchange) -> Reading:
    """How much of an answer is needed to put values back: nothing where there are none, or nobody knows how. Before there is
    an answer: all of it, if the request has a body in which values may be.

    Raises:
        Malformed: the content type of the request cannot be understood.
    """
    request, response = exchange.request, exchange.response
    if read_media(request.headers) is None or EMBEDDINGS.search(request.path_only):
        return Reading.NOTHING
    if response is None:
        return Reading.WHOLE
    if not isinstance(exchange.state, Assigned):
        return Reading.NOTHING
    if is_event_stream(response.headers):
        return Reading.STREAM
    try:
        media = read_media(response.headers)
    except Malformed:
        return Reading.NOTHING
    return Reading.WHOLE if media in (Media.JSON, Media.TEXT) else Reading.NOTHING


class Restoration:
    """A BodyTransformer for an answer that is there as a whole: JSON or text, of at most `limit` decoded bytes."""

    def __init__(self, assigned: Assigned, media: Media, coding: Coding | None, limit: int) -> None:
        self._passage = Return(assigned, limit)
        self._media = media
        self._intake = Intake(coding, limit)
        self._limit = limit

    def feed(self, chunk: bytes) -> bytes:
        """Raises: TooLarge, Malformed."""
        self._intake.take(chunk)
        return b""

    def finish(self) -> Iterator[bytes]:
        """The answer, decoded. Raises: TooLarge, Malformed."""
        return given(self._work())

    def conclude(self) -> Verdict:
        return Continue(report=self._passage.report())

    def _work(self) -> Work[bytes]:
        body = self._intake.whole()
        written = yield from self._written(body)
        if len(written) - len(body) > self._limit:
            raise TooLarge(f"the answer has grown by more than {self._limit} bytes")
        return written

    def _written(self, body: bytes) -> Work[bytes]:
        """What is no UTF-8, or no JSON where it says that it is, is left as it came: a placeholder in it is no harm."""
        try:
            text = body.decode()
        except UnicodeDecodeError:
            return body
        mark, text = text[: text.startswith(MARK)], text.removeprefix(MARK)
        restorer = self._passage.restorer
        if self._media is Media.JSON:
            new = yield from listed(text, self._passage)
            new = (yield from restorer.document(text)) if new is None else new
            new = new if restorer.restored else text
        else:
            new = yield from restorer.whole(text)
        return body if new == text else (mark + new).encode()


class Return:
    """The Passage that puts values back into the events of an answer."""

    strict = False

    def __init__(self, assigned: Assigned, limit: int = MOST) -> None:
        self.restorer = Restorer(assigned.placeholders, limit)
        self._report = assigned.report
        self._places = StreamedPlaces()
        self._plain = Joined(self._places.items)

    def writing(self, delta: Delta) -> Restoring:
        """Readers join what comes: the blocks of an answer, and some even its choices. A link may go on in another."""
        return self.restorer.text_being_written(document=delta.document, others=self._places.items)

    def document(self, text: str, spared: frozenset[Path], *, whole: bool = False) -> Work[str]:
        return (yield from self.restorer.document(text, 0, spared, reading=None if whole else self._places))

    def text(self, text: str) -> Work[str]:
        """What begins like JSON and is none is left alone: nobody knows how to write a value into it."""
        return text if BEGUN.match(text) else (yield from self.restorer.whole(text, links=self._plain))

    def clean(self, text: str) -> Work[bool]:  # noqa: ARG002 - it is not strict
        yield from ()
        return True

    def report(self) -> Mapping[str, int | str]:
        return {**self._report, "restored": self.restorer.restored}
