"""Each recognizer: what it finds in whatever disguise, what it must not take for a value, and its place in the table."""

import html
import json
import re
from urllib.parse import quote

import pytest

from extproc_filters.pii import checks, wallets
from extproc_filters.pii.findings import merge
from extproc_filters.pii.recognizer import Topic
from extproc_filters.pii.scanner import ENTITIES, RECOGNIZERS, Scanner
from extproc_filters.pii.work import done
from tests.filters.pii.samples import IN_CONTEXT, NEAR_MISSES, VALUES

SCANNER = Scanner()
WIDE = str.maketrans({chr(point): chr(point + 0xFEE0) for point in range(0x21, 0x7F)})
SAMPLES = [(entity, "", value) for entity, values in VALUES.items() for value in values]
SAMPLES += [(entity, topic, value) for entity, (topic, value) in IN_CONTEXT.items()]
AROUND = {"URL_CREDENTIALS": ("https://", "@db.example.com/x")}


def found(text: str, *, escaped: bool = False) -> list[tuple[str, str]]:
    return [
        (each.entity, text[each.start : each.end]) for each in done(merge(done(SCANNER.find(text, escaped=escaped))))
    ]


def framed(entity: str, topic: str, value: str) -> str:
    before, after = AROUND.get(entity, ("", ""))
    return f"{topic}{before}{value}{after}"


@pytest.mark.parametrize(("entity", "topic", "value"), SAMPLES)
def test_full_width(entity: str, topic: str, value: str) -> None:
    wide = value.translate(WIDE)
    assert found(framed(entity, topic, wide)) == [(entity, wide)]


@pytest.mark.parametrize("invisible", ["\u200b", "\u00ad", "\ufe0f", "\u200d\u2060"])
@pytest.mark.parametrize(("entity", "topic", "value"), SAMPLES)
def test_invisible_characters_between_all_others(entity: str, topic: str, value: str, invisible: str) -> None:
    split = invisible.join(value)
    assert found(framed(entity, topic, split)) == [(entity, split)]


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize(("entity", "topic", "value"), SAMPLES)
def test_percent_escapes(entity: str, topic: str, value: str, times: int) -> None:
    encoded = "".join(f"%{byte:02X}" for byte in value.encode())
    for _ in range(times - 1):
        encoded = quote(encoded, safe="")
    [(name, covered)] = found(framed(entity, topic, encoded))
    if entity == "URL_CREDENTIALS":  # undecoded it is the local part of an address, and both are one finding then
        assert encoded in covered
    else:
        assert (name, covered) == (entity, encoded)


@pytest.mark.parametrize(("entity", "topic", "value"), SAMPLES)
def test_character_references(entity: str, topic: str, value: str) -> None:
    for encoded in ("".join(f"&#{ord(c)};" for c in value), "".join(f"&#x{ord(c):X};" for c in value)):
        assert html.unescape(encoded) == value
        assert found(framed(entity, topic, encoded)) == [(entity, encoded)]


@pytest.mark.parametrize(("entity", "topic", "value"), SAMPLES)
def test_escapes_of_json_and_of_json_in_json(entity: str, topic: str, value: str) -> None:
    points = "".join(f"\\u{ord(character):04x}" for character in value)
    document = json.dumps({"text": framed(entity, topic, "\ufdd0")}).replace("\\ufdd0", points)
    assert [each for each in found(document, escaped=True) if each[0] == entity] == [(entity, points)]
    nested = json.dumps({"arguments": document})
    [(_, inner)] = [each for each in found(nested, escaped=True) if each[0] == entity]
    assert json.loads(f'"{inner}"') == points


@pytest.mark.parametrize(
    ("entity", "text"), [(entity, text) for entity, texts in NEAR_MISSES.items() for text in texts]
)
def test_near_misses(entity: str, text: str) -> None:
    assert entity not in [name for name, _ in found(text)]


def test_every_entity_has_near_misses() -> None:
    assert set(NEAR_MISSES) == set(ENTITIES)


@pytest.mark.parametrize("recognizer", RECOGNIZERS, ids=lambda each: f"{each.entity}: {each.form}")
def test_the_table_is_in_order(recognizer) -> None:  # type: ignore[no-untyped-def]
    assert re.fullmatch("[A-Z][A-Z0-9_]{0,63}", recognizer.entity)
    assert recognizer.form
    assert 0.6 <= recognizer.surest <= 1
    assert recognizer.check is None or (recognizer.check.__doc__ or "").strip()
    assert recognizer.pattern.search(b"") is None
    assert not recognizer.told or recognizer.topic is not None


def test_a_topic_in_its_spellings() -> None:
    topic = Topic(within=("date of birth",), alone=("dob", "ss #"))
    for text in (
        "date_of_birth",
        "date-of-birth",
        "dateofbirth",
        "mydate of birthday",
        "dob:",
        "(dob)",
        "ss#",
        "ss #1",
    ):
        assert topic.pattern.search(text.encode()), text
    for text in ("adobe", "dobby", "x.dob", "dat of birth", "pass #"):
        assert not topic.pattern.search(text.encode()), text


def test_bitcoin_addresses_of_the_proposals() -> None:
    """BIP 173 and BIP 350, test vectors."""
    right = """BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4 BC1SW50QGDZ25J bc1zw508d6qejxtdg4y5r3zarvaryvaxxpcs
    bc1pw508d6qejxtdg4y5r3zarvary0c5xw7kw508d6qejxtdg4y5r3zarvary0c5xw7kt5nd6y
    bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0"""
    wrong = """bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqh2y7hd
    BC1S0XLXVLHEMJA6C4DQV22UAPCTQUPFHLXM9H8Z3K2E72Q4K9HCZ7VQ54WELL bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kemeawh"""
    assert [each for each in right.split() if not wallets.bech32(each.encode())] == []
    assert [each for each in wrong.split() if wallets.bech32(each.encode())] == []
    assert not wallets.bech32(b"bc1QAR0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq")
    assert wallets.base58(b"1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa")
    assert wallets.base58(b"3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy")
    assert not wallets.base58(b"1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb")
    assert not wallets.base58(b"z" * 35)


def test_ethereum_addresses_of_the_proposal() -> None:
    """EIP-55, test cases; and the empty text of the Keccak reference."""
    for address in (
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB", "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
        "0x52908400098527886E0F7030069857D2E4169EE7", "0xde709f2102306220921060314715629080e2fb77",
    ):  # fmt: skip
        assert wallets.ethereum_address(address.encode())
    assert not wallets.ethereum_address(b"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD")
    assert wallets.keccak(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"


def test_a_check_that_takes_long_is_asked_a_few_times_only() -> None:
    wrong = [f"0x{number:03d}eb6053F3E94C9b9A09f33669435E7Ef1BeAeD" for number in range(18)]
    assert found(" ".join(wrong[:16])) == []
    assert found(" ".join(wrong)) == [("CRYPTO", each) for each in wrong[16:]]
    assert found(" ".join(wrong[:1] * 1000)) == []


@pytest.mark.parametrize("number", ["021000021", "011401533", "091000019", "3222-7162-7"])
def test_routing_numbers(number: str) -> None:
    assert checks.aba(number.encode())


@pytest.mark.parametrize("number", ["021000022", "123456789", "991000012", "000000001"])
def test_what_is_no_routing_number(number: str) -> None:
    assert not checks.aba(number.encode())


@pytest.mark.parametrize(
    ("text", "random"),
    [
        ("q7Jd9xkPz2LmWb4TnRv8sYcE", True), ("d41d8cd98f00b204e9800998ecf8427e", True),
        ("my-service-account-token-1", True), ("aaaaaaaaaaaaaaaaaaaaaaa1", False), ("abcdefghijklmnopqrstuvwx", False),
        ("123456789012345678901234", False), ("configuration1234567890", False), ("/usr/lib/python3.11/site", False),
    ],
)  # fmt: skip
def test_what_looks_random(text: str, random: bool) -> None:
    assert checks.random(text.encode()) is random
