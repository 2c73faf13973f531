"""Where a text is the target of a link. What stands there is fetched, or sent on a click, to whoever wrote the link: a value
that is put there has left (the model's answer may have been written by somebody else's document).

Links are taken to be longer rather than shorter than a renderer takes them: a value that is not put back is no harm.
"""

import re
from typing import Final

MARK: Final = re.compile(r"[/:.?#(=]")
"""The last character of whatever begins a target."""

HOST: Final = r"(?P<host>(?<=[a-z\d])\.[a-z]{2,24}(?::\d{1,5})?[/?#])"
SCHEME: Final = r"(?P<scheme>(?<![a-z])(?:https?|wss?|s?ftps?|mailto|data|tel|sms|file|blob|javascript|vbscript):)"
OPENERS: Final = {
    mark: (re.compile(rf"(?i)(?:{expression})\Z"), reach)
    for mark, expression, reach in (
        ("/", rf"(?P<slashes>/\\?/)|{HOST}", 34),
        ("?", HOST, 34),
        ("#", HOST, 34),
        (".", r"(?P<host>(?<![\w.])www\.)", 6),
        (
            ":",
            rf"{SCHEME}|(?P<definition>(?<![^\n])[ \t>*+-]{{0,8}}\[[^\[\]\n]{{1,128}}\]:)",
            140,
        ),
        ("(", r"(?P<markdown>\]\()|(?P<css>(?<![\w-])url\()", 6),
        (
            "=",
            r"(?P<attribute>(?<![\w-])(?:(?:xlink:)?href|src(?:set)?|(?:form)?action|poster|ping)\s{0,64}=)",
            80,
        ),
    )
}
"""How a target begins, by its last character, and how far back that is looked at: in a text, in Markdown (CommonMark sections
4.7, 6.3 and 6.5), in HTML, in CSS."""

ADDRESSES: Final = frozenset({"slashes", "scheme", "host"})

BEFORE: Final = re.compile(r"(?i)(=\s{0,8})?([\"'`<])[a-z\d+.\\-]{0,64}:?\Z")
"""A quotation mark right before an address, which ends where the next one is; and whether it is the value of something."""

BARE: Final = re.compile(r"[\s<]")
QUOTED: Final = {quote: re.compile(rf"[\s<{quote}]") for quote in "\"'`"} | {"<": re.compile(r"[\s>]")}
VALUE: Final = {quote: re.compile(quote) for quote in "\"'`"}
ANGLES: Final = re.compile(r"[>\n]")
UNQUOTED: Final = {"attribute": re.compile(r"[\s>]"), "definition": re.compile(r"\s"), "css": re.compile(r"\)")}
INNER: Final = re.compile(r"[()\\\n]")
SOLID: Final = re.compile(r"\S")
LONGEST: Final = 160
"""Characters of what was read that are looked at again, for a begin that was cut."""


class Links:
    """Reads a text piece by piece and knows whether what comes next is part of a link's target."""

    __slots__ = ("_end", "_escaped", "_kind", "_open", "_since", "_tail")

    def __init__(self) -> None:
        self._tail = ""
        self._since = 0
        self._kind = ""
        self._end: re.Pattern[str] | None = None
        self._open = 0
        self._escaped = False

    depth = 0
    """This is no document."""

    @property
    def linked(self) -> bool:
        return self._kind != ""

    @property
    def links(self) -> "Links":
        return self

    def read(self, piece: str) -> None:
        text, at = self._tail + piece, len(self._tail)
        begin = self._since
        while at < len(text):
            if self._kind:
                begin = at = self._leave(text, at)
            else:
                at = self._enter(text, at, begin)
        kept = max(0, len(text) - 1 if self._kind else begin - 1, len(text) - LONGEST)
        self._tail, self._since = text[kept:], max(0, begin - kept, min(kept, 1))

    def _enter(self, text: str, at: int, begin: int) -> int:
        """To where the next target begins, or to the end of the text. What is before `begin` was part of another."""
        for mark in MARK.finditer(text, at):
            opener, reach = OPENERS[mark[0]]
            found = opener.search(text, max(begin, mark.end() - reach), mark.end())
            if found is not None:
                self._kind, self._end, self._open, self._escaped = found.lastgroup or "", None, 0, False
                if self._kind in ADDRESSES:
                    quote = BEFORE.search(text, max(0, begin - 1, found.start() - 80), found.start())
                    self._end = (VALUE if quote[1] and quote[2] != "<" else QUOTED)[quote[2]] if quote else BARE
                return mark.end()
        return len(text)

    def _leave(self, text: str, at: int) -> int:
        """To the end of the target, or of the text."""
        if self._end is None and self._kind != "parentheses":
            solid = SOLID.search(text, at)
            if solid is None:
                return len(text)
            at = self._begin(solid[0], solid.start())
        if self._end is None:
            return self._close(text, at)
        end = self._end.search(text, at)
        if end is None:
            return len(text)
        self._kind = "parentheses" if self._kind == "markdown" and end[0] == ">" else ""
        self._end = None
        return end.start() if end[0].isspace() or end[0] == "<" else end.end()

    def _begin(self, first: str, at: int) -> int:
        """The first character of a target: it may be a quotation mark, which says how the target ends."""
        if first == "<" and self._kind in ("markdown", "definition"):
            self._end = ANGLES
        elif self._kind == "markdown":
            self._kind = "parentheses"
            return at
        elif first in VALUE:
            self._end = VALUE[first]
        else:
            self._end = UNQUOTED[self._kind]
            return at
        return at + 1

    def _close(self, text: str, at: int) -> int:
        """To the parenthesis that closes the one before the target, or to the end of the line."""
        if self._escaped:
            at, self._escaped = at + 1, False
        while (found := INNER.search(text, at)) is not None:
            at = found.end()
            if found[0] == "\\":
                self._escaped = at == len(text)
                at += 1
            elif found[0] == "\n" or (found[0] == ")" and not self._open):
                self._kind = ""
                return at
            else:
                self._open += 1 if found[0] == "(" else -1
        return len(text)
