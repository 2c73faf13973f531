"""Where in a text that is still being written the next character will stand: how deep in strings of JSON documents, and whether
in the target of a link.
"""

import json
import re
from typing import Final

from extproc_filters.pii.jsonedit import INNERMOST
from extproc_filters.pii.links import Joined, Links, Unread

BEGUN: Final = re.compile(r"""\s*(?:\{\s*["}]|\[\s*[{\["\]\d-])""")
"""How a JSON document begins. A text that begins so and goes on otherwise is a text from there on."""

MAYBE: Final = re.compile(r"\s*(?:[{\[]\s*)?\Z")

WAIT: Final = 64
"""Characters after which it is no longer waited for the begin of a document."""

PIECE: Final = re.compile(r'[^"\\]+|(?:\\(?:u[\da-fA-F]{4}|[^u]))+|\\u(?=[\da-fA-F]{0,3}[^\da-fA-F])|"')
"""The inside of a string: characters, runs of whole escapes, an escape that is none, and the end."""

BETWEEN: Final = re.compile(r'["{}\[\]]')
CONTROL: Final = re.compile(r"[\x00-\x1f]")
STRANGE: Final = re.compile(r'[^\s{}\[\],:"\d+\-.eEtrufalsn]')


class Where:
    """Reads a text piece by piece. `depth` and `linked` speak of what comes next.

    `document`: it is JSON and nobody reads it as anything else. Any other text may be one, which is found out from how it
    begins, and may be shown as a text all the same: it is read for links as it is, and so are its strings. `others` reads
    with it: what its reader may see it joined with.
    """

    __slots__ = ("_begin", "_cut", "_document", "_inner", "_levels", "_links", "_others", "_outer", "_shown")

    def __init__(self, outer: int = 0, *, document: bool = False, others: Links | Unread | None = None) -> None:
        self._outer = outer
        self._document = document
        self._shown = not document
        self._begin = "" if not document and outer < INNERMOST else None
        self._others = others
        self._links = _links(others, document=document)
        self._inner: Where | None = None
        self._levels = 0
        self._cut = ""

    @property
    def depth(self) -> int:
        """In so many strings."""
        return 1 + self._inner.depth if self._inner else 0

    @property
    def between(self) -> bool:
        """Between the strings of a document, where a number or a name may stand."""
        return self._inner.between if self._inner else self._document

    @property
    def linked(self) -> bool:
        return self._links.linked or (self._inner is not None and self._inner.linked)

    def read(self, piece: str) -> None:
        if self._shown:
            self._links.read(piece)
        if self._begin is not None:
            self._begin += piece
            if len(self._begin) < WAIT and MAYBE.match(self._begin):
                return
            piece, self._document, self._begin = self._begin, BEGUN.match(self._begin) is not None, None
        if self._cut:
            piece, self._cut = self._cut + piece, ""
        at = 0
        while at < len(piece) and self._document:
            at = self._string(piece, at, self._inner) if self._inner else self._structure(piece, at)
        if at < len(piece) and not self._shown:
            self._links.read(piece[at:])

    def _structure(self, piece: str, at: int) -> int:
        """Read up to the next string, or what cannot stand between strings."""
        mark = BETWEEN.search(piece, at)
        end = mark.start() if mark else len(piece)
        if STRANGE.search(piece, at, end):
            self._document = False
            return at
        if mark is None:
            return end
        if mark[0] == '"':
            self._inner = Where(self._outer + 1, others=self._others if isinstance(self._others, Unread) else None)
        else:
            self._levels += 1 if mark[0] in "{[" else -1
            self._document = self._levels > 0
        return mark.end()

    def _string(self, piece: str, at: int, inner: "Where") -> int:
        """Read a string, without its escapes, up to its end."""
        seen: list[str] = []
        begin = at
        while (part := PIECE.match(piece, at)) and part[0] != '"':
            seen.append(_undone(part[0]))
            at = part.end()
        if CONTROL.search(piece, begin, at):  # which a string of JSON does not have: this is a text
            self._inner, self._document = None, False
            return begin
        inner.read("".join(seen))
        if part is None:
            self._cut = piece[at:]
            return len(piece)
        self._inner = None
        return part.end()


def _links(others: Links | Unread | None, *, document: bool) -> Links | Joined | Unread:
    if isinstance(others, Unread):
        return others
    return Links() if others is None or document else Joined(others)


def _undone(part: str) -> str:
    """What the escapes stand for; those that are none stay."""
    if part[0] != "\\":
        return part
    try:
        return str(json.loads(f'"{part}"'))
    except ValueError:
        return part
