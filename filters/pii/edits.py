"""What is put in the place of what was found."""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple
from unicodedata import decimal, normalize

from extproc_filters.pii.findings import Finding
from extproc_filters.pii.views import unescape, views
from extproc_filters.pii.work import done

Mac = Callable[[bytes], bytes]
"""HMAC-SHA-256 of a message, under a key that stays where it is."""

Writer = Callable[[str, str, int], str]
"""What is written for an entity and the text that was found, as it was sent: inside so many strings of JSON."""

HASH_DIGITS: Final = 16

CODED: Final = re.compile(r"[%&\\<*]")
"""What an escape begins with."""


class Edit(NamedTuple):
    """`text` in the place of what is from `start` to `end`; `entity` is empty for what only keeps a document in order."""

    start: int
    end: int
    text: str
    entity: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Sheet:
    """The text as it was sent, and what is written into it."""

    text: str
    writer: Writer

    def written(self, finding: Finding, depth: int) -> str:
        return self.writer(finding.entity, self.text[finding.start : finding.end], depth)

    def edit(self, finding: Finding, depth: int) -> Edit:
        return Edit(finding.start, finding.end, self.written(finding, depth), finding.entity)


def splice(text: str, edits: Iterable[Edit]) -> str:
    """`text` with all `edits` (in order, none overlapping) made."""
    pieces: list[str] = []
    at = 0
    for edit in edits:
        pieces += text[at : edit.start], edit.text
        at = edit.end
    pieces.append(text[at:])
    return "".join(pieces)


def count(edits: Iterable[Edit]) -> Counter[str]:
    """How often each entity was found."""
    return Counter(edit.entity for edit in edits if edit.entity)


def mask(entity: str, _found: str, _depth: int) -> str:
    return f"[{entity}]"


def delete(_entity: str, _found: str, _depth: int) -> str:
    return ""


def hashing(mac: Mac) -> Writer:
    """The same value of one entity has the same hash, however it was written. Nobody without the key can tell which."""

    def write(entity: str, found: str, depth: int) -> str:
        value = plain(bare(found, depth))
        return f"[{entity}:{mac(f'{entity}:{value}'.encode('utf-8', 'replace')).hex()[:HASH_DIGITS]}]"

    return write


def bare(found: str, depth: int) -> str:
    """`found` without the escapes of the strings of JSON that it was sent in: what their reader sees."""
    while depth and "\\" in found:
        found, depth = done(unescape(found))[0], depth - 1
    return found


def plain(value: str) -> str:
    """The one spelling of `value`: no escapes, nothing invisible, and letters and digits of full width in ASCII."""
    if value.isascii() and value.isprintable() and not CODED.search(value):
        return value
    seen = done(views(normalize("NFKC", value), escaped=False))[-1].text
    return "".join(str(decimal(each, each)) for each in seen)
