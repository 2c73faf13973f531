"""One body on its way through the detector."""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Final

from extproc import Continue, Verdict
from extproc.core.verdict import deny
from extproc.errors import Malformed
from extproc_filters.pii.decoding import Intake
from extproc_filters.pii.documents import read
from extproc_filters.pii.edits import Edit, Writer, count
from extproc_filters.pii.findings import merge
from extproc_filters.pii.media import Coding, Media
from extproc_filters.pii.paths import Path
from extproc_filters.pii.scanner import Scanner
from extproc_filters.pii.work import SLICE, Work

MARK: Final = "\ufeff"
"""A byte order mark: kept, and no part of any document (RFC 8259 section 8.1)."""


@dataclass(frozen=True, slots=True)
class Task:
    """What to do with the findings of one body: `edit` it, `block` it, or neither (only count)."""

    scanner: Scanner
    writer: Writer
    fields: tuple[Path, ...] = ()
    edit: bool = True
    block: bool = False


@dataclass(slots=True)
class Redaction:
    """A BodyTransformer: it takes the whole body, then gives back what may leave. `headers` are the names that the request
    has; `limit` is in decoded bytes.
    """

    task: Task
    media: Media
    coding: Coding | None
    limit: int
    headers: Collection[str] = ()
    found: Counter[str] = field(default_factory=Counter)
    _intake: Intake = field(init=False)

    def __post_init__(self) -> None:
        self._intake = Intake(self.coding, self.limit)

    def feed(self, chunk: bytes) -> bytes:
        """Nothing leaves before all of it was seen. Raises: TooLarge, Malformed."""
        self._intake.take(chunk)
        return b""

    def finish(self) -> Iterator[bytes]:
        """The body, decoded and edited. Raises: TooLarge, Malformed."""
        result: list[bytes] = []
        for _ in self._work(result):
            yield b""
        for start in range(0, len(result[0]), SLICE):
            yield result[0][start : start + SLICE]

    def conclude(self) -> Verdict:
        if self.task.block and self.found:
            return deny("pii_blocked", f"the body holds {', '.join(sorted(self.found))}")
        coding = tuple({"content-encoding"}.intersection(self.headers))
        return Continue(remove_headers=coding, report=dict(sorted(self.found.items())))

    def _work(self, result: list[bytes]) -> Work[None]:
        body = self._intake.whole()
        edits, edited = yield from self._edited(body)
        self.found = count(edits)
        result.append(body if edited is None else edited)

    def _edited(self, body: bytes) -> Work[tuple[list[Edit], bytes | None]]:
        """What was found, and the body without it, or None if it may leave as it is."""
        try:
            text = body.decode("utf-8")
        except UnicodeDecodeError:
            raise Malformed("the body is not UTF-8") from None
        document = yield from read(self.media, text.removeprefix(MARK), self.task.fields)
        found = yield from self.task.scanner.find(document.text, escaped=document.escaped)
        findings = yield from merge(found)
        edits = yield from document.edits(findings, self.task.writer)
        if not edits or not self.task.edit:
            return edits, None
        written = document.write(edits)
        return edits, (MARK + written if text.startswith(MARK) else written).encode()
