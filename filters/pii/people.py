"""Personal data: what is looked for in the text of people about people. Entity names are Presidio's where it has one."""

import re
from typing import Final

from extproc_filters.pii import checks
from extproc_filters.pii.money import MONEY
from extproc_filters.pii.network import NETWORK
from extproc_filters.pii.numbers import GOVERNMENT, PHONES
from extproc_filters.pii.recognizer import LETTER_GAP, Anchor, Recognizer, Span, Topic, told

LOCAL: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._%+'-"
IN_URL: Final = re.compile(rb"://[^\s/?#\"'<>@:]{0,128}:[^\s/?#\"'<>]{0,256}\Z")
LONGEST_IN_URL: Final = 388
"""What is before the last characters of a password in a URL, which `@` and a host follow as well."""

LONGEST_LOCAL: Final = 64
"""RFC 5321 section 4.5.3.1.1."""

LETTER: Final = b"\x7f"
"""See views.py."""

LABEL: Final = r"[A-Za-z0-9\x7f-]*"


def _address(data: bytes, domain: Span) -> Span | None:
    """The domain with the local part before it. One in ASCII begins where that does, for some scripts have no spaces; any
    other is taken up to the next one.
    """
    at = domain[0] - 1
    before = data[max(0, at - LONGEST_LOCAL) : at]
    run = before[len(before.rstrip(LOCAL + LETTER)) :]
    ascii_only = run.lstrip(LETTER)
    local = (run if LETTER in ascii_only or not ascii_only else ascii_only).lstrip(b".%'-")
    start = at - len(local)
    if not local or IN_URL.search(data, max(0, start - LONGEST_IN_URL), start):
        return None
    return start, domain[1]


EMAIL: Final = Recognizer(
    "EMAIL_ADDRESS",
    "a local part, `@`, and a domain of two labels or more; letters of any script",
    Anchor(
        rf"[\w%+'.\x7f-]@[A-Za-z0-9\x7f]{LABEL}(?:\.(?:[A-Za-z\x7f]|[0-9-]{LABEL}|[A-Za-z\x7f][0-9-]{LABEL})?)*"
        r"\.[A-Za-z\x7f]{2}",
        before=256,
        after=255,
    ),
    re.compile(
        rb"@((?:[A-Za-z0-9\x7f][A-Za-z0-9\x7f-]{0,62}\.){1,126}(?:xn--[A-Za-z0-9-]{2,59}|[A-Za-z]{2,24}|[A-Za-z\x7f]{2,24}))"
        rb"(?![A-Za-z])"
    ),
    0.95,
    checks.email,
    widen=_address,
)
"""The anchor reports the first label that can be a top-level domain, and no later one."""

MONTHS: Final = (
    rb"(?:jan|feb|fev|mar|apr|avr|abr|mai|may|jun|jul|jui|aug|aou|ago|sep|oct|okt|out|nov|dec|dez|dic|ene|gen|mag|giu|lug|set|ott)"
    rb"[a-z]{0,7}\.?"
)
DAY: Final = rb"[0-9]{1,2}(?:st|nd|rd|th|er|\.)?"
DATE: Final = (
    rb"[0-9]{4}[-/.][0-9]{1,2}[-/.][0-9]{1,2}|[0-9]{1,2}([-/. ])[0-9]{1,2}\2(?:[0-9]{4}|[0-9]{2})|(?:"
    + DAY + rb"(?: of| de)? )?" + MONTHS + rb"(?: de)?,? (?:" + DAY + rb",? )?[0-9]{4}"
)  # fmt: skip

BIRTH: Final = Topic(
    within=("date of birth", "birth date", "birthday", "geburtsdatum", "geboren", "date de naissance", "fecha de nacimiento",
            "data di nascita"),
    alone=("dob", "d.o.b", "born on", "born", "geb", "nee le", "ne le", "nacido", "nacida", "nato il", "nata il"),
)  # fmt: skip
PASSPORT: Final = Topic(within=("passport",))
LICENSE: Final = Topic(
    within=("driver license", "drivers license", "driver's license", "driving license", "driver licence",
            "drivers licence", "driver's licence", "driving licence"),
    alone=("dl #", "dl no", "dl number"),
)  # fmt: skip

TOLD: Final = (
    told("DATE_OF_BIRTH", "a date, in figures or with a month's name", BIRTH, DATE, gap=LETTER_GAP, letters=16),
    told(
        "US_PASSPORT",
        "eight or nine digits, or a letter and eight",
        PASSPORT,
        rb"[a-z]?[0-9]{8,9}",
        gap=LETTER_GAP,
        letters=1,
    ),
    told(
        "US_DRIVER_LICENSE",
        "up to two letters and 5 to 14 digits, or groups of them",
        LICENSE,
        rb"[a-z]{0,2}[0-9]{5,14}|[a-z][0-9]{3}(?:-[0-9]{1,4}){2,4}",
        gap=LETTER_GAP,
        letters=2,
    ),
)

PEOPLE: Final = (EMAIL, *GOVERNMENT, *PHONES, *TOLD, *MONEY, *NETWORK)
