"""What makes a candidate more than a pattern: check digits, formats, ranges. Each takes the bytes of one candidate, bounded
in length by its pattern, and says whether they can be what they look like.
"""

import base64
import binascii
import ipaddress
import re
from typing import Final

from stdnum import bitcoin

SEPARATORS: Final = b" .-/()\t:+"
DOUBLED: Final = bytes.maketrans(b"0123456789", b"0246813579")
"""Each digit doubled, and the digits of the result added."""

BASE36: Final = {ord("A") + number: str(10 + number) for number in range(26)}
DIGIT: Final = re.compile(rb"[0-9]")

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

PICTURES: Final = (b".png", b".jpg", b".jpeg", b".gif", b".svg", b".webp")


def card(candidate: bytes) -> bool:
    """A card number of a known issuer whose check digit is right."""
    digits = candidate.translate(None, SEPARATORS)
    return luhn(digits) and ISSUERS.fullmatch(digits) is not None


def luhn(digits: bytes) -> bool:
    """ISO/IEC 7812-1, annex B. Hostile texts are full of candidates, so this is done without a loop of our own."""
    doubled = digits[-2::-2].translate(DOUBLED)
    return (sum(digits[-1::-2]) + sum(doubled) - 48 * len(digits)) % 10 == 0


def iban(candidate: bytes) -> bool:
    """An IBAN of its country's length whose check digits (ISO 7064, mod 97-10) are right."""
    compact = candidate.translate(None, SEPARATORS).decode("ascii").upper()
    if IBAN_LENGTHS.get(compact[:2]) != len(compact):
        return False
    return int((compact[4:] + compact[:4]).translate(BASE36)) % 97 == 1


def ipv4(candidate: bytes) -> bool:
    """An address that can be somebody's: not loopback, not the unspecified one, not the broadcast."""
    return not candidate.startswith(b"127.") and candidate not in (b"0.0.0.0", b"255.255.255.255")


def ipv6(candidate: bytes) -> bool:
    """As `ipv4`. At least one digit: `dead::beef` is more often a name in a program."""
    if len(candidate) < 6 or (b"::" not in candidate and candidate.count(b":") != 7):
        return False
    try:
        address = ipaddress.IPv6Address(candidate.decode("ascii"))
    except ValueError:
        return False
    return not address.is_loopback and DIGIT.search(candidate) is not None


def mac(candidate: bytes) -> bool:
    """Any but all zeros and broadcast."""
    return len(set(candidate.lower().translate(None, SEPARATORS))) > 1


def bitcoin_address(candidate: bytes) -> bool:
    """Base58Check and bech32 have checksums; bech32m (taproot) is taken as it is."""
    return candidate.lower().startswith(b"bc1p") or bool(bitcoin.is_valid(candidate.decode("ascii")))


def email(candidate: bytes) -> bool:
    """Not the name of a picture for a dense display (`icon@2x.png`)."""
    return not candidate.lower().endswith(PICTURES)


def mixed(candidate: bytes) -> bool:
    """Random characters, not words: a digit and a letter of each case."""
    return all(re.search(kind, candidate) for kind in (rb"[0-9]", rb"[a-z]", rb"[A-Z]"))


def token(candidate: bytes) -> bool:
    """The first part of a JWT is a JSON object (RFC 7515 section 3.1)."""
    header = candidate.partition(b".")[0]
    try:
        decoded = base64.urlsafe_b64decode(header + b"=" * (-len(header) % 4))
    except binascii.Error:
        return False
    return decoded.startswith(b'{"') and decoded.rstrip().endswith(b"}")


def phone(candidate: bytes) -> bool:
    """E.164: 8 to 15 digits; not all the same."""
    digits = candidate.translate(None, SEPARATORS)
    return 8 <= len(digits) <= 15 and len(set(digits)) > 1


def local_phone(candidate: bytes) -> bool:
    """As `phone`, or a number of seven digits as they are dialled within a town."""
    digits = candidate.translate(None, SEPARATORS)
    return 7 <= len(digits) <= 15 and len(set(digits)) > 1
