"""An answer that comes as an event stream, and may hold personal data: each text of it is scanned while it is being written.

The end of a text is held back, because what it will be is not known yet: HOLD characters, and what hangs together with them
without white space, up to LONGEST. An entity that is longer, or has white space more than HOLD characters before its end, can
leave in part. Arguments of tools, which nobody reads before they are whole, are held back until they are. Probabilities of
tokens, which say the same text at once, do not leave.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import orjson

from extproc.core.verdict import DENIALS
from extproc.errors import TooLarge
from extproc_filters.pii.documents import Document, Text, read
from extproc_filters.pii.edits import count
from extproc_filters.pii.findings import Finding, merge
from extproc_filters.pii.jsonedit import is_document
from extproc_filters.pii.links import Unread
from extproc_filters.pii.logprobs import without_logprobs
from extproc_filters.pii.media import Media
from extproc_filters.pii.passage import Stop, Writing
from extproc_filters.pii.paths import Path, any_covers
from extproc_filters.pii.pieces import Delta
from extproc_filters.pii.restore import read_on
from extproc_filters.pii.task import Task
from extproc_filters.pii.where import Where
from extproc_filters.pii.work import Work

HOLD: Final = 256
"""Characters at the end of a text that are always held back."""

LONGEST: Final = 8192
"""Characters that are held back at most."""

AT_ONCE: Final = 128
"""So many characters are worth a scan."""

CONTEXT: Final = 64
"""Characters before, which have left already: a word there may say what a number is."""

PEM: Final = "-----BEGIN "
PEM_END: Final = "-----END "


@dataclass(slots=True)
class Screening:
    """The Passage that redacts (or blocks, or only counts) what is found. `room`: characters of tools' arguments that may be
    held back, all together. `live`: what is written leaves before the rest of it is known.
    """

    task: Task
    room: int
    live: bool = True
    found: Counter[str] = field(default_factory=Counter)
    strict: bool = True

    def writing(self, delta: Delta) -> Writing | None:
        if self.task.fields and not any_covers(self.task.fields, delta.place):
            return None
        return Collected(self) if delta.document else Screened(self)

    def hold(self, size: int) -> None:
        """So many more characters of arguments are held back. Raises: TooLarge."""
        self.room -= size
        if self.room < 0:
            raise TooLarge("the arguments of tools are longer than the largest body")

    def document(self, text: str, spared: frozenset[Path], *, whole: bool = False) -> Work[str]:  # noqa: ARG002
        """Raises: Malformed, TooLarge; Stop."""
        left = yield from self.json(text, spared)
        silent = self.live and (self.task.edit or self.task.block)
        return (yield from without_logprobs(left)) if silent else left

    def json(self, text: str, spared: frozenset[Path] = frozenset()) -> Work[str]:
        """Raises: Malformed, TooLarge; Stop."""
        return (
            yield from self.redacted((yield from read(Media.JSON, text, self.task.fields, answer=True, spared=spared)))
        )

    def text(self, text: str) -> Work[str]:
        """Raises: Stop."""
        return (yield from self.redacted(Text(text)))

    def clean(self, text: str) -> Work[bool]:
        """Raises: Stop."""
        return (yield from self.redacted(Text(text))) == text or not self.task.edit

    def report(self) -> Mapping[str, int | str]:
        return dict(sorted(self.found.items()))

    def redacted(self, document: Document) -> Work[str]:
        """The text of `document` without what was found. Raises: Stop."""
        found = yield from self.task.scanner.find(document.text, escaped=document.escaped)
        findings = yield from merge(found)
        edits = yield from document.edits(findings, self.write)
        self.note(count(edits))
        return (yield from document.write(edits)) if edits and self.task.edit else document.text

    def write(self, entity: str, found: str, depth: int) -> str:
        return self.task.writer(entity, found, depth) if self.task.writer else found

    def note(self, found: Counter[str]) -> None:
        """Raises: Stop, if there is anything and it blocks."""
        self.found += found
        if found and self.task.block:
            raise Stop(BLOCKED)


BLOCKED: Final = orjson.dumps(
    {"error": {"type": "egress_denied", "code": "pii_blocked", "message": DENIALS["pii_blocked"][1]}}
)
"""What ends a stream in which something was found: an error, as clients of LLM APIs read it, rather than silence."""


class Collected:
    """A text that leaves when it is whole: a JSON document."""

    def __init__(self, screening: Screening) -> None:
        self._screening = screening
        self._pieces: list[str] = []

    @property
    def holds(self) -> bool:
        return bool(self._pieces)

    def push(self, piece: str) -> Work[str]:
        """Raises: TooLarge."""
        yield from ()
        if piece:
            self._screening.hold(len(piece))
            self._pieces.append(piece)
        return ""

    def flush(self) -> Work[str]:
        """Raises: Stop, TooLarge."""
        text, self._pieces = "".join(self._pieces), []
        self._screening.hold(-len(text))
        if text and is_document(text):
            return (yield from self._screening.json(text))
        return (yield from self._screening.text(text))


class Screened:
    """A text of which all but the end leaves as it comes."""

    def __init__(self, screening: Screening) -> None:
        self._screening = screening
        self._where = Where(others=Unread())
        self._before = ""
        self._held = ""

    @property
    def holds(self) -> bool:
        return bool(self._held)

    def push(self, piece: str) -> Work[str]:
        """Raises: Stop."""
        self._held += piece
        if len(self._held) < HOLD + AT_ONCE:
            return ""
        return (yield from self._leave(_safe(self._held)))

    def flush(self) -> Work[str]:
        """Raises: Stop."""
        return (yield from self._leave(len(self._held)))

    def _leave(self, upto: int) -> Work[str]:
        """What is held back, up to there, or to the begin of what is found there."""
        if not upto:
            return ""
        text, old = self._before + self._held, len(self._before)
        found = yield from self._screening.task.scanner.find(text)
        findings = yield from merge(found)
        end = old + upto
        for finding in reversed(findings):
            if finding.start < end < finding.end and old <= finding.start and len(text) - finding.start < LONGEST:
                end = finding.start
        new = [each for each in findings if each.end > old and each.start < end]
        end = max([end, *(each.end for each in new)])
        out = yield from self._written(text, old, end, new)
        self._before, self._held = text[max(0, end - CONTEXT) : end], text[end:]
        return out

    def _written(self, text: str, at: int, end: int, findings: list[Finding]) -> Work[str]:
        """The text from `at` to `end` without what was found. Raises: Stop."""
        task = self._screening.task
        pieces: list[str] = []
        self._screening.note(Counter(each.entity for each in findings))
        for finding in findings:
            start = max(at, finding.start)
            yield from read_on(self._where, text, at, start)
            between, depth = self._where.between, self._where.depth
            yield from read_on(self._where, text, start, finding.end)
            value = text[start : finding.end]
            if task.edit:
                quote = "\\" * ((1 << depth) - 1) + '"' if between else ""
                value = f"{quote}{self._screening.write(finding.entity, value, depth)}{quote}"
            pieces += text[at:start], value
            at = finding.end
        yield from read_on(self._where, text, at, end)
        return "".join((*pieces, text[at:end]))


def _safe(held: str) -> int:
    """How much may leave: no word is cut, and no key that may go on."""
    end = len(held) - HOLD
    word = max(held.rfind(" ", 0, end), held.rfind("\n", 0, end), held.rfind("\t", 0, end)) + 1
    begun = held.rfind(PEM, 0, end)
    if begun >= 0 and held.find(PEM_END, begun) < 0:
        word = min(word, begun)
    return word if len(held) - word < LONGEST else end
