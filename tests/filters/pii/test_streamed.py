"""Event streams event by event: what leaves for each, in which shape, and what is held back."""

import gzip
import json
from typing import Any

import pytest

from extproc import Continue
from extproc.errors import Malformed, TooLarge
from extproc_filters.pii.answers import Assigned, Return
from extproc_filters.pii.media import Coding
from extproc_filters.pii.placeholders import Placeholders
from extproc_filters.pii.streamed import MOST_TEXTS, Streamed
from tests.filters.pii.echo import (
    TEXT,
    TOOL,
    anthropic_delta,
    chat_delta,
    gemini_delta,
    responses_delta,
    sse,
)

VALUE = 'j"o\n'


def stream(limit: int = 100_000, value: str = VALUE, coding: Coding | None = None) -> Streamed:
    made = Placeholders()
    made.write("EMAIL_ADDRESS", value, 0)
    return Streamed(Return(Assigned(made, {"EMAIL_ADDRESS": 1})), coding, limit)


def data(event: bytes) -> Any:
    return json.loads(event.partition(b"data: ")[2])


def events(out: bytes) -> list[Any]:
    return [data(event) for event in out.split(b"\n\n") if event]


UNTOUCHED = [
    b": keep-alive\n\n", b"\n\n", b"event: ping\ndata: {\"type\": \"ping\"}\n\n", b"data: [DONE]\n\n",
    b"id: 5\r\nretry: 3\r\n\r\n",
    b"data: not json [\n\n", b"data:\n\n", b"data: {\"a\": \"[EMAIL_ADDRESS_2] [ [EMAIL_ADDRESS_1\"}\n\n", b"data: \xff\n\n",
    b"data: {\"a\":\ndata: 1}\n\n", b"data: {\"broken\": \"[EMAIL_ADDRESS_1]\n\n", b"data: [1] [EMAIL_ADDRESS_2]\r\r",
    b'data: {"choices": 5}\n\n',
    b'data: {"choices": [null, {"delta": 3}, {"delta": {"tool_calls": [4, {"function": 1}]}}]}\n\n',
    b'data: {"candidates": [{"content": {"parts": {"text": "x"}}}]}\n\n', b'data: {"type": ["response.x.delta"]}\n\n',
    b'data: {"type": "response.x.delta", "item_id": {}, "delta": {}}\n\n',
    b'data: {"type": "content_block_delta", "delta": 1}\n\n',
    chat_delta(0, TEXT, "hello"), anthropic_delta(0, TOOL, '{"a'),
    gemini_delta(0, TEXT, "é\U0001f600"), responses_delta(0, TEXT, "[x]"),
]  # fmt: skip


@pytest.mark.parametrize("event", UNTOUCHED)
def test_what_is_not_ours_leaves_byte_for_byte(event: bytes) -> None:
    transformer = stream()
    assert transformer.feed(event) + b"".join(transformer.finish()) == event


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_unknown_events_get_their_values_whole(ending: str) -> None:
    event = sse({"x": ["[EMAIL_ADDRESS_1]", {"[EMAIL_ADDRESS_1]": 1}]}, "odd", ending)
    left = stream().feed(event + b"x")
    assert left == event.replace(b"[EMAIL_ADDRESS_1]", rb"j\"o\n")


def test_values_in_plain_text_events() -> None:
    assert stream(value="jo").feed(b"data: I am [EMAIL_ADDRESS_1]\n\n") == b"data: I am jo\n\n"
    assert stream(value="j\no").feed(b"data: I am [EMAIL_ADDRESS_1]\n\n") == b"data: I am j\ndata: o\n\n"
    assert stream(value='"').feed(b'data: "[EMAIL_ADDRESS_1]"\n\n') == b'data: "\\""\n\n'


def test_what_was_held_back_leaves_in_front_of_the_next() -> None:
    transformer = stream()
    pieces = ["Hi [EMAIL_", "ADDRESS", "_1", "] [EM", "PTY] ["]
    said = [
        events(transformer.feed(chat_delta(0, TEXT, piece)))[0]["choices"][0]["delta"]["content"] for piece in pieces
    ]
    assert said == ["Hi ", "", "", VALUE + " ", "[EMPTY] "]
    last = events(transformer.feed(sse({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})))
    assert last[0]["choices"] == [{"index": 0, "finish_reason": None, "delta": {"content": "["}}]
    assert last[1]["choices"][0]["finish_reason"] == "stop"


def test_the_event_that_brings_the_rest_repeats_nothing() -> None:
    first = {
        "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "usage": {"total_tokens": 5},
        "choices": [
            {"index": 1, "finish_reason": None, "logprobs": {"content": []}, "delta": {
                "role": "assistant", "content": "abc", "tool_calls": [
                    {"index": 2, "id": "call", "type": "function", "function": {"name": "f", "arguments": '{"a":"[EM'}}
                ],
            }},
            {"index": 0, "finish_reason": None, "delta": {"content": "other"}},
        ],
    }  # fmt: skip
    transformer = stream()
    transformer.feed(sse(first))
    (rest,) = events(b"".join(transformer.finish()))
    call = {"index": 2, "function": {"arguments": "[EM"}}
    assert rest == {
        "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": 1, "finish_reason": None, "delta": {"tool_calls": [call]}}],
    }  # fmt: skip


def test_the_rest_in_other_dialects() -> None:
    transformer = stream()
    transformer.feed(anthropic_delta(3, TEXT, "[EM"))
    stop = sse({"type": "content_block_stop", "index": 3}, "content_block_stop")
    delta = {"type": "content_block_delta", "index": 3, "delta": {"type": "text_delta", "text": "[EM"}}
    out = transformer.feed(stop)
    assert out.startswith(b"event: content_block_delta\n")
    assert out.endswith(b"\n\n" + stop)
    assert data(out.partition(b"\n\n")[0]) == delta

    transformer = stream()
    transformer.feed(responses_delta(1, TEXT, "[EM"))
    done = sse(
        {"type": "response.output_text.done", "item_id": "text1", "output_index": 1, "content_index": 0, "text": "[EM"}
    )
    first, second = events(transformer.feed(done))
    assert first == {**data(responses_delta(1, TEXT, "[EM"))}
    assert second["text"] == "[EM"

    transformer = stream()
    transformer.feed(gemini_delta(0, TEXT, "[EM"))
    last = sse({"candidates": [{"index": 0, "content": {"parts": [{"text": "x"}]}, "finishReason": "STOP"}]})
    assert [event["candidates"][0]["content"]["parts"][0]["text"] for event in events(transformer.feed(last))] == [
        "[EMx"
    ]
    transformer.feed(gemini_delta(0, TEXT, "[EM"))
    (rest,) = events(b"".join(transformer.finish()))
    assert rest == {
        "modelVersion": "g",
        "candidates": [{"index": 0, "content": {"role": "model", "parts": [{"text": "[EM"}]}}],
    }


def test_only_the_text_that_ended_is_over() -> None:
    transformer = stream(value="jo")
    for index in (0, 1):
        transformer.feed(anthropic_delta(index, TEXT, "[EMAIL"))
    transformer.feed(sse({"type": "content_block_stop", "index": 0}))
    (left,) = events(transformer.feed(anthropic_delta(1, TEXT, "_ADDRESS_1]!")))
    assert left["delta"]["text"] == "jo!"
    for number in (0, 1):
        transformer.feed(responses_delta(number, TOOL, '{"a":"[EMAIL'))
    transformer.feed(sse({"type": "response.output_item.done", "output_index": 0, "item": {}}))
    (left,) = events(transformer.feed(responses_delta(1, TOOL, '_ADDRESS_1]"')))
    assert left["delta"] == 'jo"'


def test_whole_texts_at_the_end_of_a_stream() -> None:
    whole = {
        "type": "response.completed",
        "response": {"output": [{"arguments": json.dumps({"a": "[EMAIL_ADDRESS_1]"})}]},
    }
    (left,) = events(stream().feed(sse(whole)))
    assert json.loads(left["response"]["output"][0]["arguments"]) == {"a": VALUE}


def test_an_event_that_nothing_ends() -> None:
    transformer = stream(value="jo")
    out = transformer.feed(chat_delta(0, TEXT, "[EMAIL")) + transformer.feed(
        chat_delta(0, TEXT, "_ADDRESS_1] [E").rstrip()
    )
    out += b"".join(transformer.finish())
    assert [event["choices"][0]["delta"]["content"] for event in events(out)] == ["", "jo ", "[E"]
    assert isinstance(transformer.conclude(), Continue)


def test_too_many_texts_at_once() -> None:
    transformer = stream(1_000_000)
    for index in range(MOST_TEXTS):
        transformer.feed(anthropic_delta(index, TEXT, "[EM"))
    with pytest.raises(TooLarge):
        transformer.feed(anthropic_delta(MOST_TEXTS, TEXT, "[EM"))


def test_texts_that_ended_make_room() -> None:
    transformer = stream(10_000_000)
    for index in range(MOST_TEXTS + 5):
        transformer.feed(anthropic_delta(index, TEXT, "hello"))
        transformer.feed(sse({"type": "content_block_stop", "index": index}))


def test_large_names_are_no_names() -> None:
    """What is remembered of a text is small, whatever its ids are."""
    transformer = stream(100_000)
    event = {"type": "response.output_text.delta", "item_id": "i" * 50_000, "output_index": 0, "delta": "[EM"}
    transformer.feed(sse(event))
    rest = b"".join(transformer.finish())
    assert len(rest) < 500
    assert data(rest)["delta"] == "[EM"


def test_the_event_that_brings_the_rest_is_small() -> None:
    transformer = stream(1_000_000)
    event = {"type": "content_block_delta", "index": 1, "delta": {"text": "[EM"}}
    transformer.feed(sse({**event, "n" * 500_000: 1, **{f"m{number}": number for number in range(10_000)}}))
    while transformer.behind:
        transformer.feed(b"")
    rest = b"".join(transformer.finish())
    assert len(rest) < 5000
    assert {**data(rest), **event} == data(rest)


def test_a_place_with_long_names_is_none_to_remember() -> None:
    transformer = stream(1_000_000)
    short, long = "a" * 500, "b" * 2000
    left = events(transformer.feed(sse({short: "[EMAIL_ADDRESS_1]", "c": {long: "[EMAIL_ADDRESS_1]"}})))
    assert left == [{short: VALUE, "c": {long: "[EMAIL_ADDRESS_1]"}}]


def test_work_on_a_large_event_is_cut_into_slices() -> None:
    texts = ["[EMAIL_ADDRESS_1] " * 100] * 500
    event = sse({"x": texts})
    transformer = stream(3_000_000, "jane@example.org")
    out = [transformer.feed(event[at : at + 65536]) for at in range(0, len(event), 65536)]
    assert transformer.behind
    rest = list(transformer.finish())
    assert len(rest) > 10
    assert data(b"".join([*out, *rest])) == {
        "x": [text.replace("[EMAIL_ADDRESS_1]", "jane@example.org") for text in texts]
    }
    assert not transformer.behind


def test_many_small_events_are_not_worked_on_at_once() -> None:
    """Of 64 KiB of them each costs a tenth of a millisecond; and one that ends a text, if there are very many, as much."""
    few = [chat_delta(0, TEXT, "hello") for _ in range(500)]
    stops = [sse({"type": "content_block_stop", "index": 5000}) for _ in range(20)]
    many = stream(1_000_000)
    for index in range(300):
        many.feed(anthropic_delta(index, TEXT, "[EM"))
        assert not many.behind
    for transformer, chunk in ((stream(), b"".join(few)), (many, b"".join(stops))):
        out = [transformer.feed(chunk)]
        assert 0 < len(out[0]) < len(chunk)
        while transformer.behind:
            out.append(transformer.feed(b""))
        assert b"".join(out) == chunk


def test_a_stream_that_is_cut_short_in_its_encoding() -> None:
    whole = gzip.compress(chat_delta(0, TEXT, "hello") * 3)
    for end in (5, len(whole) - 3):
        transformer = stream(coding=Coding.GZIP)
        transformer.feed(whole[:end])
        with pytest.raises(Malformed):
            list(transformer.finish())
    nothing = stream(coding=Coding.GZIP)
    assert b"".join(nothing.finish()) == b""
    with pytest.raises(Malformed):
        stream(coding=Coding.GZIP).feed(b"data: x\n\n")


def test_nothing_is_shown() -> None:
    transformer = stream()
    transformer.feed(chat_delta(0, TEXT, "secret [EM"))
    assert "secret" not in repr(transformer)
    assert VALUE not in repr(vars(transformer))


def test_a_link_that_goes_on_in_the_next_block() -> None:
    stop = sse({"type": "content_block_stop", "index": 0})
    for begin, left in (("![](https://evil.example/?", "[EMAIL_ADDRESS_1]"), ("https://a.example/ ", VALUE)):
        transformer = stream()
        transformer.feed(anthropic_delta(0, TEXT, begin) + stop)
        (event,) = events(transformer.feed(anthropic_delta(1, TEXT, "[EMAIL_ADDRESS_1])")))
        assert event["delta"]["text"] == f"{left})"
        (event,) = events(transformer.feed(anthropic_delta(1, TEXT, " )\n [EMAIL_ADDRESS_1],")))
        assert event["delta"]["text"] == f" )\n {VALUE},"


def test_json_that_cannot_be_read_comes_after_what_was_held_back() -> None:
    transformer = stream()
    transformer.feed(chat_delta(0, TEXT, "a [EM"))
    half = b'data: {"choices": [{"index": 0, "delta": {"content": "\\ud83d"}}]}\n\n'
    out = transformer.feed(half)
    assert out.endswith(half)
    assert events(out.removesuffix(half))[0]["choices"][0]["delta"]["content"] == "[EM"
