"""What makes a candidate more than a pattern: check digits, formats, ranges. Each takes the bytes of one candidate, bounded
in length by its pattern, and says whether they can be what they look like.
"""

import base64
import binascii
import ipaddress
import math
import re
from collections import Counter
from typing import Final

SEPARATORS: Final = b" .-/()\t\r\n:+"
AMOUNTS: Final = bytes.maketrans(b"0123456789", bytes(range(10)))
TWICE: Final = bytes.maketrans(bytes(range(10)), bytes((0, 2, 4, 6, 8, 1, 3, 5, 7, 9)))
"""A digit doubled, and the digits of the result added."""

BASE36: Final = {
    ord(digit): b"%d" % int(digit, 36) for digit in "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
}
DIGIT: Final = re.compile(rb"[0-9]")
LETTERS: Final = re.compile(rb"[A-Za-z][^A-Za-z]*[A-Za-z]")
INFORMATION: Final = [0.0, *(count * math.log2(count) for count in range(1, 257))]

ISSUERS: Final = re.compile(
    rb"4\d{12}(?:\d{3}){0,2}|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}"
    rb"|6(?:011|4[4-9]\d|5\d\d)\d{12,15}|3(?:0[0-5]|[689]\d)\d{11}(?:\d{2})?|35(?:2[89]|[3-8]\d)\d{12,15}"
    rb"|(?:62|81)\d{14,17}|(?:50|5[6-9]|6[0-9])\d{11,17}|2200\d{12}|9792\d{12}"
)
"""Visa, Mastercard, American Express, Discover, Diners Club, JCB, UnionPay, Maestro, Mir, Troy, with their lengths."""

LENGTHS: Final = {
    15: "NO", 16: "BE", 18: "DK FO GL FI NL SD", 19: "MK SI FK", 20: "AT BA EE KZ LT LU MN XK", 21: "CH HR LI LV",
    22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL", 24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HN HU LB NI PL SV",
    29: "BR EG PS QA UA", 30: "JO KW MU YE", 31: "MT SC", 32: "LC", 33: "RU",
}  # fmt: skip
IBAN_LENGTHS: Final = {country: length for length, countries in LENGTHS.items() for country in countries.split()}
"""Characters of an IBAN by country (SWIFT's IBAN registry)."""

DISTRICTS: Final = re.compile(rb"0[0-9]|1[0-2]|2[1-9]|3[0-2]|6[1-9]|7[0-2]|80")
"""What a routing number begins with (American Bankers Association, routing number policy)."""

WORD: Final = re.compile(rb"[a-z]{9}|[A-Z]{9}")
LEAST_ENTROPY: Final = 3.2
"""Bits for each character. 32 random hexadecimal digits have 3.6, 20 random letters and digits 4.1; an English text 4 too,
so it is not the only thing that is asked."""

PICTURES: Final = (b".png", b".jpg", b".jpeg", b".gif", b".svg", b".webp")


def card(candidate: bytes) -> bool:
    """A card number of a known issuer whose check digit is right."""
    return luhn(candidate) and ISSUERS.fullmatch(candidate.translate(None, SEPARATORS)) is not None


def luhn(candidate: bytes) -> bool:
    """ISO/IEC 7812-1, annex B, for up to 28 digits, separators aside.

    Hostile texts are full of candidates, so the digits are added without a loop: a number modulo 255 is the sum of its
    bytes modulo 255.
    """
    digits = candidate.translate(AMOUNTS, SEPARATORS)
    return int.from_bytes(digits[-1::-2] + digits[-2::-2].translate(TWICE), "big") % 255 % 10 == 0


def iban(candidate: bytes) -> bool:
    """An IBAN of its country's length whose check digits (ISO 7064, mod 97-10) are right."""
    compact = candidate.translate(None, SEPARATORS)
    if IBAN_LENGTHS.get(compact[:2].decode("ascii").upper()) != len(compact):
        return False
    return int(b"".join(map(BASE36.__getitem__, compact[4:] + compact[:4]))) % 97 == 1


def ipv4(candidate: bytes) -> bool:
    """An address that can be somebody's: not loopback, not the unspecified one, not the broadcast."""
    return not candidate.startswith(b"127.") and candidate not in (b"0.0.0.0", b"255.255.255.255")


def ipv6(candidate: bytes) -> bool:
    """An IPv6 address but the loopback, with at least one digit: `dead::beef` is more often a name in a program."""
    if len(candidate) < 6 or (b"::" not in candidate and candidate.count(b":") != 7):
        return False
    try:
        address = ipaddress.IPv6Address(candidate.decode("ascii"))
    except ValueError:
        return False
    return not address.is_loopback and DIGIT.search(candidate) is not None


def mac(candidate: bytes) -> bool:
    """Any but that of all zeros and broadcast."""
    return len(set(candidate.lower().translate(None, SEPARATORS))) > 1


def aba(candidate: bytes) -> bool:
    """A routing number: the Federal Reserve's ranges, weights 3, 7 and 1, and the sum a multiple of ten."""
    digits = candidate.translate(None, SEPARATORS)
    weighted = 3 * sum(digits[0::3]) + 7 * sum(digits[1::3]) + sum(digits[2::3]) - 33 * 48
    return weighted % 10 == 0 and DISTRICTS.match(digits) is not None


def dotted_mac(candidate: bytes) -> bool:
    """Letters and digits: digits alone are rather a version or an amount."""
    return DIGIT.search(candidate) is not None and LETTERS.search(candidate) is not None


def email(candidate: bytes) -> bool:
    """Not the name of a picture for a dense display (`icon@2x.png`)."""
    return not candidate.lower().endswith(PICTURES)


def mixed(candidate: bytes) -> bool:
    """Random characters, not words: a digit and a letter of each case."""
    return all(re.search(kind, candidate) for kind in (rb"[0-9]", rb"[a-z]", rb"[A-Z]"))


def openai(candidate: bytes) -> bool:
    """Random characters: a digit and a letter of each case; and not a key of Anthropic's."""
    return not candidate.startswith(b"sk-ant-") and mixed(candidate)


def random(candidate: bytes) -> bool:
    """Letters and digits, no word of nine letters, not a path, and at least 3.2 bits of entropy for each character."""
    if DIGIT.search(candidate) is None or LETTERS.search(candidate) is None or WORD.search(candidate) is not None:
        return False
    if candidate.startswith(b"/") or b"//" in candidate:
        return False
    size = len(candidate)
    return math.log2(size) - sum(map(INFORMATION.__getitem__, Counter(candidate).values())) / size >= LEAST_ENTROPY


def token(candidate: bytes) -> bool:
    """The first part of a JWT is a JSON object (RFC 7515 section 3.1)."""
    header = candidate.partition(b".")[0]
    try:
        decoded = base64.urlsafe_b64decode(header + b"=" * (-len(header) % 4))
    except binascii.Error:
        return False
    return decoded.startswith(b'{"') and decoded.rstrip().endswith(b"}")


def phone(candidate: bytes) -> bool:
    """8 to 15 digits (E.164), not all the same."""
    digits = candidate.translate(None, SEPARATORS)
    return 8 <= len(digits) <= 15 and len(set(digits)) > 1


def local_phone(candidate: bytes) -> bool:
    """7 to 15 digits, not all the same; with seven, as they are dialled within a town."""
    digits = candidate.translate(None, SEPARATORS)
    return 7 <= len(digits) <= 15 and len(set(digits)) > 1
