"""Where money is: cards, accounts, wallets. Almost all of it has check digits."""

import re
from collections.abc import Callable
from typing import Final

from extproc_filters.pii import checks, wallets
from extproc_filters.pii.numbers import DIGITS
from extproc_filters.pii.recognizer import Anchor, Recognizer, Span, Topic, told

LEFT: Final = rb"(?<![0-9])(?<![0-9]\.)(?<![0-9][A-Fa-f])(?<![0-9][A-Fa-f]{2})"
RIGHT: Final = rb"(?![A-Fa-f]{0,2}[0-9])"
"""Not inside a number, a fraction or a hexadecimal digest."""

SEPARATOR: Final = r"(?:[ .-]{1,2}|\t)"
BROKEN: Final = r" ?\r?\n {0,2}"
"""Where a line ends within a number: at one place, for a column of numbers is another thing."""

FOUR: Final = f"{SEPARATOR}[0-9]{{4}}"
LAST: Final = f"{BROKEN}[0-9]{{4}}"
FOURS: Final = f"[0-9]{{3}}(?:{LAST}{FOUR}{FOUR}|{FOUR}(?:{LAST}{FOUR}|{FOUR}(?:{FOUR}|{LAST})))"
AMEX: Final = rf"3[0-9]{{3}}{SEPARATOR}[0-9]{{6}}{SEPARATOR}[0-9]{{4}}"
SINGLE: Final = r"[ .\t-]"

CARD: Final = Topic(
    within=("card", "credit", "debit", "visa", "mastercard", "amex", "discover", "kreditkarte", "tarjeta", "carte"),
    alone=("cvv", "cvc"),
)
ROUTING: Final = Topic(within=("routing",), alone=("aba", "rtn"))
ACCOUNT: Final = Topic(
    within=(
        "account number",
        "account num",
        "account #",
        "acct number",
        "acct num",
        "acct #",
        "bank account",
        "checking account",
        "savings account",
    ),
    alone=("account no", "account nr", "acct no", "acct nr"),
)
WALLETS_CHECKED: Final = 16
"""Ethereum addresses of both letter cases in a text whose check digits are asked for: each takes 0.3 ms."""


def _card(
    form: str, anchor: Anchor, shape: str, widen: Callable[[bytes, Span], Span | None] | None = None
) -> Recognizer:
    pattern = re.compile(rb"(?=[2-9])" + LEFT + rb"(?=(" + shape.encode() + rb")" + RIGHT + rb")[0-9]")
    return Recognizer("CREDIT_CARD", form, anchor, pattern, 0.8, checks.card, CARD, widen=widen)


THREE: Final = re.compile(SEPARATOR.encode() + rb"[0-9]{3}" + RIGHT)


def _nineteen(data: bytes, span: Span) -> Span:
    """With three digits more, if that is a card number."""
    more = THREE.match(data, span[1])
    return (span[0], more.end()) if more and checks.card(data[span[0] : more.end()]) else span


def _within(expression: str, before: int, after: int) -> Anchor:
    return Anchor(expression, before, after, inside=DIGITS)


CARDS: Final = (
    _card("13 to 19 digits of a known issuer", _within(r"(?:^|[^0-9])[2-9][0-9]{12}", 14, 10), r"[0-9]{13,19}"),
    _card("16 or 19 of them in fours", _within(f"[2-9]{FOURS}", 28, 12), f"[0-9]{FOURS}", _nineteen),
    _card("4, 6 and 5 digits (American Express)", _within(AMEX, 19, 5), f"{AMEX}[0-9]?"),
    _card(
        "digit by digit",
        _within(rf"(?:^|[^0-9 .\t-]|[^0-9]{SINGLE})[2-9](?:{SINGLE}[0-9]){{12}}", 28, 16),
        rf"(?<![0-9]{SINGLE})[0-9](?:{SINGLE}[0-9]){{12,18}}(?!{SINGLE}?[0-9])",
    ),
    told(
        "CREDIT_CARD", "in any groups", CARD, rb"[0-9]{1,7}(?:[ ./\t-]{1,3}[0-9]{1,7}){1,18}", checks.card
    ),
)  # fmt: skip


IN_IBAN: Final = r"[ .\t\r\n-]{0,2}"
WHOLE: Final = {
    country.encode(): re.compile(
        rb"[A-Z]{2}(?:%s[A-Z0-9]){%d}(?![A-Z0-9])" % (IN_IBAN.encode(), length - 2), re.IGNORECASE
    )
    for country, length in checks.IBAN_LENGTHS.items()
}
"""As many characters as each country's IBANs have, separators aside, and no more behind them."""


def _iban(data: bytes, span: Span) -> Span | None:
    whole = WHOLE.get(data[span[0] : span[0] + 2].upper())
    match = whole.match(data, span[0]) if whole else None
    return match.span() if match else None


ACCOUNTS: Final = (
    Recognizer(
        "IBAN_CODE",
        "a country, two digits, and as many characters as that country's have; in any groups",
        Anchor(
            rf"(?:^|[^A-Za-z0-9])[A-Za-z]{{2}}\d{{2}}(?:{IN_IBAN}[A-Za-z0-9]){{11}}", before=40, after=80, apart=True
        ),
        re.compile(rf"(?<![A-Za-z0-9])[A-Za-z]{{2}}[0-9]{{2}}(?={IN_IBAN}[A-Za-z0-9])".encode()),
        0.95,
        checks.iban,
        widen=_iban,
    ),
    told(
        "ABA_ROUTING_NUMBER",
        "nine digits of a Federal Reserve district",
        ROUTING,
        rb"[0-9]{9}|[0-9]{4}-[0-9]{4}-[0-9]",
        checks.aba,
    ),
    told("US_BANK_NUMBER", "8 to 17 digits", ACCOUNT, rb"[0-9]{8,17}"),
)

WALLETS: Final = (
    Recognizer(
        "CRYPTO",
        "Bitcoin, Base58Check",
        Anchor(r"(?:^|[^\w])[13][1-9A-HJ-NP-Za-km-z]{25}", before=27, after=11, apart=True),
        re.compile(rb"(?<!\w)[13][1-9A-HJ-NP-Za-km-z]{25,34}(?!\w)"),
        0.9,
        wallets.base58,
    ),
    Recognizer(
        "CRYPTO",
        "Bitcoin, bech32 and bech32m",
        Anchor(r"(?i)(?:^|[^\w])bc1[02-9ac-hj-np-z]{11}", before=15, after=64),
        re.compile(rb"(?i)(?<!\w)bc1[02-9ac-hj-np-z]{11,71}(?!\w)"),
        0.9,
        wallets.bech32,
    ),
    Recognizer(
        "CRYPTO",
        "Ethereum, `0x` and 40 hexadecimal digits",
        Anchor(r"(?i)(?:^|[^\w])0x[0-9a-f]{40}", before=43, after=2),
        re.compile(rb"(?i)(?<!\w)0x[0-9a-f]{40}(?!\w)"),
        0.85,
        wallets.ethereum_address,
        checked=WALLETS_CHECKED,
    ),
)

MONEY: Final = (*CARDS, *ACCOUNTS, *WALLETS)
