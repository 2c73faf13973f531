"""An answer that is there as a whole, and is a list of events: Gemini streams so to whom asks for no `alt=sse`. A text goes on
in one event after the other, and its reader joins the pieces.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from extproc.errors import TooLarge
from extproc_filters.pii import dialects
from extproc_filters.pii.edits import Edit, splice
from extproc_filters.pii.jsontext import VALUE, tokens
from extproc_filters.pii.passage import Passage, Writing
from extproc_filters.pii.paths import Path
from extproc_filters.pii.pieces import OTHER, Delta, Stream, text_at
from extproc_filters.pii.restore import escaped
from extproc_filters.pii.work import FEW, STEPS, Work

LIST: Final = re.compile(r"\s*\[\s*\{")

MOST_TEXTS: Final = 1024
"""Texts of one answer that are put together."""


def listed(text: str, passage: Passage) -> Work[str | None]:
    """What leaves in the place of `text`, a JSON document; None if it is no list of events that bring pieces.

    Raises:
        TooLarge, Malformed: as `passage` does.
    """
    events = _events(text)
    deltas = yield from _deltas(events)
    if not deltas:
        return None
    whole = yield from passage.document(text, frozenset(delta.place for delta in deltas), whole=True)
    new = yield from _written(events, deltas, passage)
    return (yield from replaced(whole, new)) if new else whole


def replaced(text: str, new: Mapping[Path, str]) -> Work[str]:
    """`text`, a JSON document, with other strings at some places."""
    edits: list[Edit] = []
    for number, token in enumerate((yield from tokens(text, strict=False)), 1):
        if token.kind == VALUE and (at := token.place) in new:
            edits.append(Edit(token.start, token.end, escaped(new[at])))
        if number % STEPS == 0:
            yield
    return splice(text, edits)


def _events(text: str) -> list[Any]:
    if not LIST.match(text):
        return []
    try:
        events = orjson.loads(text)
    except orjson.JSONDecodeError:
        return []
    return events if isinstance(events, list) else []


def _deltas(events: list[Any]) -> Work[list[Delta]]:
    """What the events bring, at its place in the list."""
    found: list[Delta] = []
    for number, event in enumerate(events):
        deltas = (delta for delta in dialects.read(event).deltas if delta.stream[0] != OTHER)
        found += [delta._replace(place=(number, *delta.place)) for delta in deltas]
        if number % FEW == FEW - 1:
            yield
    return found


def _written(events: list[Any], deltas: list[Delta], passage: Passage) -> Work[dict[Path, str]]:
    """What has to be written for each piece that does not stay as it is. Raises: TooLarge."""
    texts: dict[Stream, Writing | None] = {}
    last: dict[Stream, Path] = {}
    new: dict[Path, str] = {}
    for number, delta in enumerate(deltas, 1):
        if delta.stream not in texts:
            texts[delta.stream] = passage.writing(delta)
        writing = texts[delta.stream]
        if len(texts) > MOST_TEXTS:
            raise TooLarge(f"the answer has more than {MOST_TEXTS} texts in pieces")
        if writing is not None:
            new[delta.place] = yield from writing.push(text_at(events, delta.place))
            last[delta.stream] = delta.place
        if number % FEW == 0:
            yield
    for stream, place in last.items():
        if (writing := texts[stream]) is not None:
            new[place] += yield from writing.flush()
    return {place: piece for place, piece in new.items() if piece != text_at(events, place)}
