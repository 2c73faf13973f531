"""The tokens of a JSON document, with their place in the text and in the document.

Strings are edited in the text itself, so everything else stays as it was sent, byte for byte.
"""

import re
from typing import Final, NamedTuple

import orjson

from extproc.errors import Malformed, TooLarge
from extproc_filters.pii.paths import Path, Step
from extproc_filters.pii.work import STEPS, Work

DEEPEST: Final = 64
MOST: Final = 50_000
"""Levels and values of a document (DESIGN section 6, too-large)."""

TOKEN: Final = re.compile(r'"((?:[^"\\]++|\\.)*+)"([ \t\r\n]*+:)?|([\[{])|([\]}])|(-?[0-9][0-9.eE+-]*+)|[tfn]')
VALUE, KEY, OPEN, CLOSE, NUMBER = range(1, 6)


class Container:
    """An array, or an object if it has `names`; `key` is the name or the index of the value that comes next or was last."""

    __slots__ = ("key", "names", "parent", "step")

    def __init__(self, parent: "Container | None", *, is_object: bool) -> None:
        self.parent = parent
        self.step = parent.key if parent else None
        self.names: set[str] | None = set() if is_object else None
        self.key: str | int = -1


class Token(NamedTuple):
    """A string (its inside, without quotes) or a number, from `start` to `end`. `kind` is VALUE, KEY or NUMBER."""

    kind: int
    start: int
    end: int
    container: Container
    key: str | int

    @property
    def place(self) -> Path:
        """Where it is in the document."""
        steps: list[Step] = [self.key]
        container = self.container
        while container.parent is not None:
            steps.append(container.step)
            container = container.parent
        return tuple(reversed(steps[:-1]))


def parse(text: str) -> object:
    """The document.

    Raises:
        Malformed: it is none (RFC 8259), or has half a surrogate pair.
        TooLarge: it is far too deep.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if error.msg.startswith("depth limit"):
            raise TooLarge(f"the document is deeper than {DEEPEST}") from None
        raise Malformed("the body is not JSON") from None


def tokens(text: str, *, strict: bool = True, keep: bool = True) -> Work[list[Token]]:
    """The strings and numbers of `text`, a valid JSON document, in their order; none unless `keep` says so.

    Raises:
        Malformed: an object has two members of one name, and `strict` says that it matters.
        TooLarge: there are more than DEEPEST levels or MOST values.
    """
    found: list[Token] = []
    root = container = Container(None, is_object=False)
    depth = values = 0
    for number, match in enumerate(TOKEN.finditer(text), 1):
        kind = match.lastindex
        if kind == KEY:
            container.key = _name(match[1], container, strict=strict)
            if keep:
                found.append(Token(KEY, *match.span(1), container, container.key))
        elif kind == CLOSE:
            container, depth = container.parent or root, depth - 1
        else:
            values += 1
            if container.names is None:
                container.key += 1  # type: ignore[operator] # an array's key is its index
            if kind == OPEN:
                container, depth = Container(container, is_object=match[OPEN] == "{"), depth + 1
            elif kind and keep:
                found.append(Token(kind, *match.span(kind), container, container.key))
            if depth > DEEPEST or values > MOST:
                raise TooLarge(f"the document is deeper than {DEEPEST} or has more than {MOST} values")
        if number % STEPS == 0:
            yield
    return found


def _name(raw: str, container: Container, *, strict: bool) -> str:
    """The name of a member, its escapes undone."""
    name = str(orjson.loads(f'"{raw}"')) if "\\" in raw else raw
    if container.names is not None:
        if strict and name in container.names:
            raise Malformed("an object has two members of one name")
        container.names.add(name)
    return name
