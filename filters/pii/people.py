"""Personal data: what is looked for in the text of people about people. Entity names are Presidio's where it has one."""

import re
from collections.abc import Callable
from typing import Final

from extproc_filters.pii import checks
from extproc_filters.pii.recognizer import Anchor, Recognizer, Span, words

LOCAL: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._%+'-"
IN_URL: Final = re.compile(rb"://[^\s/?#\"'<>@:]{0,128}:\Z")
"""Before the password of a URL, which `@` and a host follow as well."""

LONGEST_LOCAL: Final = 64
"""RFC 5321 section 4.5.3.1.1."""

DIGITS: Final = Anchor(
    r"(?:(?:^|[^0-9 .\-()/\t])[ .\-()/\t]{0,3}|[ .\-()/\t]{4})\d(?:[ .\-()/\t]{0,3}\d){8}",
    before=44,
    after=32,
    run=re.compile(rb"[0-9 .\-()/\t]*+"),
)
"""The ninth digit of a run of digits with at most three separators between two of them. Everything with nine digits or
more begins to be looked for here."""

LEFT: Final = rb"(?<![0-9])(?<![0-9]\.)(?<![0-9][A-Fa-f])(?<![0-9][A-Fa-f]{2})"
RIGHT: Final = rb"(?![A-Fa-f]{0,2}[0-9])"
"""Not inside a number, a fraction or a hexadecimal digest."""

ALONE: Final = rb"(?<![A-Za-z0-9+])(?<![0-9][.-])"
END: Final = rb"(?![\w]|[.-][0-9])"

CARD_TOPIC: Final = "card|credit|debit|visa|mastercard|amex|discover|cvv|cvc"
PHONE_TOPIC: Final = (
    r"phone|telefon|mobile?|whatsapp|\bfax|handynummer|handynr|call me|reach me|ring me|text me"
    r"|\bsms\b|\btel\b|\bcell\b|\bdial\b"
)
SSN_TOPIC: Final = r"ssn|social[ _-]?sec|\bss ?#|tax[ _-]?id|taxpayer|soc sec"
ITIN_TOPIC: Final = "itin|tax[ _-]?id|taxpayer"
CARD_WORDS, PHONE_WORDS, SSN_WORDS = (words(topic) for topic in (CARD_TOPIC, PHONE_TOPIC, SSN_TOPIC))
DIGIT_GAP: Final = rb"(?![ _-]?ids?(?![a-z]))[^0-9\n\]]{0,32}+"
LETTER_GAP: Final = rb"[^0-9\n\]]{0,32}?"
"""What lies between a topic and its value: one that begins with a digit, and one that may begin with a letter. The words of
`[PHONE_NUMBER]`, written here before, are no topic, and a `card_id` is no card."""

SEPARATOR: Final = rb"[ .-]{1,2}"


def _card(shape: bytes, score: float) -> Recognizer:
    pattern = re.compile(rb"(?=[2-9])" + LEFT + rb"(?=(" + shape + rb")" + RIGHT + rb")[0-9]")
    return Recognizer("CREDIT_CARD", DIGITS, pattern, score, checks.card, CARD_WORDS)


def _number(entity: str, shape: bytes, score: float, context: re.Pattern[bytes]) -> Recognizer:
    return Recognizer(
        entity, DIGITS, re.compile(ALONE + rb"(?=(" + shape + rb")" + END + rb")[0-9(+]"), score, None, context
    )


def _phone(shape: bytes, score: float) -> Recognizer:
    pattern = re.compile(ALONE + rb"(?=(" + shape + rb")" + END + rb")[0-9(+]")
    return Recognizer("PHONE_NUMBER", DIGITS, pattern, score, checks.phone, PHONE_WORDS)


def _told(
    entity: str, topic: str, gap: bytes, value: bytes, check: Callable[[bytes], bool] | None = None
) -> Recognizer:
    """A value that only the words before it give away; at most 32 characters, and no digit, lie between."""
    pattern = rb"(?i)(?:" + topic.encode() + rb")" + gap + rb"(?<![A-Za-z0-9])(" + value + rb")(?![A-Za-z0-9])"
    return Recognizer(entity, Anchor("(?i)(?:" + topic + ")", before=40, after=120), re.compile(pattern), 0.65, check)


def _address(data: bytes, domain: Span) -> Span | None:
    """The domain with the local part before it; a local part without any ASCII is taken up to the next space."""
    at = domain[0] - 1
    before = data[max(0, at - LONGEST_LOCAL) : at]
    local = before[len(before.rstrip(LOCAL)) :].lstrip(b".%'-") or before[len(before.rstrip(b"\x7f")) :]
    start = at - len(local)
    in_url = data[start - 1 : start] == b":" and IN_URL.search(data, max(0, start - 140), start)
    return (start, domain[1]) if local and not in_url else None


def _iban(data: bytes, span: Span) -> Span | None:
    """As many characters as the country's IBANs have, separators aside, and no more behind them."""
    start, limit = span
    length = checks.IBAN_LENGTHS.get(data[start : start + 2].decode("ascii").upper(), 0)
    end = start + length
    while start < end <= limit:
        missing = length - len(data[start:end].translate(None, b" -"))
        if not missing:
            return None if data[end : end + 1].isalnum() else (start, end)
        end += missing
    return None


EMAIL: Final = Recognizer(
    "EMAIL_ADDRESS",
    Anchor(r"[\w%+'.\x7f-]@[A-Za-z0-9\x7f]", before=2, after=255),
    re.compile(
        rb"@((?:[A-Za-z0-9\x7f][A-Za-z0-9\x7f-]{0,62}\.){1,126}(?:[A-Za-z]{2,24}|\x7f{2,24}|xn--[A-Za-z0-9-]{2,59}))"
        rb"(?![A-Za-z0-9-])"
    ),
    0.95,
    checks.email,
    widen=_address,
)

CARDS: Final = (
    _card(
        rb"[0-9]{13,19}|[0-9]{4}(?:" + SEPARATOR + rb"[0-9]{4}){3}"
        rb"|3[0-9]{3}" + SEPARATOR + rb"[0-9]{6}" + SEPARATOR + rb"[0-9]{4,5}"
        rb"|(?<![0-9][ .\t-])[0-9](?:[ .\t-][0-9]){12,18}(?![ .\t-]?[0-9])",
        0.8,
    ),
    _card(rb"[0-9]{4}(?:" + SEPARATOR + rb"[0-9]{4}){3}" + SEPARATOR + rb"[0-9]{3}", 0.8),
    _told("CREDIT_CARD", CARD_TOPIC, DIGIT_GAP, rb"[0-9]{1,7}(?:[ ./\t-]{1,3}[0-9]{1,7}){1,18}", checks.card),
)

GOVERNMENT: Final = (
    _number("US_SSN", rb"(?!000|666|9)[0-9]{3}-(?!00)[0-9]{2}-(?!0000)[0-9]{4}", 0.85, SSN_WORDS),
    _number("US_SSN", rb"(?!000|666|9)[0-9]{3}[ .](?!00)[0-9]{2}[ .](?!0000)[0-9]{4}", 0.5, SSN_WORDS),
    _told("US_SSN", SSN_TOPIC, DIGIT_GAP, rb"(?!000|666|9)[0-9]{3}[ .-]?(?!00)[0-9]{2}[ .-]?(?!0000)[0-9]{4}"),
    _number("US_ITIN", rb"9[0-9]{2}-(?:5[0-9]|6[0-5]|7[0-9]|8[0-8]|9[0-24-9])-[0-9]{4}", 0.8, SSN_WORDS),
    _told("US_ITIN", ITIN_TOPIC, DIGIT_GAP, rb"9[0-9]{2}[ .-]?(?:5[0-9]|6[0-5]|7[0-9]|8[0-8]|9[0-24-9])[ .-]?[0-9]{4}"),
    Recognizer(
        "UK_NINO",
        Anchor(r"(?i)(?:^|[^\w])[A-CEGHJ-PR-TW-Z]{2}[ -]?\d{2}[ -]?\d{2}[ -]?\d{2}[ -]?[A-D]", before=20, after=4),
        re.compile(
            rb"(?i)(?<!\w)(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]"
            rb"[ -]?[0-9]{2}[ -]?[0-9]{2}[ -]?[0-9]{2}[ -]?[A-D](?!\w)"
        ),
        0.75,
    ),
)

PHONES: Final = (
    _phone(rb"\+[1-9](?:[ .\-/()]{0,3}[0-9]){7,14}", 0.75),
    _phone(
        rb"(?:1[ .-])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[ .-])[2-9][0-9]{2}[ .-][0-9]{4}"
        rb"|(?<![0-9] )00[1-9][0-9]{0,2}[ .-](?:[ .\-/()]{0,3}[0-9]){6,12}"
        rb"|0[1-9](?:[ .][0-9]{2}){4}|07[0-9]{3}[ -]?[0-9]{3}[ -]?[0-9]{3}"
        rb"|(?:\(0[1-9][0-9]{1,3}\)|0[1-9][0-9]{1,3})[ /-]{1,2}[0-9]{3,4}[ -][0-9]{3,5}",
        0.65,
    ),
    _told("PHONE_NUMBER", PHONE_TOPIC, DIGIT_GAP, rb"[0-9]{1,5}\)?(?:[ .\-/]{0,2}[0-9]{2,8}){1,6}", checks.local_phone),
)

OCTET: Final = rb"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
NETWORK: Final = (
    Recognizer(
        "IP_ADDRESS",
        Anchor(r"(?:^|[^\d.])\d{1,3}\.\d{1,3}\.\d{1,3}\.\d", before=16, after=24),
        re.compile(
            rb"(?<![\w.])(?<!ersion )(?<!ersion: )(?<!ersion\":\")(?<!ersion\": \")(?<!ver )(?<!release )(?<!build )(?<!==)"
            + OCTET
            + rb"(?:\."
            + OCTET
            + rb"){3}(?!\w|\.[0-9]|-[0-9A-Za-z])"
        ),
        0.7,
        checks.ipv4,
    ),
    Recognizer(
        "IP_ADDRESS",
        Anchor(r"(?:^|[^\w:])[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{0,4}:", before=12, after=64),
        re.compile(rb"(?<![\w:.])[0-9A-Fa-f]{1,4}:(?:[0-9A-Fa-f]{0,4}:){1,7}[0-9A-Fa-f]{0,4}(?![\w:])"),
        0.7,
        checks.ipv6,
    ),
    Recognizer(
        "MAC_ADDRESS",
        Anchor(r"(?:^|[^\w:-])(?:[0-9A-Fa-f]{2}[:-]){3}", before=12, after=32),
        re.compile(rb"(?<![\w:-])(?=([0-9A-Fa-f]{2}([:-])(?:[0-9A-Fa-f]{2}\2){4}[0-9A-Fa-f]{2})(?![\w:-]))"),
        0.8,
        checks.mac,
    ),
)

MONEY: Final = (
    Recognizer(
        "IBAN_CODE",
        Anchor(r"(?:^|[^A-Za-z0-9])[A-Za-z]{2}\d{2}[ -]?[A-Za-z0-9]{4}", before=12, after=64),
        re.compile(rb"(?<![A-Za-z0-9])(?=([A-Za-z]{2}[0-9]{2}(?:[ -]?[A-Za-z0-9]){11,29}))[A-Za-z]"),
        0.95,
        checks.iban,
        widen=_iban,
    ),
    Recognizer(
        "CRYPTO",
        Anchor(r"(?:^|[^\w])[13][1-9A-HJ-NP-Za-km-z]{25}", before=32, after=16),
        re.compile(rb"(?<!\w)[13][1-9A-HJ-NP-Za-km-z]{25,34}(?!\w)"),
        0.9,
        checks.bitcoin_address,
    ),
    Recognizer(
        "CRYPTO",
        Anchor(r"(?i)bc1[02-9ac-hj-np-z]{11}", before=16, after=80),
        re.compile(rb"(?i)(?<!\w)bc1[02-9ac-hj-np-z]{11,71}(?!\w)"),
        0.9,
        checks.bitcoin_address,
    ),
    Recognizer(
        "CRYPTO",
        Anchor(r"(?i)0x[0-9a-f]{40}", before=44, after=4),
        re.compile(rb"(?i)(?<!\w)0x[0-9a-f]{40}(?!\w)"),
        0.85,
    ),
)

MONTHS: Final = rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{0,6}\.?"
DAY: Final = rb"[0-9]{1,2}(?:st|nd|rd|th)?"
DATE: Final = (
    rb"[0-9]{4}[-/.][0-9]{1,2}[-/.][0-9]{1,2}(?!\d)|[0-9]{1,2}([-/. ])[0-9]{1,2}\2(?:[0-9]{4}|[0-9]{2})(?!\d)|(?:"
    + DAY + rb"(?: of)? )?" + MONTHS + rb",? (?:" + DAY + rb",? )?[0-9]{4}(?!\d)"
)  # fmt: skip

TOLD: Final = (
    _told("DATE_OF_BIRTH", r"\bdob\b|date[ _-]?of[ _-]?birth|birth[ _-]?da(?:y|te)|\bborn\b", LETTER_GAP, DATE),
    _told("US_PASSPORT", "passport", LETTER_GAP, rb"[A-Z]?[0-9]{8,9}"),
    _told("US_DRIVER_LICENSE", "driver'?s?[ _-]?licen[cs]e", LETTER_GAP, rb"[A-Z]{0,2}[0-9]{5,12}"),
    _told("US_BANK_NUMBER", r"(?:account|acct|routing)[ _-]?(?:number|num|no\b|nr|#)", DIGIT_GAP, rb"[0-9]{8,17}"),
)

PEOPLE: Final = (EMAIL, *CARDS, *GOVERNMENT, *PHONES, *NETWORK, *MONEY, *TOLD)
