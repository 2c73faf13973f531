"""Data written as text (pictures, sound, embeddings) holds values by chance, and is left whole; nothing hides behind it."""

import base64
import json
import random
from collections.abc import Callable

import pytest

from extproc_filters.pii.chance import LONG
from extproc_filters.pii_detector import redact_text, scan_text
from tests.filters.pii.samples import CARD

DATA = random.Random(1).randbytes(3 * LONG)


def hexadecimal(data: bytes) -> bytes:
    return data.hex().encode()


WRITTEN: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "IBAN_CODE": (base64.b64encode, "/LT85TGQJa2qyL9osdQ0R/"),
    "OPENAI_API_KEY": (base64.urlsafe_b64encode, "-sk-YVgHSqf1ezMGXFn08nkVY9Xw9yBBPZRY0wxBokHNKuloZ74iRqL3-"),
    "CREDIT_CARD": (hexadecimal, "fb951fbad4410754717087dbb6352377"),
    "PHONE_NUMBER": (base64.b64encode, "/+33612345678/"),
}


def around(entity: str, size: int) -> tuple[str, str, str]:
    """`size` characters of data, what stands in the middle of them, and the same number behind it."""
    encode, value = WRITTEN[entity]
    data = encode(DATA).decode()
    return data[:size], value, data[size : 2 * size]


def entities(text: str) -> set[str]:
    return {each.entity for each in scan_text(text)}


@pytest.mark.parametrize("entity", WRITTEN)
def test_what_chance_writes_is_not_found(entity: str) -> None:
    before, value, behind = around(entity, LONG)
    assert entities(before + value + behind) == set()
    assert redact_text(before + value + behind) == before + value + behind
    wrapped = json.dumps({"url": f"data:image/png;base64,{before}{value}{behind}"})
    assert entities(wrapped) == set()
    assert entities(wrapped.replace("/", "\\/")) == set()


@pytest.mark.parametrize("entity", WRITTEN)
def test_in_a_short_run_it_is_no_chance(entity: str) -> None:
    before, value, behind = around(entity, LONG // 4)
    assert entities(before + value + behind) == {entity}
    assert entities(f"It is {value} or {value}, they say. " * 30) == {entity}


@pytest.mark.parametrize("mark", ["AKIAIOSFODNN7EXAMPLE", "sk-proj-" + "aB3dE6gH9" * 6, "ghp_" + "aB3dE6" * 6])
def test_a_key_with_a_mark_of_its_own_is_found_wherever_it_is(mark: str) -> None:
    before, _, behind = around("OPENAI_API_KEY", LONG)
    assert entities(f"{before}-{mark}-{behind}") != set()


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111111/" * 200,
        "4111111111111111_" * 200,
        "DE89370400440532013000/" * 200,
        "John_Smith_4111111111111111_" * 100,
        "user=4111111111111111=" * 100,
        "a" * 2000 + "/4111111111111111/" + "A" * 2000,
    ],
)
def test_what_is_long_and_not_random_hides_nothing(text: str) -> None:
    value = "DE89370400440532013000" if "DE89" in text else "4111111111111111"
    assert value not in redact_text(text)


def test_a_value_beside_data_is_found() -> None:
    before, _, behind = around("IBAN_CODE", LONG)
    assert CARD not in redact_text(f"{before} {CARD} {behind}")
    assert "4111111111111111" not in redact_text(f"{before}\n4111111111111111\n{behind}")


def test_however_many_there_are_in_one_run() -> None:
    before, value, behind = around("IBAN_CODE", LONG)
    assert entities((before + value + behind) * 20) == set()
