"""Numbers that people have: where runs of digits are, and which of them are government numbers and telephones."""

import re
from typing import Final

from extproc_filters.pii import checks
from extproc_filters.pii.recognizer import Anchor, Recognizer, Topic, told

DIGITS: Final = Anchor(
    r"(?:(?:^|[^0-9 .\-()/\t\r\n])[ .\-()/\t\r\n]{0,3}|[ .\-()/\t\r\n]{4})\d(?:[ .\-()/\t\r\n]{0,3}\d){8}",
    before=44,
    after=32,
    run=re.compile(rb"[0-9 .\-()/\t\r\n]*+"),
)
"""The ninth digit of a run of digits with at most three separators between two of them. Everything with nine digits or
more begins to be looked for here."""

ALONE: Final = rb"(?<![A-Za-z0-9+])(?<![0-9][.-])"
END: Final = rb"(?![\w]|[.-][0-9])"

PHONE: Final = Topic(
    within=("phone", "telefon", "mobile", "mobil", "movil", "whatsapp", "handynummer", "handynr", "rufnummer", "call me",
            "reach me", "ring me", "text me"),
    alone=("fax", "sms", "tel", "cell", "dial", "portable", "handy"),
)  # fmt: skip
SSN: Final = Topic(within=("ssn", "social sec", "tax id", "taxpayer id", "taxpayer", "soc sec"), alone=("ss #",))
ITIN: Final = Topic(within=("itin", "tax id", "taxpayer id", "taxpayer"))


def _within(expression: str, before: int, after: int) -> Anchor:
    """An anchor in a run of digits; `before` reaches back to where the value begins."""
    return Anchor(expression, before, after, inside=DIGITS)


def _number(entity: str, form: str, anchor: Anchor, shape: bytes, score: float, topic: Topic | None) -> Recognizer:
    pattern = re.compile(ALONE + rb"(?=(" + shape + rb")" + END + rb")[0-9(+]")
    return Recognizer(entity, form, anchor, pattern, score, checks.phone if topic is PHONE else None, topic)


NINE: Final = _within(r"\d{3}[- .]\d{2}[- .]\d{4}", 12, 3)
AREAS: Final = rb"(?!000|666|9)[0-9]{3}"
ITIN_GROUPS: Final = rb"(?:5[0-9]|6[0-5]|7[0-9]|8[0-8]|9[0-24-9])"

GOVERNMENT: Final = (
    _number(
        "US_SSN", "`123-45-6789`, no area 000, 666 or 9xx", NINE,
        AREAS + rb"-(?!00)[0-9]{2}-(?!0000)[0-9]{4}", 0.85, SSN,
    ),
    _number(
        "US_SSN", "the same with spaces or dots", NINE,
        AREAS + rb"[ .](?!00)[0-9]{2}[ .](?!0000)[0-9]{4}", 0.5, SSN,
    ),
    told(
        "US_SSN", "nine digits, with or without separators", SSN,
        AREAS + rb"[ .-]?(?!00)[0-9]{2}[ .-]?(?!0000)[0-9]{4}",
    ),
    _number(
        "US_ITIN", "`9xx-50-1234`, the groups that are issued", NINE,
        rb"9[0-9]{2}-" + ITIN_GROUPS + rb"-[0-9]{4}", 0.8, ITIN,
    ),
    told("US_ITIN", "the same with or without separators", ITIN, rb"9[0-9]{2}[ .-]?" + ITIN_GROUPS + rb"[ .-]?[0-9]{4}"),
    Recognizer(
        "UK_NINO", "`AB 12 34 56 C`, the prefixes that are issued",
        Anchor(
            r"(?i)(?:^|[^\w])[A-CEGHJ-PR-TW-Z]{2}[ -]?\d{2}[ -]?\d{2}[ -]?\d{2}[ -]?[A-D]", before=14, after=2, apart=True
        ),
        re.compile(
            rb"(?i)(?<!\w)(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]"
            rb"[ -]?[0-9]{2}[ -]?[0-9]{2}[ -]?[0-9]{2}[ -]?[A-D](?!\w)"
        ),
        0.75,
    ),
)  # fmt: skip

PHONES: Final = (
    _number(
        "PHONE_NUMBER", "international, `+` and 8 to 15 digits", _within(r"\+[1-9](?:[ .\-/()]{0,3}[0-9]){7}", 30, 32),
        rb"\+[1-9](?:[ .\-/()]{0,3}[0-9]){7,14}", 0.75, PHONE,
    ),
    _number(
        "PHONE_NUMBER", "national: North America, France, the United Kingdom, Germany; `00` and a country",
        _within(
            r"[2-9]\d\d\)?[ .-]?[2-9]\d\d[ .-]\d{4}"
            r"|(?:^|[^0-9])(?:00[1-9]\d{0,2}[ .-](?:[ .\-/()]{0,3}\d){6}|0[1-9](?:[ .]\d{2}){4}"
            r"|07\d{3}[ -]?\d{3}[ -]?\d{3}|0[1-9]\d{1,3}\)?[ /-]{1,2}\d{3,4}[ -]\d{3})",
            34, 28,
        ),
        rb"(?:1[ .-])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[ .-])[2-9][0-9]{2}[ .-][0-9]{4}"
        rb"|(?<![0-9] )00[1-9][0-9]{0,2}[ .-](?:[ .\-/()]{0,3}[0-9]){6,12}"
        rb"|0[1-9](?:[ .][0-9]{2}){4}|07[0-9]{3}[ -]?[0-9]{3}[ -]?[0-9]{3}"
        rb"|(?:\(0[1-9][0-9]{1,3}\)|0[1-9][0-9]{1,3})[ /-]{1,2}[0-9]{3,4}[ -][0-9]{3,5}",
        0.65, PHONE,
    ),
    told(
        "PHONE_NUMBER", "seven digits or more", PHONE, rb"[0-9]{1,5}\)?(?:[ .\-/]{0,2}[0-9]{2,8}){1,6}", checks.local_phone
    ),
)  # fmt: skip
