"""A body as something that can be scanned and edited: a JSON document, a form, or plain text."""

from collections.abc import Iterator
from typing import Final, Protocol
from urllib.parse import quote_plus, unquote_plus

from extproc.errors import Malformed, TooLarge
from extproc_filters.pii.credentials import CREDENTIALS
from extproc_filters.pii.edits import Edit, Sheet, Writer, splice
from extproc_filters.pii.findings import Finding, shared
from extproc_filters.pii.jsonedit import INSIDE, Level, Origin, is_document, settle, within
from extproc_filters.pii.jsontext import KEY, MOST, Token, parse, tokens
from extproc_filters.pii.media import Media
from extproc_filters.pii.paths import Exempt, Path, any_covers, exempt_in_answer, exempt_in_request
from extproc_filters.pii.recognizer import Span
from extproc_filters.pii.work import FEW, STEPS, Work

UNMISTAKABLE: Final = frozenset({each.entity for each in CREDENTIALS} - {"GENERIC_SECRET"})
"""Keys that no model and no id is taken for: they do not pass in the place of one."""


class Document(Protocol):
    """What is scanned is `text`; `escaped` says that it is JSON."""

    @property
    def text(self) -> str: ...

    @property
    def escaped(self) -> bool: ...

    def edits(self, findings: list[Finding], writer: Writer) -> Work[list[Edit]]:
        """What has to be changed for `findings` (in order, none overlapping), in order.

        Raises:
            Malformed: the document has two members of one name.
            TooLarge: it is too deep or too crowded.
        """
        ...

    def write(self, edits: list[Edit]) -> Work[str]:
        """The document with the edits made."""
        ...


def read(
    media: Media,
    text: str,
    fields: tuple[Path, ...] = (),
    *,
    answer: bool = False,
    spared: frozenset[Path] = frozenset(),
) -> Work[Document]:
    """The document that `text` is, of a request or of an `answer`; nothing is changed at the places in `spared`.

    Raises:
        Malformed: it is not what `media` says.
        TooLarge: it is far too deep or too crowded.
    """
    match media:
        case Media.JSON:
            document = parse(text)
            exempt = exempt_in_answer(document) if answer else exempt_in_request(document)
            return Json(text, fields, exempt, spared)
        case Media.FORM:
            return (yield from _form(text))
        case Media.TEXT:
            return Text(text)


class Text:
    """Plain text, scanned as a whole. If it happens to be a JSON document it stays one."""

    escaped = False

    def __init__(self, text: str) -> None:
        self.text = text

    def edits(self, findings: list[Finding], writer: Writer) -> Work[list[Edit]]:
        return (yield from within(self.text, _from(0), 0, findings, Sheet(self.text, writer)))

    def write(self, edits: list[Edit]) -> Work[str]:
        yield
        return splice(self.text, edits)


class Json:
    """A JSON document: strings, member names and numbers; where `fields` say, or everywhere but where LLM APIs have models,
    roles, types and ids (`exempt`); and not at the places in `spared`.
    """

    escaped = True

    def __init__(
        self, text: str, fields: tuple[Path, ...], exempt: Exempt | None = None, spared: frozenset[Path] = frozenset()
    ) -> None:
        self.text = text
        self._fields, self._exempt, self._spared = fields, exempt, spared

    def edits(self, findings: list[Finding], writer: Writer) -> Work[list[Edit]]:
        found = yield from tokens(self.text, keep=bool(findings))
        level = Level(self.text, found, _from(0), 0, Sheet(self.text, writer))
        return (yield from settle(level, findings, self._wanted))

    def write(self, edits: list[Edit]) -> Work[str]:
        yield
        return splice(self.text, edits)

    def _wanted(self, token: Token, pieces: list[Finding]) -> bool:
        if self._spared and token.kind != KEY and token.place in self._spared:
            return False
        if self._fields:
            return any_covers(self._fields, token.place)
        if self._exempt is None or token.kind == KEY:
            return True
        sure = any(piece.entity in UNMISTAKABLE for piece in pieces)
        return sure or not self._exempt(token.place, self.text[token.start : token.end])


class Form:
    """Names and values of a form. Those that have to be changed are encoded anew, the others stay as they were sent.

    `raw` are the parts as sent, `plain` the same decoded, `marks` what stands behind each (`=`, `&` or nothing).
    """

    escaped = False

    def __init__(self, raw: list[str], plain: list[str], marks: list[str]) -> None:
        self._raw, self._marks = raw, marks
        self.text = "".join(part + mark.replace("&", "\n") for part, mark in zip(plain, marks, strict=True))
        self._spans = list(_spans(plain, marks))

    def edits(self, findings: list[Finding], writer: Writer) -> Work[list[Edit]]:
        sheet = Sheet(self.text, writer)
        made: list[Edit] = []
        touched = yield from shared(self._spans, findings)
        for number, (index, pieces) in enumerate(touched.items(), 1):
            start, end = self._spans[index]
            made += yield from within(self.text[start:end], _from(start), 0, pieces, sheet)
            if number % FEW == 0:
                yield
        return made

    def write(self, edits: list[Edit]) -> Work[str]:
        parts: list[str] = []
        at = 0
        for (start, end), raw, mark in zip(self._spans, self._raw, self._marks, strict=True):
            if len(parts) % STEPS == 0:
                yield
            moved = []
            while at < len(edits) and edits[at].end <= end:
                moved.append(edits[at]._replace(start=edits[at].start - start, end=edits[at].end - start))
                at += 1
            parts += quote_plus(splice(self.text[start:end], moved)) if moved else raw, mark
        return "".join(parts)


def _form(text: str) -> Work[Document]:
    """The form. What says so and is a JSON document (curl says so unless it is told better) some servers read as the one, some
    as the other. Raises: Malformed, TooLarge.
    """
    if INSIDE.match(text) and is_document(text):
        raise Malformed("the body is JSON, and says that it is a form")
    raw: list[str] = []
    marks: list[str] = []
    parameters = text.split("&", MOST)
    if len(parameters) > MOST:
        raise TooLarge(f"the form has more than {MOST} parameters")
    for number, parameter in enumerate(parameters, 1):
        name, equals, value = parameter.partition("=")
        raw += (name, value) if equals else (name,)
        marks += ("=", "&") if equals else ("&",)
        if number % STEPS == 0:
            yield
    marks[-1] = ""
    plain: list[str] = []
    try:
        for start in range(0, len(raw), STEPS):
            plain += [unquote_plus(part, errors="strict") for part in raw[start : start + STEPS]]
            yield
    except UnicodeDecodeError:
        raise Malformed("the form is not UTF-8") from None
    return Form(raw, plain, marks)


def _spans(parts: list[str], marks: list[str]) -> Iterator[Span]:
    at = 0
    for part, mark in zip(parts, marks, strict=True):
        yield at, at + len(part)
        at += len(part) + len(mark)


def _from(offset: int) -> Origin:
    return lambda start, end: (offset + start, offset + end)
