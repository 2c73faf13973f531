"""Edit strings and numbers where they stand, so that a document stays one: also a document inside a string of another.

All positions of findings and edits are those of the text as it was sent, however deep the document lies in it.
"""

import re
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import orjson

from extproc_filters.pii.edits import Edit, Sheet, splice
from extproc_filters.pii.findings import Finding, shared
from extproc_filters.pii.jsontext import KEY, NUMBER, Container, Token, tokens
from extproc_filters.pii.layers import Layer
from extproc_filters.pii.recognizer import Span
from extproc_filters.pii.views import PAIR, unescape
from extproc_filters.pii.work import FEW, STEPS, Work

INNERMOST: Final = 8
"""Documents inside strings of documents that are told apart; deeper ones are edited as text."""

INSIDE: Final = re.compile(r"(?:\s|\\[nrt])*+[{\[]")
UNIT: Final = re.compile(rf"{PAIR}|\\(?:u[\da-fA-F]{{4}}|.)", re.DOTALL)

Origin = Callable[[int, int], Span]
"""From a range of a document to the range of the text as it was sent."""


@dataclass(frozen=True, slots=True, repr=False)
class Level:
    """A document that lies `depth` strings deep in the text that was sent."""

    text: str
    tokens: list[Token]
    origin: Origin
    depth: int
    sheet: Sheet

    @property
    def quote(self) -> str:
        """A quotation mark, escaped as often as this document is."""
        return "\\" * ((1 << self.depth) - 1) + '"'

    def span(self, token: Token) -> Span:
        return self.origin(token.start, token.end)


def settle(
    level: Level, findings: list[Finding], wanted: Callable[[Token, list[Finding]], bool] | None = None
) -> Work[list[Edit]]:
    """The edits that `findings` (in order, none overlapping) ask for, in order."""
    edits: list[Edit] = []
    keys: dict[Container, dict[Token, list[Edit]]] = {}
    touched = yield from shared([level.span(token) for token in level.tokens], findings)
    for number, (index, pieces) in enumerate(touched.items(), 1):
        token = level.tokens[index]
        if wanted is None or wanted(token, pieces):
            made = yield from _token(level, token, pieces)
            edits += made
            if token.kind == KEY:
                keys.setdefault(token.container, {})[token] = made
        if number % FEW == 0:
            yield
    return sorted([*edits, *(yield from _kept_apart(level, keys))]) if keys else edits


def within(text: str, origin: Origin, depth: int, findings: list[Finding], sheet: Sheet) -> Work[list[Edit]]:
    """The edits for findings in `text`, which is a document of its own or just a text."""
    if depth < INNERMOST and INSIDE.match(text) and is_document(text):
        inner = yield from tokens(text, strict=False)
        return (yield from settle(Level(text, inner, origin, depth, sheet), findings))
    return (yield from _spliced(depth, findings, sheet))


def _spliced(depth: int, findings: list[Finding], sheet: Sheet) -> Work[list[Edit]]:
    edits: list[Edit] = []
    for start in range(0, len(findings), STEPS):
        if start:
            yield
        edits += [sheet.edit(finding, depth) for finding in findings[start : start + STEPS]]
    return edits


def _token(level: Level, token: Token, pieces: list[Finding]) -> Work[list[Edit]]:
    if token.kind == NUMBER:
        text = f"{level.quote}{level.sheet.written(pieces[0], level.depth)}{level.quote}"
        return [Edit(*level.span(token), text, pieces[0].entity)]
    content = level.text[token.start : token.end]
    if level.depth and "\\" in content:
        pieces = _on_units(level, token, pieces)
    if not INSIDE.match(content):
        return (yield from _spliced(level.depth + 1, pieces, level.sheet))
    text, layer = content, None
    if "\\" in content:
        text, layer = yield from unescape(content)
    return (yield from within(text, _deeper(level.origin, token.start, layer), level.depth + 1, pieces, level.sheet))


def _deeper(origin: Origin, offset: int, layer: Layer | None) -> Origin:
    def inner(start: int, end: int) -> Span:
        if layer is not None:
            start, end = layer.back(start, end)
        return origin(offset + start, offset + end)

    return inner


def _on_units(level: Level, token: Token, pieces: list[Finding]) -> list[Finding]:
    """`pieces` widened so that none begins or ends in the middle of an escape of this level."""
    content = level.text[token.start : token.end]
    units = [level.origin(token.start + unit.start(), token.start + unit.end()) for unit in UNIT.finditer(content)]
    starts = [start for start, _ in units]
    snapped: list[Finding] = []
    for piece in pieces:
        start = max(_around(units, starts, piece.start)[0], snapped[-1].end if snapped else 0)
        end = _around(units, starts, piece.end)[1]
        if start < end:
            snapped.append(piece._replace(start=start, end=end))
    return snapped


def _around(units: list[Span], starts: list[int], at: int) -> Span:
    """The unit that `at` is in the middle of, or `at` itself."""
    index = bisect_right(starts, at) - 1
    return units[index] if index >= 0 and units[index][0] < at < units[index][1] else (at, at)


def _kept_apart(level: Level, keys: dict[Container, dict[Token, list[Edit]]]) -> Work[list[Edit]]:
    """Members that would have one name after redaction are numbered from the second on."""
    extra: list[Edit] = []
    names: dict[Container, Names] = {container: Names() for container in keys}
    for number, token in enumerate(level.tokens, 1):
        if number % STEPS == 0:
            yield
        if token.kind == KEY and token.container in names and token not in keys[token.container]:
            start, end = level.span(token)
            names[token.container].suffix(level.sheet.text[start:end])
    for container, changed in keys.items():
        for number, (token, edits) in enumerate(changed.items(), 1):
            if number % FEW == 0:
                yield
            start, end = level.span(token)
            moved = [edit._replace(start=edit.start - start, end=edit.end - start) for edit in edits]
            suffix = names[container].suffix(splice(level.sheet.text[start:end], moved))
            if suffix:
                extra.append(Edit(end, end, suffix))
    return extra


class Names:
    """The names in one object. Thousands may come to be the same, so the numbers go on where they were."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._last: dict[str, int] = {}

    def suffix(self, name: str) -> str:
        """What makes `name` a new one; it is taken then."""
        number, suffix = self._last.get(name, 1), ""
        while name + suffix in self._taken:
            number += 1
            suffix = f"_{number}"
        self._last[name] = number
        self._taken.add(name + suffix)
        return suffix


def is_document(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True
