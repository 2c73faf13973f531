"""`python -m bench.scan`: what looking for personal data costs, on one core.

First ordinary text from 1 KB to 10 MB; then, for each entity, the inputs that were made to be expensive for it: text full of
values (each one has to be found), text full of near misses (each one has to be looked at), and the beginnings of values over
and over. The ratio is to the cost per byte of ordinary text of the same size.
"""

import argparse
import gc
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from random import Random

from bench.section import Column, Section
from extproc_filters.pii.findings import merge
from extproc_filters.pii.scanner import ENTITIES, Scanner
from extproc_filters.pii.work import done
from tests.corpus.texts import LABELS, OTHERS
from tests.corpus.values import VALUES

SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
HOSTILE = 200_000
"""Characters of an input that is made to be expensive."""
ROUNDS = 5

PROSE = """The quick report of our customer says that delivery was late again and asks for a short summary in three sentences
with all names of places and no jargon please also translate what they wrote about item 17 on page 3 of the manual into
French"""
WORDS = PROSE.split()

BEGINNINGS: dict[str, tuple[str, ...]] = {
    "ABA_ROUTING_NUMBER": ("routing ", "routing 1", "aba 0123-"),
    "ANTHROPIC_API_KEY": ("sk-ant-", "sk-ant-aaaaaaaaaaaaaaaaaaa "),
    "AWS_ACCESS_KEY": ("AKIA", "secret key ", "secret_key=a"),
    "AZURE_KEY": ("AccountKey=", "JQQJ9", "+ASt", "8Q~"),
    "CREDIT_CARD": ("4", "4-", "4444 ", "4444-", "card 4 ", "card "),
    "CRYPTO": ("1", "bc1", "bc1q", "0x", "0xa"),
    "DATE_OF_BIRTH": ("born ", "born 1", "dob 1.1."),
    "EMAIL_ADDRESS": ("@", "a@", "a@a.", "a@a.b.", "@a.", "a@a-"),
    "GCP_API_KEY": ("AIza", "ya29.", "GOCSPX-"),
    "GENERIC_SECRET": ("token=", "token:a1 ", "secret is ", "bearer "),
    "GITHUB_TOKEN": ("ghp_", "github_pat_"),
    "GITLAB_TOKEN": ("glpat-", "glpat-a"),
    "IBAN_CODE": ("DE89 ", "DE89", "DE89 3704 "),
    "IP_ADDRESS": ("1.", "1.1.1.1.", "a:", "a::", "::", "1:1:"),
    "JWT": ("eyJ", "eyJ.", ".eyJaaaaaa", "eyJaaaa.eyJaaaaaa "),
    "MAC_ADDRESS": ("00:", "00:11:22:33:44:", "aa-", "aaaa.aaaa."),
    "OPENAI_API_KEY": ("sk-", "sk-aaaaaaaaaaaaaaaaaaaaa "),
    "PHONE_NUMBER": ("+1", "+1 ", "call me ", "call me 1", "tel 555-", "0049 "),
    "PRIVATE_KEY": ("-----BEGIN PRIVATE KEY", "-----BEGIN PRIVATE KEY-----", "-----BEGIN "),
    "SLACK_TOKEN": ("xoxb-", "xoxb-1", "hooks.slack.com/services/"),
    "STRIPE_KEY": ("sk_live_", "whsec_"),
    "UK_NINO": ("AB12", "AB 12 34 56 ", "AB123456"),
    "URL_CREDENTIALS": ("://", "://a:", "://a:b", "://a:b@"),
    "US_BANK_NUMBER": ("account number ", "account number 1 "),
    "US_DRIVER_LICENSE": ("driver's license ", "driver license d"),
    "US_ITIN": ("itin ", "itin 9", "912-70-"),
    "US_PASSPORT": ("passport ", "passport a"),
    "US_SSN": ("ssn ", "ssn 1", "123-45-", "123-45-6789-"),
}


@dataclass(frozen=True)
class Size:
    """What ordinary text of `size` characters costs, in seconds."""

    size: int
    seconds: float

    @property
    def speed(self) -> float:
        """MB/s."""
        return self.size / self.seconds / 1e6


@dataclass(frozen=True)
class Worst:
    """For one entity: cost per byte as a multiple of ordinary text's."""

    entity: str
    values: float
    near: float
    beginnings: float
    which: str


def ordinary(size: int, seed: int = 1) -> str:
    """Prose with a number here and there, as prompts have it."""
    rng = Random(seed)
    words: list[str] = []
    length = 0
    while length < size:
        word = rng.choice(OTHERS) + "." if rng.random() < 0.02 else rng.choice(WORDS)
        words.append(word)
        length += len(word) + 1
    return " ".join(words)[:size]


def seconds(scanner: Scanner, text: str, rounds: int = ROUNDS) -> float:
    """CPU time of one scan, its findings merged; the best of `rounds`."""
    again = max(1, 50_000 // len(text))
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        for _ in range(again):
            done(merge(done(scanner.find(text))))
        best = min(best, (time.process_time() - start) / again)
    return best


def sizes(scanner: Scanner) -> list[Size]:
    return [Size(size, seconds(scanner, ordinary(size), 3 if size > 1_000_000 else 3 * ROUNDS)) for size in SIZES]


def worst(scanner: Scanner, entity: str, usual: float) -> Worst:
    """`usual`: seconds for one character of ordinary text."""

    def ratio(text: str) -> float:
        return seconds(scanner, text, 2) / len(text) / usual

    told = {unit: ratio(_filled(_repeated(unit))) for unit in BEGINNINGS[entity]}
    which = max(told, key=lambda unit: told[unit])
    return Worst(entity, ratio(nothing_but(entity)), ratio(_filled(_near(entity))), told[which], which)


def _repeated(unit: str) -> Iterator[str]:
    while True:
        yield unit


def _values(entity: str) -> Iterator[str]:
    """Values, each with the word that it needs."""
    rng = Random(entity)
    label = LABELS.get(entity, ("",))[0]
    around = ("https://", "@h.example/ ") if entity == "URL_CREDENTIALS" else (f"{label} ", " ")
    while True:
        yield around[0] + VALUES[entity](rng) + around[1]


def _near(entity: str) -> Iterator[str]:
    """Values with one character too many or one changed: most of them are none."""
    rng = Random(entity)
    label = LABELS.get(entity, ("",))[0]
    for _ in count():
        value = VALUES[entity](rng)
        at = rng.randrange(len(value) // 2, len(value))
        changed = str((int(value[at]) + 1) % 10) if value[at].isdigit() else rng.choice("0!")
        yield f"{label} {value[:at]}{changed}{value[at + 1 :]} "


def nothing_but(entity: str) -> str:
    """Values of `entity`, one after the other."""
    return _filled(_values(entity))


def _filled(pieces: Iterator[str]) -> str:
    parts: list[str] = []
    length = 0
    while length < HOSTILE:
        parts.append(next(pieces))
        length += len(parts[-1])
    return "".join(parts)


def of_sizes(rows: Sequence[Size]) -> Section:
    costs = [row.seconds / row.size * 1e9 for row in rows]
    return Section(
        "The scan for personal data",
        "All entities, ordinary text, one core; worst cases: `python -m bench.scan`.",
        (Column("characters"), Column("MB/s"), Column("ns a byte", ".1f")),
        tuple((f"{row.size:,}", row.speed, cost) for row, cost in zip(rows, costs, strict=True)),
        {"scan, slowest": min(row.speed for row in rows), "scan, spread": max(costs) / min(costs)},
    )


def of_worst(rows: Sequence[Worst]) -> Section:
    return Section(
        "The dearest texts",
        "As multiples of the cost of ordinary text of the same length.",
        (
            Column("entity"),
            Column("beginnings, over and over"),
            Column("near misses", ".1f"),
            Column("nothing but values", ".1f"),
        ),
        tuple((row.entity, f"{row.beginnings:.1f} (`{row.which}`)", row.near, row.values) for row in rows),
    )


def main() -> int:
    """The figures of DESIGN section 11, and how far the worst are from them."""
    parser = argparse.ArgumentParser("bench.scan", description="Measure PIIDetector's scan of a text on one core.")
    parser.add_argument("--only", choices=ENTITIES, help="the worst cases of one entity")
    only = parser.parse_args().only
    gc.disable()
    scanner = Scanner()
    usual = seconds(scanner, ordinary(HOSTILE), 3 * ROUNDS) / HOSTILE
    if only is None:
        print(of_sizes(sizes(scanner)).markdown())
    print(of_worst([worst(scanner, entity, usual) for entity in ((only,) if only else ENTITIES)]).markdown())
    return 0


if __name__ == "__main__":
    sys.exit(main())
