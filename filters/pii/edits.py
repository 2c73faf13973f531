"""What is put in the place of what was found."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from extproc_filters.pii.findings import Finding
from extproc_filters.pii.views import views
from extproc_filters.pii.work import done

Mac = Callable[[bytes], bytes]
"""HMAC-SHA-256 of a message, under a key that stays where it is."""

Writer = Callable[[str, str], str]
"""What is written for an entity and the text that was found."""

HASH_DIGITS: Final = 16


class Edit(NamedTuple):
    """`text` in the place of what is from `start` to `end`; `entity` is empty for what only keeps a document in order."""

    start: int
    end: int
    text: str
    entity: str = ""


@dataclass(frozen=True, slots=True)
class Sheet:
    """The text as it was sent, and what is written into it."""

    text: str
    writer: Writer

    def written(self, finding: Finding) -> str:
        return self.writer(finding.entity, self.text[finding.start : finding.end])

    def edit(self, finding: Finding) -> Edit:
        return Edit(finding.start, finding.end, self.written(finding), finding.entity)


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


def mask(entity: str, _found: str) -> str:
    return f"[{entity}]"


def delete(_entity: str, _found: str) -> str:
    return ""


def hashing(mac: Mac, *, escaped: bool) -> Writer:
    """The same value of one entity has the same hash, however it was escaped. Nobody without the key can tell which."""

    def write(entity: str, found: str) -> str:
        plain = done(views(found, escaped=escaped))[-1].text
        return f"[{entity}:{mac(f'{entity}:{plain}'.encode('utf-8', 'replace')).hex()[:HASH_DIGITS]}]"

    return write
