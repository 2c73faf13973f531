"""The usage that answers tell: of any API, at any cut, and of nobody who only writes about it."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc_filters.usage.answer import HELD, Answer, Json, Lines, Other, Seen, Stream
from extproc_filters.usage.counts import Usage
from tests.filters.usage.cuts import CUTS, bytewise, cut
from tests.filters.usage.shapes import CHAT, EXTRA, JSON, STREAMS, chunk, sse


def watch(answer: Answer, *chunks: bytes, end: bool = True) -> Seen:
    for each in chunks:
        answer.feed(each)
    if end:
        answer.end()
    return answer.seen()


@pytest.mark.parametrize(("document", "usage"), JSON.values(), ids=JSON)
@pytest.mark.parametrize("indent", [None, 2])
def test_json_answers(document: Any, usage: Usage, indent: int | None) -> None:
    text = json.dumps(document, indent=indent).encode()
    seen = watch(Json(), text)
    assert seen == Seen(usage, unreadable=False, size=-(-len(text) // 4), whole=True)
    assert watch(Json(), *bytewise(text)) == seen
    assert watch(Json(), text, end=False) == seen


@pytest.mark.parametrize(("text", "usage"), STREAMS.values(), ids=STREAMS)
def test_event_streams(text: bytes, usage: Usage) -> None:
    seen = watch(Stream(), text)
    assert (seen.usage, seen.unreadable, seen.whole) == (usage, False, True)
    assert watch(Stream(), *bytewise(text)) == seen


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(JSON)), CUTS)
def test_json_at_any_cut(name: str, cuts: list[int]) -> None:
    document, usage = JSON[name]
    assert watch(Json(), *cut(json.dumps(document).encode(), cuts)).usage == usage


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(STREAMS)), CUTS)
def test_streams_at_any_cut(name: str, cuts: list[int]) -> None:
    text, usage = STREAMS[name]
    assert watch(Stream(), *cut(text, cuts)) == watch(Stream(), text)
    assert watch(Stream(), *cut(text, cuts)).usage == usage


BAD = [
    '{"usage":{"total_tokens":-1}}',
    '{"usage":{"total_tokens":1.5}}',
    '{"usage":{"total_tokens":true}}',
    '{"usage":{"total_tokens":1000000001}}',
    '{"usage":{"total_tokens":NaN}}',
    '{"usage":{"completion_tokens":3}}',
    '{"usage":{"total_tokens":0}}',
    '{"usage":{"total_tokens":1},"usage":{"total_tokens":1}}',
    '{"usage":{"total_tokens":1,"total_tokens":1}}',
    '{"usage":{"total_tokens":1,"x":"' + "y" * 20_000 + '"}}',
]


@pytest.mark.parametrize("document", [*BAD, '{"usage":[5]}', '{"usage":5}', '{"usage":"x"}'])
def test_a_usage_that_is_none(document: str) -> None:
    seen = watch(Json(), document.encode())
    assert (seen.usage, seen.unreadable) == (None, True)


@pytest.mark.parametrize(
    "document",
    [*BAD, '{"usage":{"total_tokens":1}} x', '{"usage":{"total_tokens":1}', '{"usage":{"total_tokens":1},,}'],
)
def test_an_event_whose_usage_is_none(document: str) -> None:
    good = sse(chunk(usage=CHAT))
    bad = f"data: {document}\n\n".encode()
    seen = watch(Stream(), good + bad)
    assert (seen.usage, seen.unreadable) == (None, True)
    assert watch(Stream(), bad + good).usage == Usage(9, 12, 21)


@pytest.mark.parametrize(
    "document",
    [
        '{"choices":[{"message":{"content":"{\\"usage\\":{\\"total_tokens\\":1}}"}}]}',
        '{"choices":[{"usage":{"total_tokens":1}}]}',
        '{"x":{"usage":{"total_tokens":1}}}',
        '{"x":{"response":{"usage":{"total_tokens":1}}}}',
        '{"message":{"message":{"usage":{"total_tokens":1}}}}',
        '{"response":"\\"usage\\":{\\"total_tokens\\":1}"}',
        '{"usage":null}',
        '{"Usage":{"total_tokens":1}}',
        '["usage",{"total_tokens":1}]',
        '"usage"',
        "{}",
        "",
    ],
)
def test_what_is_no_usage(document: str) -> None:
    for seen in (watch(Json(), document.encode()), watch(Stream(), f"data: {document}\n\n".encode())):
        assert (seen.usage, seen.unreadable) == (None, False)


@pytest.mark.parametrize(
    "document", ['{"usage":{"total_tokens":5},', '{"usage":{"total_tokens":5}}}', '{"usage":{"total_tokens":5} "x"']
)
def test_a_document_that_breaks_tells_nothing(document: str) -> None:
    assert watch(Json(), document.encode()).usage is None


def test_a_json_answer_that_broke_off_tells_nothing() -> None:
    text = json.dumps({"usage": {"total_tokens": 5}, "choices": ["x" * 1000]}).encode()
    assert watch(Json(), text[:-20], end=False) == Seen(size=-(-(len(text) - 20) // 4))


@pytest.mark.parametrize(
    ("name", "whole"),
    [("chat", True), ("chat, each with its usage", True), ("responses", True), ("messages", True), ("gemini", False)],
)
def test_a_stream_whose_client_left_after_the_last_word(name: str, whole: bool) -> None:
    """Clients of OpenAI stop reading at `[DONE]`; nothing that counts follows it, or Anthropic's last `message_delta`."""
    text, usage = STREAMS[name]
    seen = watch(Stream(), text, end=False)
    assert (seen.usage, seen.whole) == (usage, whole)


def test_a_stream_whose_client_left_early() -> None:
    text, _ = STREAMS["messages"]
    seen = watch(Stream(), text[: text.index(b"event: message_delta")], end=False)
    assert (seen.usage, seen.whole) == (None, False)


def test_a_start_that_cannot_be_read_is_not_made_up_for() -> None:
    start = {"type": "message_start", "message": {"usage": {"input_tokens": -1, "output_tokens": 1}}}
    seen = watch(Stream(), sse(start, {"type": "message_delta", "usage": {"output_tokens": 15}}))
    assert (seen.usage, seen.unreadable) == (None, True)


def test_what_was_told_at_the_start_never_becomes_less() -> None:
    """Some servers say nothing but what is new in the last `message_delta`, and zeros for the rest."""
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 90, "output_tokens": 1}}}
    last = {"type": "message_delta", "usage": {"input_tokens": 0, "output_tokens": 15}}
    assert watch(Stream(), sse(start, last)).usage == Usage(90, 15, 105)
    known_later = {"type": "message_delta", "usage": {"input_tokens": 95, "output_tokens": 15}}
    assert watch(Stream(), sse(start, known_later)).usage == Usage(95, 15, 110)


def test_one_document_on_each_line() -> None:
    words = [{"model": "m", "message": {"content": word}} for word in ("Hello", " there", " you") * 30]
    lines = "\r\n".join(map(json.dumps, [*words, {"done": True, "usage": CHAT}])).encode()
    for text in (lines, lines + b"\n\n"):
        seen = watch(Lines(), text)
        assert (seen.usage, seen.whole) == (Usage(9, 12, 21), True)
        assert watch(Lines(), *bytewise(text)) == seen
    left = watch(Lines(), lines[:2000], end=False)
    assert (left.usage, left.whole) == (None, False)
    assert 40 <= left.size <= 100
    long = watch(Lines(), *cut(b'{"response":"' + b"x" * 4 * HELD, list(range(0, 4 * HELD, 1000))))
    assert long.size >= HELD - 512


def test_large_events_are_read_as_they_come() -> None:
    text = "x" * (3 * HELD)
    document = json.dumps({"response": {"output": [{"text": text}], "usage": {"total_tokens": 5}}}).encode()
    stream = b'data: {}\n\nevent: e\ndata: %b\ndata:%b\nid: 5\ndata: ,"x":1}\n\ndata: {}\n\n' % (
        document[:100],
        document[100:-1],
    )
    for size in (1, 1000, HELD, len(stream)):
        pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
        seen = watch(Stream(), *pieces)
        assert (seen.usage, seen.unreadable) == (Usage(5, 0, 5), False)
        assert seen.size >= (len(text) - 600) // 4


@pytest.mark.parametrize(
    "broken",
    [
        b'{"usage":{"total_tokens":5},"x":"%b"',
        b'{"usage":{"total_tokens":5},"x":"%b"}}',
        b'{"x":"%b","usage":{"total_tokens":0}}',
    ],
)
def test_a_large_event_whose_usage_is_none(broken: bytes) -> None:
    document = broken % (b"x" * 2 * HELD)
    pieces = cut(sse(EXTRA) + b"data: %b\n\n" % document, list(range(0, 3 * HELD, 10_000)))
    assert watch(Stream(), *pieces).unreadable
    harmless = cut(sse(EXTRA) + b"data: %b\n\n" % (b"x" * 2 * HELD), list(range(0, 3 * HELD, 10_000)))
    assert watch(Stream(), *harmless).usage == Usage(9, 12, 21)


def test_the_size_of_a_stream_is_what_its_events_do_not_have_in_common() -> None:
    words = ["", "Hello", " there", ",", " how are you today?"] * 20
    seen = watch(Stream(), sse(*map(chunk, words), done=True))
    text = sum(map(len, words)) // 4
    assert text <= seen.size <= 2 * text + len(words)
    assert seen.size < watch(Other(), sse(*map(chunk, words))).size / 5


def test_an_event_that_is_one_of_its_kind_counts_what_is_large_in_it() -> None:
    assert watch(Stream(), sse({"text": "x" * 4000})).size >= (4000 - 512) // 4


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.text("ab", max_size=3), st.integers(0, 2000)), max_size=60))
def test_every_event_is_a_token_at_least(events: list[tuple[str, int]]) -> None:
    text = b"".join(b"event: %b\ndata: %b\n\n" % (name.encode(), b"x" * size) for name, size in events)
    size = watch(Stream(), text).size
    assert len(events) <= size <= len(events) + sum(size for _, size in events)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.text('{}[]":, usage\n\\0', max_size=80).map(str.encode), CUTS)
def test_nothing_makes_it_fail(text: bytes, cuts: list[int]) -> None:
    for kind in (Json, Stream, Lines, Other):
        assert watch(kind(), *cut(text, cuts)) == watch(kind(), text)
        watch(kind(), *cut(b'data: {"usage":{' + text, cuts))
