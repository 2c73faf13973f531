"""The placeholders of one exchange: which value each stands for. They live in `exchange.state` and die with it."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

from extproc_filters.pii.edits import bare, plain
from extproc_filters.pii.views import views
from extproc_filters.pii.work import STEPS, Work

SEEN: Final = re.compile(rb"\[[A-Z][A-Z0-9_]{0,63}_[0-9]{1,9}+\]")
"""What a placeholder looks like. In Hyperscan's sense of the word no text is slow for this: it is bounded throughout."""

NAME: Final = r"[A-Z](?:[A-Z0-9]|\\?_){0,63}\\?_[0-9]{1,9}+"
WRITTEN: Final = re.compile(rf"\[{NAME}\]|\\\[{NAME}\\\]")
"""The same as a model writes it, perhaps with the escapes of Markdown: `[EMAIL\\_ADDRESS\\_1]`, `\\[EMAIL\\_ADDRESS\\_1\\]`."""

IN_DOCUMENTS: Final = re.compile(r"\[[A-Z](?:[A-Z0-9]|\\{0,256}_){0,63}\\{0,256}_[0-9]{1,9}+\\{0,256}\]")
"""The same where it may lie in strings of JSON, which double the escapes each time."""

LONGEST: Final = 142
"""Characters of the longest one, with all its escapes."""

UNDOINGS: Final = 3
"""How often a text is seen through again, in search of placeholders that were there already. Each undoes three encodings."""


class Placeholders:
    """`[EMAIL_ADDRESS_1]`, `[EMAIL_ADDRESS_2]`, ... in the order in which values come; the same value gets the same one. One of
    `taken`, which the request held already, is never given.
    """

    __slots__ = ("_last", "_originals", "_taken", "_values")

    def __init__(self, taken: frozenset[str] = frozenset()) -> None:
        self._taken = taken
        self._last: Counter[str] = Counter()
        self._values: dict[tuple[str, str], str] = {}
        self._originals: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"Placeholders({len(self._originals)})"

    def __len__(self) -> int:
        return len(self._originals)

    def __iter__(self) -> Iterator[str]:
        return iter(self._originals)

    def write(self, entity: str, found: str, depth: int) -> str:
        """The placeholder for a value, which was found as it was sent inside `depth` strings of JSON."""
        value = bare(found, depth)
        key = entity, plain(value)
        if key not in self._values:
            self._values[key] = placeholder = self._next(entity)
            self._originals[placeholder] = value
        return self._values[key]

    def original(self, placeholder: str) -> str | None:
        """The value as it was first written, without escapes; None if this exchange has no such placeholder, however that is
        `WRITTEN`.
        """
        return self._originals.get(placeholder.replace("\\", ""))

    def _next(self, entity: str) -> str:
        while True:
            self._last[entity] += 1
            placeholder = f"[{entity}_{self._last[entity]}]"
            if placeholder not in self._taken:
                return placeholder


def present(text: str, *, escaped: bool) -> Work[frozenset[str]]:
    """What in `text` reads like a placeholder, however it is escaped. `escaped`: it is the text of a JSON document."""
    found: set[str] = set()
    for _ in range(UNDOINGS):
        seen = yield from views(text, escaped=escaped)
        for view in seen:
            for number, match in enumerate(SEEN.finditer(view.data), 1):
                found.add(match[0].decode("ascii"))
                if number % STEPS == 0:
                    yield
        if len(seen) == 1:
            break
        text, escaped = seen[-1].text, False
    return frozenset(found)
