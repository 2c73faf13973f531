"""`mode: detect`: a body is looked at as it passes, and nothing about it is changed or denied, whatever it is."""

from collections.abc import Iterator, Mapping

from extproc import Continue, Verdict
from extproc.core.filter import BodyTransformer
from extproc.core.headers import Headers
from extproc.errors import Malformed, TooLarge
from extproc_filters.pii.media import Media, is_event_stream, read_media


class Detecting:
    """A BodyTransformer that only watches what `looking` finds; `found` is what was found outside the body. A body that
    cannot be read is reported as `unread`.
    """

    def __init__(self, looking: BodyTransformer | None, found: Mapping[str, int | str]) -> None:
        self._looking = looking
        self._found = found

    @property
    def behind(self) -> bool:
        return bool(getattr(self._looking, "behind", False))

    def feed(self, chunk: bytes) -> bytes:
        if self._looking is not None:
            try:
                self._looking.feed(chunk)
            except (Malformed, TooLarge):
                self._looking = None
        return chunk

    def finish(self) -> Iterator[bytes]:
        if self._looking is None:
            return
        try:
            for _ in self._looking.finish():
                yield b""
        except (Malformed, TooLarge):
            self._looking = None

    def conclude(self) -> Verdict:
        if self._looking is None:
            return Continue(report={**self._found, "unread": 1})
        verdict = self._looking.conclude()
        return Continue(report={**self._found, **verdict.report}) if isinstance(verdict, Continue) else verdict


def detected_media(headers: Headers) -> Media | None:
    """The kind of a body, or None if it is one that is not read, for whatever reason; an event stream is a text."""
    if is_event_stream(headers):
        return Media.TEXT
    try:
        return read_media(headers)
    except Malformed:
        return None
