"""A text as a reader sees it: escapes undone, invisible characters gone, look-alike digits and letters in ASCII.

Detection runs on these views; every position leads back to the text as it was sent. In a view one character is one byte,
so what the scanner counts in bytes is counted in characters.
"""

import html
import re
import unicodedata
from collections.abc import Iterator
from itertools import groupby
from typing import Final, NamedTuple
from urllib.parse import unquote

from extproc_filters.pii.layers import MARGIN, Layer, Pairs, rewrite
from extproc_filters.pii.work import SLICE, Work

LETTER: Final = "\x7f"
"""Stands for a letter or digit that has no ASCII form. No other character folds to it."""

CONTROLS: Final = bytes(sorted({*range(32), 127} - {*b"\t\n\r"}))

HIDDEN: Final = frozenset({"Mn", "Me", "Cf", "Cc"})
"""Combining and enclosing marks, formatting characters and controls (Unicode, general categories)."""


def _hidden() -> Iterator[str]:
    """Those of the basic plane, as ranges of a class of characters: more ranges beyond it would make `re` slow."""
    points = (point for point in range(0x80, 0x10000) if unicodedata.category(chr(point)) in HIDDEN)
    for _, run in groupby(enumerate(points), lambda each: each[1] - each[0]):
        numbers = [point for _, point in run]
        yield f"{chr(numbers[0])}-{chr(numbers[-1])}"


INVISIBLE: Final = re.compile(
    "\x1b\\[[0-9;]{0,16}[A-Za-z]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u115f\u1160\u2800\u3164\uffa0"
    + "".join(_hidden())
    + "\U000110bd\U000110cd\U00013430-\U00013455\U0001bca0-\U0001bca3\U0001d165-\U0001d1ad\U000e0000-\U000e0fff]{1,1024}"
)
"""Controls and those of terminals (ECMA-48), zero-width and formatting characters, marks on others: nobody sees them, so they
hide nothing.
"""

MANY: Final = "{1,1024}"
"""A run of escapes is decoded at once, but no longer than this."""

PLAIN: Final = rf"(?:\\u(?![dD][89a-fA-F])[\da-fA-F]{{4}}){MANY}"
PAIR: Final = r"\\u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}"

ESCAPE: Final = re.compile(rf'(?:\\["\\/bfnrt]){MANY}|{PLAIN}|{PAIR}')
"""The escapes of a JSON string (RFC 8259 section 7): runs of those of one length, or one surrogate pair."""

HEX: Final = r"[\da-fA-F]"
ENCODED: Final = re.compile(
    r"(?=[%&\\<*])(?:"
    rf"(?:%[0-7]{HEX}){MANY}|(?:%[c-fC-F]{HEX}(?:%[89abAB]{HEX}){{1,3}}){MANY}|%[89a-fA-F]{HEX}"
    rf"|&(?:#\d{{1,7}};?|#[xX]{HEX}{{1,6}};?|[A-Za-z][A-Za-z\d]{{1,23}};)"
    rf"|(?:\\[bfnrtv!-/:-@\[-`{{-~]){MANY}|(?:\\x{HEX}{{2}}){MANY}|{PLAIN}|{PAIR}"
    rf"|%u{HEX}{{4}}|\\[ux]\{{{HEX}{{1,8}}\}}|\\U{HEX}{{8}}|\\[0-3][0-7]{{2}}|\*\*\*?"
    r"|(?i:</?(?:abbr|b|bdi|bdo|big|code|del|em|font|i|ins|kbd|mark|s|samp|small|span|strike|strong|sub|sup|tt|u|var|wbr)"
    r"(?:\s[a-z\s=\"'_-]{0,48})?/?>))"
)
"""Percent escapes (those of a character together), character references of HTML, the escapes of JSON, of Markdown and of
programs, inside a text; and what is not seen once a text is shown: emphasis in Markdown and in HTML, where a tag says too
little to hide anything. What is looked for first makes it ten times faster."""

ROUNDS: Final = 3
"""How often a text may be encoded and is still seen through."""

BACKSLASHED: Final = (
    (re.compile(rb"\\[bfnrtv\"'/\\]"), b" " * 2),
    (re.compile(rb"\\x[\da-fA-F]{2}"), b" " * 4),
    (re.compile(rb"\\u[\da-fA-F]{4}"), b" " * 6),
)
"""Escapes inside a text, and gaps of their length; in this order, which knows an escaped backslash from one that escapes."""

FLAT: Final = {'"': '""', "b": " \b", "f": " \f", "n": " \n", "r": " \r", "t": " \t"}
"""Escapes that become two characters as well, which is all that most texts have: no position changes then."""

SHORT: Final = str.maketrans("bfnrtv", "\b\f\n\r\t\v")


LIKE: Final = dict(
    zip(
        "øØłŁđĐðÐħĦŧŦıßæÆœŒþÞ"
        "асеһіјԛорѕуѵԝхԁӏԍАВСЕНІЈКМОРЅТХҮУԚԜѴӀ"
        "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧαινορυχγϲϳ"
        "\u2212\u2043\u02d7\u2796\u30fc\u3002\u06d4",
        "oOlLdDdDhHtTisaAoOtTacehijqopsyvwxdlgABCEHIJKMOPSTXYYQWVIABEZHIKMNOPTYXaivopuxycj-----..",
        strict=True,
    )
)
"""Latin letters that Unicode does not take apart, Cyrillic and Greek ones that look like a Latin one (Unicode, confusables),
strokes that stand for a hyphen, and stops.
"""

BOXED: Final = (0x1F150, 0x1F170, 0x1F1E6)
"""Where alphabets of 26 letters in circles, in squares and on flags begin."""


class Folding(dict[int, str]):
    """Every character above ASCII as one of ASCII, filled as characters are met; bounded by Unicode itself."""

    def __missing__(self, point: int) -> str:
        folded = fold(chr(point)) if point > 0x7F else chr(point)
        self[point] = folded
        return folded


def fold(character: str) -> str:
    """The ASCII character that a reader takes `character` for: a digit, a base letter, a hyphen, a stop, a space."""
    digit = unicodedata.digit(character, None)
    if digit is not None:
        return str(digit)
    for first in BOXED:
        if first <= ord(character) < first + 26:
            return chr(ord("A") + ord(character) - first)
    whole = unicodedata.normalize("NFKD", character)
    base = next((each for each in whole if each.isascii() and each.isalnum()), whole[0])
    base = LIKE.get(character) or LIKE.get(base, base)
    if "\t" <= base < LETTER:
        return base
    category = unicodedata.category(character)
    if category == "Pd":
        return "-"
    return LETTER if category[0] in "LMN" else " "


FOLDING: Final = Folding()


class View(NamedTuple):
    """`text` after the `layers` (first to last), and the same folded to ASCII; both count alike."""

    text: str
    data: bytes
    layers: tuple[Layer, ...] = ()

    def __repr__(self) -> str:
        return f"View({len(self.text)} characters)"

    def origin(self, start: int, end: int) -> tuple[int, int]:
        """The range of the text as it was sent."""
        for layer in reversed(self.layers):
            start, end = layer.back(start, end)
        return start, end


def views(text: str, *, escaped: bool) -> Work[list[View]]:
    """What is scanned in the place of `text`: as it reads, and, if something in it is encoded, decoded as well.

    `escaped` says that it is the text of a JSON document.
    """
    layers: list[Layer] = []
    read = text
    if escaped and "\\" in text:
        read, layer = yield from _flattened(text)
        layers.append(layer)
    first = yield from _folded(read, layers)
    found = [first]
    coded = "%" in read or "&" in read or "\\" in read or "<" in read or "*" in read
    if coded and (yield from _encoded(first.text)):
        found[0] = View(first.text, (yield from _blanked(first.data)), first.layers)
        found.append((yield from _decoded(first)))
    return found


def unescape(text: str) -> Work[tuple[str, Layer]]:
    """A JSON document, or the inside of one of its strings, with all escapes undone."""
    return (yield from rewrite(text, ESCAPE, _characters))


def _flattened(text: str) -> Work[tuple[str, Layer]]:
    """As `unescape`, but where all escapes are of the common kind they keep their length: that is enough to scan it."""
    first, *rest = text.split("\\")
    if all(part[:1] in FLAT for part in rest):
        return first + "".join([FLAT[part[:1]] + part[1:] for part in rest]), Pairs(text)
    return (yield from unescape(text))


def _decoded(view: View) -> Work[View]:
    """`view` decoded as often as it takes, up to the limit."""
    for _ in range(ROUNDS):
        read, layer = yield from rewrite(view.text, ENCODED, _decode)
        view = yield from _folded(read, [*view.layers, layer])
        if not (yield from _encoded(view.text)):
            break
    return view


def _encoded(text: str) -> Work[bool]:
    """Whether anything in `text` is encoded."""
    for start in range(0, len(text), SLICE):
        if ENCODED.search(text, start, start + SLICE + MARGIN):
            return True
        yield
    return False


def _decode(encoded: str) -> tuple[str, int]:
    match encoded[0]:
        case "%" if encoded[1] == "u":
            return _point(encoded[2:]), 0
        case "%":
            return unquote(encoded), 3 * (encoded[1] < "8")
        case "&":
            return html.unescape(encoded), 0
        case "\\":
            return _characters(encoded)
        case _:
            return "", 0


def _characters(escapes: str) -> tuple[str, int]:
    """What a run of escapes stands for, and the length of each; a surrogate pair is a whole."""
    kind = escapes[1]
    if kind.isdecimal():
        return chr(int(escapes[1:], 8)), 0
    if kind == "U" or (escapes[2:3] == "{" and kind in "ux"):
        return _point(escapes[2:].strip("{}")), 0
    if kind == "x":
        return escapes.encode("ascii").decode("unicode_escape"), 4
    if kind != "u":
        return escapes[1::2].translate(SHORT), 2
    if escapes[2] in "dD" and escapes[3] in "89abAB":
        return chr(0x10000 + ((int(escapes[2:6], 16) & 0x3FF) << 10) + (int(escapes[8:], 16) & 0x3FF)), 0
    return escapes.encode("ascii").decode("unicode_escape"), 6


def _point(digits: str) -> str:
    """The character with that number; beyond the last one there is none."""
    return chr(min(int(digits, 16), 0x10FFFF))


def _folded(text: str, layers: list[Layer]) -> Work[View]:
    """`text` without what is invisible, and folded."""
    if text.isascii():
        data = text.encode("ascii")
        if len(data.translate(None, CONTROLS)) == len(data):
            return View(text, data, tuple(layers))
    visible, layer = yield from rewrite(text, INVISIBLE, lambda _: ("", 0))
    parts = []
    for start in range(0, len(visible), SLICE):
        parts.append(visible[start : start + SLICE].translate(FOLDING).encode("ascii"))
        yield
    return View(visible, b"".join(parts), (*layers, layer))


def _blanked(data: bytes) -> Work[bytes]:
    """An escape is a gap between words, not a letter of one: the decoded view knows what it stands for."""
    if b"\\" in data:
        for pattern, gap in BACKSLASHED:
            data = pattern.sub(gap, data)
            yield
    return data
