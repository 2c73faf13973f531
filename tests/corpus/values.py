"""Made-up values of every entity, with check digits that are right, in the forms that people write them in."""

import base64
import hashlib
import json
import string
from collections.abc import Callable
from random import Random
from typing import Final

from stdnum import luhn
from stdnum.iso7064 import mod_97_10

from extproc_filters.pii.wallets import keccak

ALNUM: Final = string.ascii_letters + string.digits
BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
BECH32: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
FIRST: Final = ("jane", "john", "maria", "li", "ahmed", "søren", "chloé", "o'brien", "ana-maria", "k")
LAST: Final = ("roe", "doe", "garcía", "müller", "nguyen", "smith", "ivanova", "lee")
DOMAINS: Final = (
    "example.org",
    "mail.example.co.uk",
    "example.com",
    "corp.example.net",
    "müller.example",
    "example.io",
)
MONTHS: Final = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
                 "November", "December")  # fmt: skip


ISSUED: Final = (
    ("4", 16), ("51", 16), ("55", 16), ("2221", 16), ("34", 15), ("37", 15), ("6011", 16), ("3530", 16), ("36", 14),
    ("62", 16), ("62", 19),
)  # fmt: skip
"""Beginnings of card numbers, and how long these are."""

BANKS: Final = (
    ("DE", "#" * 18), ("GB", "AAAA" + "#" * 14), ("FR", "#" * 20 + "A##"), ("NO", "#" * 11), ("NL", "AAAA" + "#" * 10),
    ("ES", "#" * 20), ("CH", "#" * 17), ("MT", "AAAA" + "#" * 23),
)  # fmt: skip
PHONES: Final = (
    "+1 N## N## ####", "(N##) N##-####", "N##-N##-####", "N##.N##.####", "+44 20 7### ####", "+44 (0)20 7### ####",
    "020 7### ####", "07### ### ###", "+49 30 N######", "030/N### ####", "0049 89 N######", "+33 6 ## ## ## ##",
    "06 ## ## ## ##", "+34 6## ### ###", "6## ## ## ##", "+91 9#### #####", "+86 138 #### ####", "+1N##N######",
    "1-800-N##-####", "N##-####",
)  # fmt: skip
HEX: Final = "0123456789abcdef"
UPPER: Final = string.ascii_uppercase + "234567"


def some(rng: Random, letters: str, count: int) -> str:
    return "".join(rng.choices(letters, k=count))


def digits(rng: Random, count: int) -> str:
    return some(rng, string.digits, count)


def form(rng: Random, *masks: str) -> str:
    """One of `masks`, each `#` a digit and each `N` one from 2 to 9."""
    return "".join(
        rng.choice("23456789") if m == "N" else rng.choice(string.digits) if m == "#" else m for m in rng.choice(masks)
    )


def email(rng: Random) -> str:
    name = rng.choice(FIRST) + rng.choice((".", "_", "-", "")) + rng.choice(LAST) + rng.choice(("", "", "+news", "82"))
    return f"{name}@{rng.choice(DOMAINS)}"


def card(rng: Random) -> str:
    prefix, length = rng.choice(ISSUED)
    body = prefix + digits(rng, length - 1 - len(prefix))
    number = body + luhn.calc_check_digit(body)
    gap = rng.choice(("", "", " ", "-", " "))
    if length == 15:
        return gap.join((number[:4], number[4:10], number[10:]))
    return gap.join(number[at : at + 4] for at in range(0, length, 4)) if length != 14 else number


def iban(rng: Random) -> str:
    country, mask = rng.choice(BANKS)
    body = "".join(rng.choice(string.ascii_uppercase if letter == "A" else string.digits) for letter in mask)
    whole = f"{country}{mod_97_10.calc_check_digits(body + country)}{body}"
    return rng.choice((whole, whole, " ".join(whole[at : at + 4] for at in range(0, len(whole), 4))))


def ssn(rng: Random) -> str:
    area, group, serial = (
        rng.choice((rng.randint(1, 665), rng.randint(667, 899))),
        rng.randint(1, 99),
        rng.randint(1, 9999),
    )
    return rng.choice(("{:03}-{:02}-{:04}", "{:03}-{:02}-{:04}", "{:03} {:02} {:04}", "{:03}{:02}{:04}")).format(
        area, group, serial
    )


def itin(rng: Random) -> str:
    gap = rng.choice(("-", "-", ""))
    return gap.join((f"9{digits(rng, 2)}", str(rng.choice((50, 65, 70, 88, 90, 99))), digits(rng, 4)))


def nino(rng: Random) -> str:
    gap = rng.choice((" ", ""))
    letters = rng.choice(("AB", "CE", "JK", "PW", "SX"))
    return gap.join((letters, *(digits(rng, 2) for _ in range(3)), rng.choice("ABCD")))


def phone(rng: Random) -> str:
    return form(rng, *PHONES)


def ip(rng: Random) -> str:
    if rng.random() < 0.6:
        return ".".join(str(rng.randint(1, 254)) for _ in range(4)).replace("127.", "126.", 1)
    groups = [f"{rng.randint(1, 0xFFFF):x}" for _ in range(6)]
    return rng.choice((f"2001:db8:{':'.join(groups)}", f"2001:db8::{groups[0]}", f"fe80::{':'.join(groups[:4])}"))


def mac(rng: Random) -> str:
    pairs = [f"{rng.randint(0, 255):02x}" for _ in range(6)]
    dotted = ".".join("".join(pairs[at : at + 2]) for at in (0, 2, 4))
    return rng.choice((":".join(pairs), ":".join(pairs).upper(), "-".join(pairs), dotted))


def userinfo(rng: Random) -> str:
    return f"{rng.choice(('admin', 'bob', 'svc-db', ''))}:{some(rng, ALNUM + '!$_-', rng.randint(6, 20))}"


def base58check(rng: Random) -> str:
    payload = bytes([rng.choice((0, 5))]) + rng.randbytes(20)
    whole = payload + hashlib.sha256(hashlib.sha256(payload).digest()).digest()[:4]
    number, out = int.from_bytes(whole, "big"), ""
    while number:
        number, rest = divmod(number, 58)
        out = BASE58[rest] + out
    return "1" * (len(whole) - len(whole.lstrip(b"\0"))) + out


def _polymod(symbols: list[int]) -> int:
    total = 1
    for symbol in symbols:
        top, total = total >> 25, (total & 0x1FFFFFF) << 5 ^ symbol
        for bit, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            total ^= generator if top >> bit & 1 else 0
    return total


def bech32(rng: Random) -> str:
    """As BIP 173 and BIP 350 tell it."""
    version, length, constant = rng.choice(((0, 32, 1), (0, 52, 1), (1, 52, 0x2BC830A3)))
    data = [version, *(rng.randrange(32) for _ in range(length))]
    total = _polymod([3, 3, 0, 2, 3, *data, *[0] * 6]) ^ constant
    return "bc1" + "".join(BECH32[symbol] for symbol in [*data, *(total >> 5 * (5 - at) & 31 for at in range(6))])


def ethereum(rng: Random) -> str:
    lower = rng.randbytes(20).hex()
    marks = keccak(lower.encode()).hex()
    mixed = "".join(digit.upper() if mark >= "8" else digit for digit, mark in zip(lower, marks, strict=False))
    return "0x" + rng.choice((lower, mixed, mixed))


def crypto(rng: Random) -> str:
    return rng.choice((base58check, bech32, ethereum))(rng)


def born(rng: Random) -> str:
    year, month, day = rng.randint(1930, 2010), rng.randint(1, 12), rng.randint(1, 28)
    name = MONTHS[month - 1]
    figures = (f"{year}-{month:02}-{day:02}", f"{day:02}.{month:02}.{year}", f"{month}/{day}/{year}")
    words = (f"{name} {day}, {year}", f"{day} {name} {year}", f"{day}. {name[:3]} {year}")
    return rng.choice((*figures, *words, f"{day:02}/{month:02}/{year % 100:02}"))


def passport(rng: Random) -> str:
    return form(rng, "#########", "A########", "C########")


def license_number(rng: Random) -> str:
    return form(
        rng, "D#######", "########", "S###-####-####", "#########", "AB######", "F###-###-##-###-#", "WDL8##AB##C"
    )


def account(rng: Random) -> str:
    return digits(rng, rng.randint(8, 14))


def routing(rng: Random) -> str:
    body = rng.choice(("02", "03", "11", "12", "26", "31", "32")) + digits(rng, 6)
    weighted = sum(weight * int(digit) for weight, digit in zip((3, 7, 1, 3, 7, 1, 3, 7), body, strict=True))
    return body + str(-weighted % 10)


def jwt(rng: Random) -> str:
    parts = ({"alg": rng.choice(("HS256", "RS256")), "typ": "JWT"}, {"sub": digits(rng, 8), "iat": 1700000000})
    texts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*texts, some(rng, ALNUM + "-_", 43)])


def pem(rng: Random) -> str:
    kind = rng.choice(("RSA PRIVATE KEY", "PRIVATE KEY", "EC PRIVATE KEY", "OPENSSH PRIVATE KEY"))
    lines = [some(rng, ALNUM + "+/", 64) for _ in range(rng.randint(2, 5))]
    return "\n".join([f"-----BEGIN {kind}-----", *lines, f"-----END {kind}-----"])


def _one(*makers: Callable[[Random], str]) -> Callable[[Random], str]:
    return lambda rng: rng.choice(makers)(rng)


def _key(prefix: str, count: int, letters: str = ALNUM, suffix: str = "") -> Callable[[Random], str]:
    return lambda rng: prefix + some(rng, letters, count) + suffix


VALUES: Final[dict[str, Callable[[Random], str]]] = {
    "EMAIL_ADDRESS": email, "CREDIT_CARD": card, "IBAN_CODE": iban, "US_SSN": ssn, "US_ITIN": itin, "UK_NINO": nino,
    "PHONE_NUMBER": phone, "IP_ADDRESS": ip, "MAC_ADDRESS": mac, "URL_CREDENTIALS": userinfo, "CRYPTO": crypto,
    "DATE_OF_BIRTH": born, "US_PASSPORT": passport, "US_DRIVER_LICENSE": license_number, "US_BANK_NUMBER": account,
    "ABA_ROUTING_NUMBER": routing, "JWT": jwt, "PRIVATE_KEY": pem,
    "AWS_ACCESS_KEY": _one(_key("AKIA", 16, UPPER), _key("ASIA", 16, UPPER)),
    "GCP_API_KEY": _one(_key("AIza", 35, ALNUM + "-_"), _key("GOCSPX-", 28, ALNUM), _key("ya29.", 120, ALNUM + "-_")),
    "AZURE_KEY": _one(
        _key("", 52, suffix="JQQJ99BKACYeBjFXJ3w3AAABACOGx1y2"), _key("", 76, suffix="+AStq8Rz2Q=="), _key("Hx48Q~", 34)
    ),
    "GITHUB_TOKEN": _one(_key("ghp_", 36), _key("ghs_", 36), _key("github_pat_", 82, ALNUM + "_")),
    "GITLAB_TOKEN": _one(_key("glpat-", 20, ALNUM + "-_"), _key("glrt-", 20, ALNUM + "-_"), _key("gloas-", 64, HEX)),
    "SLACK_TOKEN": _one(_key("xoxb-123456789012-1234567890123-", 24), _key("xapp-1-A0123456789-1234567890-", 64, HEX)),
    "STRIPE_KEY": _one(_key("sk_live_", 24), _key("rk_test_", 24), _key("whsec_", 32)),
    "OPENAI_API_KEY": _one(_key("sk-", 48), _key("sk-proj-", 96, ALNUM + "-_"), _key("sk-svcacct-", 64, ALNUM + "-_")),
    "ANTHROPIC_API_KEY": _key("sk-ant-api03-", 93, ALNUM + "-_"),
    "GENERIC_SECRET": _one(
        _key("", 32, HEX), _key("", 24), _key("", 40, ALNUM + "-_"), _key("", 44, ALNUM + "+/")
    ),
}  # fmt: skip
