"""Some members of a JSON document that comes in pieces, without keeping the document.

This is no validator: it tracks strings and depth, which is what decides where a member stands. A document whose structure
breaks is Malformed; what is wrong in between (a number that is none, say) is for whoever reads the document in earnest.
"""

import json
import re
from collections.abc import Generator, Mapping
from typing import Final, NamedTuple, Union

from extproc.errors import Malformed

Tree = Mapping[str, Union["Tree", None]]
"""The members that are wanted, by name: None for a value, another tree for what is wanted of an object."""

Waiting = Generator[None, None, None]
"""Reads on, and pauses where the text ends before it can."""

LONGEST: Final = 16 * 1024
"""Bytes of a value that are kept."""

LONGEST_NAME: Final = 192
"""Bytes of a member's name that are kept: more than any that is wanted has, even if each character is an escape."""

SPACE: Final = re.compile(rb"[ \t\r\n]*+")
IN_STRING: Final = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
IN_CONTAINER: Final = re.compile(rb'(?:[^"{}\[\]]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+', re.DOTALL)
SIMPLE: Final = re.compile(
    rb'[ \t\r\n]*+"([^"\\]*+)"[ \t\r\n]*+:[ \t\r\n]*+(?:"[^"\\]*+"|[^ \t\r\n,:"{}\[\]]++)(?=[ \t\r\n]*+[,}])'
)
"""A member as most are, whole: there is no need to take it apart if it is not wanted."""

SCALAR: Final = re.compile(rb'[^ \t\r\n,:"{}\[\]]*+')

QUOTE, COLON, COMMA, ESCAPE = b'":,\\'
OPEN, CLOSE, OPEN_LIST, CLOSE_LIST = b"{}[]"


class Member(NamedTuple):
    """A value that is wanted, and where in the document it stands. For an object of which only some members are wanted it is
    its opening brace, and comes before them; the document itself has the empty path.
    """

    path: tuple[str, ...]
    text: bytes | None
    """As it stands there; None if it is longer than what is kept."""
    start: int
    end: int


class Members:
    """Reads one document: an object, or a list of objects that are read alike. What is kept is bounded, and the work linear."""

    def __init__(self, tree: Tree) -> None:
        self.complete = False
        self._tree = tree
        self._text = b""
        self._at = 0
        self._before = 0  # bytes of the document that came before the text
        self._from: int | None = None  # where in the text begins what is kept
        self._kept = bytearray()
        self._most = 0
        self._found: list[Member] = []
        self._reading = self._document()

    def feed(self, chunk: bytes) -> list[Member]:
        """The members that `chunk` completes, in order. Raises: Malformed, and is of no use then."""
        if self._from is not None:
            self._keep(len(self._text))
            self._from = 0
        self._before += len(self._text)
        self._text, self._at = chunk, 0
        next(self._reading)
        found, self._found = self._found, []
        return found

    def _document(self) -> Waiting:
        first = yield from self._peek()
        if first == OPEN:
            yield from self._object(self._tree, ())
        elif first == OPEN_LIST:
            yield from self._list()
        else:
            raise Malformed("the document is no object, nor a list of objects")
        self.complete = True
        yield from self._peek()
        raise Malformed("there is something behind the end of the document")

    def _list(self) -> Waiting:
        self._at += 1
        if (yield from self._peek()) == CLOSE_LIST:
            self._at += 1
            return
        while True:
            if (yield from self._peek()) == OPEN:
                yield from self._object(self._tree, ())
            else:
                yield from self._skip()
            if (yield from self._next(COMMA, CLOSE_LIST)) == CLOSE_LIST:
                return

    def _object(self, tree: Tree, path: tuple[str, ...]) -> Waiting:
        self._found.append(Member(path, b"{", self._here, self._here + 1))
        self._at += 1
        if (yield from self._peek()) == CLOSE:
            self._at += 1
            return
        while True:
            yield from self._member(tree, path)
            if (yield from self._next(COMMA, CLOSE)) == CLOSE:
                return

    def _member(self, tree: Tree, path: tuple[str, ...]) -> Waiting:
        simple = SIMPLE.match(self._text, self._at)
        if simple and simple[1].decode("utf-8", "replace") not in tree:
            self._at = simple.end()
            return
        yield from self._next(QUOTE)
        self._begin(LONGEST_NAME)
        yield from self._string()
        name = _name(self._end(1))
        yield from self._next(COLON)
        first = yield from self._peek()
        if name is None or name not in tree:
            yield from self._skip()
            return
        wanted = tree[name]
        if wanted is not None and first == OPEN:
            yield from self._object(wanted, (*path, name))
            return
        start = self._here
        self._begin(LONGEST)
        yield from self._skip()
        end = self._here
        self._found.append(Member((*path, name), self._end(), start, end))

    def _skip(self) -> Waiting:
        """Past one value."""
        first = self._text[self._at]
        if first == QUOTE:
            self._at += 1
            yield from self._string()
        elif first in (OPEN, OPEN_LIST):
            yield from self._container()
        else:
            start = self._here
            while (end := _match(SCALAR, self._text, self._at)) == len(self._text):
                self._at = end
                yield
            self._at = end
            if self._here == start:
                raise Malformed("a value is missing")

    def _container(self) -> Waiting:
        """Past an object or a list, however deep. Which bracket closes which is not looked at."""
        depth = 0
        while True:
            self._at = _match(IN_CONTAINER, self._text, self._at)
            if self._at == len(self._text):
                yield
                continue
            byte = self._text[self._at]
            self._at += 1
            if byte == QUOTE:
                yield from self._string()
            elif byte in (OPEN, OPEN_LIST):
                depth += 1
            else:
                depth -= 1
                if depth == 0:
                    return

    def _string(self) -> Waiting:
        """Past the closing quote of a string whose opening one has been read."""
        while True:
            self._at = _match(IN_STRING, self._text, self._at)
            if self._at == len(self._text):
                yield
            elif self._text[self._at] == QUOTE:
                self._at += 1
                return
            else:  # a backslash is the last byte of the text: what it escapes comes next
                self._at += 1
                yield
                self._at += 1

    def _peek(self) -> Generator[None, None, int]:
        """The next byte that is no white space."""
        while (at := _match(SPACE, self._text, self._at)) == len(self._text):
            self._at = at
            yield
        self._at = at
        return self._text[at]

    def _next(self, *expected: int) -> Generator[None, None, int]:
        """The same, read, and one of `expected`."""
        byte = yield from self._peek()
        if byte not in expected:
            raise Malformed("the structure of the document is broken")
        self._at += 1
        return byte

    @property
    def _here(self) -> int:
        return self._before + self._at

    def _begin(self, most: int) -> None:
        """Keep what is read from here on, up to `most` bytes."""
        self._from, self._most = self._at, most
        self._kept.clear()

    def _keep(self, end: int) -> None:
        if len(self._kept) <= self._most:
            self._kept += self._text[self._from : min(end, (self._from or 0) + self._most + 1)]

    def _end(self, without: int = 0) -> bytes | None:
        """What was kept, but for the last `without` bytes; None if it was more than is kept."""
        self._keep(self._at)
        self._from = None
        return bytes(self._kept[: len(self._kept) - without]) if len(self._kept) <= self._most else None


def _match(pattern: re.Pattern[bytes], text: bytes, at: int) -> int:
    """Where what `pattern` matches at `at` ends; all of them match the empty text."""
    found = pattern.match(text, at)
    return found.end() if found else at


def _name(text: bytes | None) -> str | None:
    """A member's name, its escapes undone; None if it is too long to be one that is wanted, or none at all."""
    if text is None:
        return None
    try:
        return str(json.loads(b'"%b"' % text)) if b"\\" in text else text.decode()
    except ValueError:
        return None
