"""One body on its way through the detector."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from extproc import Continue, Verdict
from extproc.core.verdict import deny
from extproc.errors import Malformed
from extproc_filters.pii.answers import Assigned
from extproc_filters.pii.decoding import Intake
from extproc_filters.pii.documents import Document, read
from extproc_filters.pii.edits import Writer, count
from extproc_filters.pii.findings import Finding, merge
from extproc_filters.pii.listed import listed
from extproc_filters.pii.logprobs import without_logprobs
from extproc_filters.pii.media import MARK, Coding, Media
from extproc_filters.pii.placeholders import Placeholders, present
from extproc_filters.pii.screening import Screening
from extproc_filters.pii.task import Task
from extproc_filters.pii.work import Work, given


@dataclass(slots=True)
class Redaction:
    """A BodyTransformer: it takes the whole body, then gives back what may leave. `limit` is in decoded bytes; `target` is the
    rest of the request in which a placeholder could have been already.
    """

    task: Task
    media: Media
    coding: Coding | None
    limit: int
    target: str = field(default="", repr=False)
    found: Counter[str] = field(default_factory=Counter)
    _intake: Intake = field(init=False)
    _assigned: Placeholders | None = None

    def __post_init__(self) -> None:
        self._intake = Intake(self.coding, self.limit)

    def feed(self, chunk: bytes) -> bytes:
        """Nothing leaves before all of it was seen. Raises: TooLarge, Malformed."""
        self._intake.take(chunk)
        return b""

    def finish(self) -> Iterator[bytes]:
        """The body, decoded and edited. Raises: TooLarge, Malformed."""
        return given(self._work())

    def conclude(self) -> Verdict:
        if self.task.block and self.found:
            holds = "the answer holds" if self.task.answer else "the body holds"
            return deny("pii_blocked", f"{holds} {', '.join(sorted(self.found))}")
        report = dict(sorted(self.found.items()))
        return Continue(report=report, state=Assigned(self._assigned, report) if self._assigned else None)

    def _work(self) -> Work[bytes]:
        body = self._intake.whole()
        try:
            text = body.decode("utf-8")
        except UnicodeDecodeError:
            raise Malformed("the body is not UTF-8") from None
        mark, text = text[: text.startswith(MARK)], text.removeprefix(MARK)
        spoken = self.task.answer and self.media is Media.JSON
        left = (yield from self._in_pieces(text)) if spoken else None
        left = (yield from self._edited(text)) if left is None else left
        if spoken and left != text:
            left = yield from without_logprobs(left)
        return body if left == text else (mark + left).encode()

    def _in_pieces(self, text: str) -> Work[str | None]:
        """What leaves if `text` is a list of events; None if it is none. Pieces are moved only if something was found."""
        screening = Screening(replace(self.task, block=False), self.limit, live=False)
        left = yield from listed(text, screening)
        self.found = screening.found
        return text if left is not None and not (self.found and self.task.edit) else left

    def _edited(self, text: str) -> Work[str]:
        """What leaves."""
        document = yield from read(self.media, text, self.task.fields, answer=self.task.answer)
        found = yield from self.task.scanner.find(document.text, escaped=document.escaped)
        findings = yield from merge(found)
        writer = self.task.writer or (yield from self._assigning(document, findings))
        edits = yield from document.edits(findings, writer)
        self.found = count(edits)
        return (yield from document.write(edits)) if edits and self.task.edit else text

    def _assigning(self, document: Document, findings: list[Finding]) -> Work[Writer]:
        """What gives placeholders, none of which is in the request already."""
        taken: frozenset[str] = frozenset()
        if findings and self.task.edit:
            in_body = yield from present(document.text, escaped=document.escaped)
            taken = in_body | (yield from present(self.target, escaped=False))
        placeholders = Placeholders(taken)
        if self.task.restore and self.task.edit:
            self._assigned = placeholders
        return placeholders.write
