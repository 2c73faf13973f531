"""What is found by chance in data that is written as Base64 or in hexadecimal digits: pictures, sound, embeddings, signatures.

In a megabyte of it there is a card number or an IBAN with right check digits once in two to twenty times, and a picture in
which somebody changes a few characters is broken. So short findings without a mark of their own do not count where a long
run of characters looks random on both sides. Keys that begin in a way that chance does not write always count.
"""

import re
from collections.abc import Iterable
from typing import Final

from extproc_filters.pii.findings import Finding
from extproc_filters.pii.work import STEPS, Work

ENTITIES: Final = frozenset({"CREDIT_CARD", "IBAN_CODE", "OPENAI_API_KEY", "PHONE_NUMBER", "UK_NINO"})
"""What is made of letters, digits, `+`, `/`, `-` and `_` alone, and has no word before it."""

MARKED: Final = re.compile(r"sk-(?:proj|svcacct|admin|None)-")
"""A key of OpenAI's that chance does not write."""

ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_=\\"
"""Base64 in both alphabets (RFC 4648 sections 4 and 5); the backslash is of `\\/` and `\\n`, which JSON may have between."""

RUN: Final = re.compile(r"[A-Za-z0-9+/=_\\-]*+")
LONG: Final = 1024
"""Characters of a run that is no word, no path and no list of keys."""

NEAR: Final = 256
"""Characters around a finding that have to look random, at least, on each side that has so many."""

KINDS: Final = bytes.maketrans(ALPHABET.encode(), b"A" * 26 + b"a" * 26 + b"0" * 10 + b"-" * (len(ALPHABET) - 62))
HEX: Final = re.compile(r"[0-9a-f]+|[0-9A-F]+")


def no_accident(text: str, findings: Iterable[Finding]) -> Work[list[Finding]]:
    """`findings` in `text` without those that chance has made."""
    runs = Runs(text)
    kept: list[Finding] = []
    for number, each in enumerate(findings, 1):
        if each.entity not in ENTITIES or MARKED.match(text, each.start) or not runs.random_at(each.start, each.end):
            kept.append(each)
        if number % STEPS == 0:
            yield
    return kept


class Runs:
    """The long runs of a text. What is known of one is kept, for a hostile text is full of findings."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._begin = self._end = 0
        self._random: dict[int, bool] = {}

    def random_at(self, start: int, end: int) -> bool:
        """Whether what is from `start` to `end` lies in a run that is long, and looks random there."""
        text = self._text
        if not self._begin <= start < self._end:
            if text[start - 1 : start] not in ALPHABET or text[end : end + 1] not in ALPHABET:
                return False
            self._measure(start)
        if self._end - self._begin < LONG or end > self._end:
            return False
        block = start // NEAR
        if block not in self._random:
            near = text[max(self._begin, (block - 1) * NEAR) : min(self._end, (block + 2) * NEAR)]
            self._random[block] = _looks_random(near)
        return self._random[block]

    def _measure(self, start: int) -> None:
        """Find the run around `start`; it may begin earlier than that if it is long enough anyway."""
        head = self._text[max(0, start - LONG) : start]
        run = RUN.match(self._text, start)
        self._begin = start - len(head) + len(head.rstrip(ALPHABET))
        self._end = run.end() if run else start
        self._random.clear()


def _looks_random(text: str) -> bool:
    """Whether letters and digits are mixed as chance mixes them. In random Base64 two fifths are of each case, and a sixth are
    digits; of hexadecimal digits three eighths are letters.
    """
    kinds = text.encode().translate(KINDS)
    upper, lower, digits = kinds.count(b"A"), kinds.count(b"a"), kinds.count(b"0")
    if HEX.fullmatch(text):
        return min(upper + lower, digits) * 5 > len(text)
    return min(upper, lower) * 5 > len(text) and digits * 20 > len(text)
