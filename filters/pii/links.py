"""Where a text is the target of a link. What stands there is fetched, or sent on a click, to whoever wrote the link: a value
that is put there has left (the model's answer may have been written by somebody else's document).

Links are taken to be longer rather than shorter than a renderer takes them: a value that is not put back is no harm.
"""

import re
from typing import Final, NamedTuple

MARK: Final = re.compile(r"[/:.?#(={;]")
"""The last character of whatever begins a target."""

HOST: Final = r"(?P<host>(?<=\w)(?:[.\u3002\uff0e\uff61]|%2e)[^\W_][\w-]{0,62}(?::\d{1,5})?[/?#])"
"""The last label of a host, in any script or in digits, and what follows a host."""

SCHEME: Final = (
    r"(?P<scheme>(?<![a-z])(?:https?|wss?|s?ftps?|mailto|data|tel|sms|file|blob|javascript|vbscript|xmpp|sips?|callto|skype"
    r"|magnet|intent|facetime|matrix|view-source|cid|ms-[a-z]{1,16}):)"
)
ATTRIBUTES: Final = (
    r"(?:data-)?(?:(?:xlink:)?href|(?:image|low|dyn)?src(?:set|doc)?|(?:form)?action|poster|ping|data|url|background|style"
    r"|cite|longdesc|manifest|codebase|attributionsrc|hx-(?:get|post|put|patch|delete)|on[a-z]{3,24})"
)
"""Of HTML: what is fetched, where something is sent, or what is a program."""

LATEX: Final = r"\\(?:href|url|path|nolinkurl|includegraphics)\s{0,8}(?:\[[^\[\]\n]{0,64}\])?\s{0,8}"
ENTITY: Final = r"(?P<entity>&(?:#0{0,8}(?:4[67]|58|63|92)|#x0{0,8}(?:2[ef]|3[af]|5c)|sol|bsol|colon|period|quest);)"
"""A mark of an address, written as a character reference of HTML."""

OPENERS: Final = {
    mark: (re.compile(rf"(?i)(?:{expression})\Z"), reach)
    for mark, expression, reach in (
        ("/", rf"(?P<slashes>/\\?/)|{HOST}", 80),
        ("?", HOST, 80),
        ("#", HOST, 80),
        (";", ENTITY, 20),
        (".", r"(?P<host>(?<![\w.])www\.)", 6),
        (":", SCHEME, 20),
        ("]:", r"(?P<definition>(?<![^\n])[ \t>*+-]{0,8}\[[^\[\]\n]{1,128}\]:)", 140),
        ("](", r"(?P<markdown>\]\()", 2),
        ("(", r"(?P<css>(?<![\w-])url\()", 6),
        ("=", rf"(?P<attribute>(?<![\w-]){ATTRIBUTES})", 32),
        ("{", rf"(?P<braces>{LATEX}\{{)", 120),
    )
}
"""How a target begins, by its last characters, and how far back that is looked at: in a text, in Markdown (CommonMark sections
4.7, 6.3 and 6.5), in HTML, in CSS, in LaTeX."""

SPACES: Final = 64
"""Between the name of an attribute and what follows it."""

ADDRESSES: Final = frozenset({"slashes", "scheme", "host", "entity"})

NAMES: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+.\\-"
"""What stands between a quotation mark and the first mark of an address."""

VALUES: Final = ("=", "(", "@import")
"""What a quoted value follows, in which there may be spaces."""

BARE: Final = re.compile(r"[\s<]")
VALUE: Final = {quote: re.compile(quote) for quote in "\"'`"}
QUOTED: Final = {quote: re.compile(rf"[\s<{quote}]") for quote in VALUE} | {
    "<": re.compile(r"[>\n]"),
    "[": re.compile(r"[\]\n]"),
}
ANGLES: Final = re.compile(r"[>\n]")
UNQUOTED: Final = {"attribute": re.compile(r"[\s>]"), "definition": re.compile(r"\s"), "css": re.compile(r"\)")}
INNER: Final = {"parentheses": re.compile(r"[()\\\n]"), "braces": re.compile(r"[{}\\]")}
SOLID: Final = re.compile(r"\S")
LONGEST: Final = 256
"""Characters of what was read that are looked at again, for a begin that was cut."""


class Opening(NamedTuple):
    """Where a target begins, how it does, and how it ends, if that is known."""

    at: int
    kind: str
    end: re.Pattern[str] | None


class Links:
    """Reads a text piece by piece and knows whether what comes next is part of a link's target.

    What begins in one notation and goes on in another may be a link in either, so each is followed by itself; but a bare
    address inside a quoted one is part of that.
    """

    __slots__ = ("_tail", "_targets")

    def __init__(self) -> None:
        self._tail = ""
        self._targets: dict[str, Target] = {}

    depth = 0
    """This is no document."""

    @property
    def linked(self) -> bool:
        return bool(self._targets)

    def read(self, piece: str) -> None:
        text, at = self._tail + piece, len(self._tail)
        self._tail = text[-LONGEST:]
        targets = self._targets
        for target in targets.values():
            target.go_on(text, at)
        for mark in MARK.finditer(text, at):
            opening = _opening(text, mark.end())
            if opening is None or (
                opening.kind == "bare" and "quoted" in targets and targets["quoted"].has(opening.at)
            ):
                continue
            target = targets.setdefault(opening.kind, Target())
            if not target.has(opening.at):
                target.begin(text, opening)
        self._targets = {kind: target for kind, target in targets.items() if target.open}


def _opening(text: str, at: int) -> Opening | None:
    """The target that begins at `at`, behind a mark."""
    mark = text[at - 1]
    end = at
    if mark == "=":
        end = max(0, at - SPACES) + len(text[max(0, at - SPACES) : at - 1].rstrip())
        if not text[end - 1 : end].isalpha():
            return None
    elif text[at - 2 : at] in OPENERS:
        mark = text[at - 2 : at]
    opener, reach = OPENERS[mark]
    found = opener.search(text, max(0, end - reach), end)
    if found is None:
        return None
    kind = found.lastgroup or ""
    return _address(text, at, found.start()) if kind in ADDRESSES else Opening(at, kind, None)


def _address(text: str, at: int, begin: int) -> Opening:
    """One that begins at `begin`. A quotation mark or a bracket right before it ends it where the next one is."""
    before = text[max(0, begin - 80) : begin].removesuffix(":").rstrip(NAMES)
    quote, before = before[-1:], before[:-1]
    if quote not in QUOTED or (quote == "'" and before[-1:].isalnum()):
        return Opening(at, "bare", BARE)
    value = quote in VALUE and before.rstrip().lower().endswith(VALUES)
    return Opening(at, "quoted", VALUE[quote] if value else QUOTED[quote])


class Target:
    """Targets of one kind, which follow each other."""

    __slots__ = ("_end", "_escaped", "_kind", "_levels", "_upto")

    def __init__(self) -> None:
        self._kind = ""
        self._end: re.Pattern[str] | None = None
        self._levels = 0
        self._escaped = False
        self._upto = 0

    @property
    def open(self) -> bool:
        """Whether the last target goes on behind what was read."""
        return self._kind != ""

    def has(self, at: int) -> bool:
        """Whether `at` is in the last target."""
        return self.open or at < self._upto

    def begin(self, text: str, opening: Opening) -> None:
        self._kind, self._end, self._levels, self._escaped = opening.kind, opening.end, 0, False
        self.go_on(text, opening.at)

    def go_on(self, text: str, at: int) -> None:
        """Read `text` from `at` on, which is in a target, to its end or to the text's."""
        while self.open and at < len(text):
            at = self._leave(text, at)
        self._upto = at

    def _leave(self, text: str, at: int) -> int:
        """To the end of the target, or of the text."""
        if self._end is None and self._kind not in INNER:
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
        return end.end()

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
        """To the parenthesis or brace that closes the one before the target, or, in Markdown, to the end of the line."""
        inner = INNER[self._kind]
        if self._escaped:
            at, self._escaped = at + 1, False
        while (found := inner.search(text, at)) is not None:
            at = found.end()
            if found[0] == "\\":
                self._escaped = at == len(text)
                at += 1
            elif found[0] == "\n" or (found[0] in ")}" and not self._levels):
                self._kind = ""
                return at
            else:
                self._levels += 1 if found[0] in "({" else -1
        return len(text)


class Unread:
    """For a text whose links do not matter."""

    linked = False

    def read(self, piece: str) -> None:
        """Nothing is known of it."""


class Unknown:
    """For a text of which nobody knows how it began: it may be the target of a link."""

    depth = 0
    linked = True

    def read(self, piece: str) -> None:
        """Whatever it reads, it may be one."""


class Joined:
    """The links of one text, and of what its reader may see it joined with: `others` has read all that came before."""

    __slots__ = ("_others", "_own")
    depth = 0

    def __init__(self, others: Links) -> None:
        self._own = Links()
        self._others = others

    @property
    def linked(self) -> bool:
        return self._own.linked or self._others.linked

    def read(self, piece: str) -> None:
        self._own.read(piece)
        self._others.read(piece)
