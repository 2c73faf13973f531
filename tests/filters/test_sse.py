"""Event streams: the same events whatever the cuts, byte for byte, in linear time."""

import re
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from extproc.errors import TooLarge
from extproc_filters.sse import Event, Events, event

MANY = 1 << 20


def events(*chunks: bytes, limit: int = MANY) -> list[Event]:
    stream = Events(limit)
    return [each for chunk in chunks for each in stream.feed(chunk)]


def told(*chunks: bytes) -> list[tuple[bytes | None, str]]:
    return [(each.data, each.name) for each in events(*chunks)]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_events_with_any_line_end(end: bytes) -> None:
    lines = [b"event: delta", b"data: one", b"data:two", b"data", b"id: 7", b"", b": ping", b"", b"data: [DONE]", b""]
    text = end.join([*lines, b""])
    found = events(text)
    assert b"".join(each.raw for each in found) == text
    assert [(each.data, each.name) for each in found] == [(b"one\ntwo\n", "delta"), (None, ""), (b"[DONE]", "")]


@pytest.mark.parametrize(
    ("text", "data", "name"),
    [
        (b"data: x\n\n", b"x", ""),
        (b"data:x\n\n", b"x", ""),
        (b"data:  x\n\n", b" x", ""),
        (b"data\n\n", b"", ""),
        (b"data:\n\n", b"", ""),
        (b"data:\ndata:\n\n", b"\n", ""),
        (b"event: a\nevent: b\ndata: x\n\n", b"x", "b"),
        (b"event: a\n\n", None, "a"),
        (b"event: \xff\n\n", None, "�"),
        (b": keep-alive\n\n", None, ""),
        (b"\n", None, ""),
        (b"retry: 5\nid: 3\n\n", None, ""),
        (b"Data: x\n\n", None, ""),
        (b" data: x\n\n", None, ""),
        (b"datax: y\n\n", None, ""),
        (b"\xef\xbb\xbfdata: x\n\n", b"x", ""),
        (b"\xef\xbb\xbf\xef\xbb\xbfdata: x\n\n", None, ""),
        (b'data: {"a":\ndata: 1}\n\n', b'{"a":\n1}', ""),
        (b"data: a\xe2\x80\xa8b\x0b\x0c\x85c\n\n", b"a\xe2\x80\xa8b\x0b\x0c\x85c", ""),
    ],
)
def test_what_an_event_says(text: bytes, data: bytes | None, name: str) -> None:
    assert events(text) == [Event(text, data, name)]


def test_a_byte_order_mark_is_one_at_the_very_start_only() -> None:
    assert told(b"data: a\n\n\xef\xbb\xbfdata: b\n\n") == [(b"a", ""), (None, "")]


@pytest.mark.parametrize(
    "chunks",
    [
        [b"data: a\r\n\r\n"],
        [b"data: a\r\n\r", b"\n"],
        [b"data: a\r\n", b"\r\n"],
        [b"data: a\r", b"\n\r\n"],
        [b"data: a\r", b"\n", b"\r", b"\n"],
    ],
)
def test_a_line_end_cut_in_two(chunks: list[bytes]) -> None:
    assert events(*chunks) == [Event(b"data: a\r\n\r\n", b"a", "")]


@pytest.mark.parametrize("text", [b"data: a\n\n", b"data: a\r\r", b"data: a\r\n\r\n", b"data: a\n\r"])
def test_an_event_is_not_held_back_until_the_next(text: bytes) -> None:
    stream = Events(MANY)
    for _ in range(3):
        assert [each.data for each in stream.feed(text)] == [b"a"]


def test_a_newline_that_comes_late_is_no_empty_event() -> None:
    assert events(b"data: a\n\r", b"\ndata: b\n\n") == [
        Event(b"data: a\n\r", b"a", ""),
        Event(b"\ndata: b\n\n", b"b", ""),
    ]


def test_empty_lines_between_events() -> None:
    assert told(b"data: a\r\n\r\n\r\n\r\ndata: b\r\n\r\n") == [(b"a", ""), (None, ""), (None, ""), (b"b", "")]


def test_an_unfinished_event_is_what_is_left() -> None:
    stream = Events(MANY)
    assert [each.data for each in stream.feed(b"data: a\n\ndata: b\n")] == [b"a"]
    assert stream.close() == [Event(b"data: b\n", b"b", "")]
    assert stream.close() == []


@pytest.mark.parametrize("chunks", [[b"data: 123456789\n\n"], [b"data: 123", b"456789\n\n"], [b"data: 123456789\n"]])
def test_an_event_may_be_only_so_large(chunks: list[bytes]) -> None:
    size = len(b"".join(chunks))
    assert events(*chunks, limit=size) == events(*chunks)
    with pytest.raises(TooLarge, match=f"{size - 1} bytes"):
        events(*chunks, limit=size - 1)


@pytest.mark.timeout(20)
def test_a_large_event_byte_by_byte_costs_what_it_is_long() -> None:
    stream = Events(MANY)
    for _ in range(300_000):
        assert not stream.feed(b"x")
    assert [len(each.raw) for each in stream.feed(b"\n\n")] == [300_002]


def test_many_small_events_are_no_large_one() -> None:
    assert len(events(b"data: a\n\n" * 1000, limit=9)) == 1000


PARTS = st.sampled_from(
    [
        b"\r",
        b"\n",
        b"\r\n",
        b"\r\n\r\n",
        b"data: x",
        b"data:",
        b"data",
        b":",
        b"event: e",
        b"id: 1",
        b"\xef\xbb\xbf",
        b"{}",
        b" ",
    ]
)
STREAM = st.lists(PARTS, max_size=24).map(b"".join)


def cut(text: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(text), *(place % (len(text) + 1) for place in cuts)})
    return [text[start:end] for start, end in pairwise(places)]


@settings(max_examples=200, deadline=None)
@given(STREAM, st.lists(st.integers(0, 200), max_size=8))
def test_cuts_change_nothing_and_no_byte_is_lost(text: bytes, cuts: list[int]) -> None:
    whole, pieces, bytewise = Events(MANY), Events(MANY), Events(MANY)
    expected = whole.feed(text)
    assert [each for chunk in cut(text, cuts) for each in pieces.feed(chunk)] == expected
    assert [each for byte in text for each in bytewise.feed(bytes([byte]))] == expected
    last = whole.close()
    assert b"".join(each.raw for each in [*expected, *last]) == text
    assert pieces.close() == bytewise.close() == last


def standard(text: bytes) -> list[tuple[bytes, str]]:
    """What a client dispatches, as the standard words it: line by line, over the whole stream."""
    found: list[tuple[bytes, str]] = []
    data: list[bytes] = []
    name = b""
    for line in re.split(rb"\r\n|\n|\r", text.removeprefix(b"\xef\xbb\xbf"))[:-1]:
        field, _, value = line.partition(b":")
        value = value[1:] if value.startswith(b" ") else value
        if not line:
            found += [(b"\n".join(data), name.decode())] if data else []
            data, name = [], b""
        elif field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
    return found


@settings(max_examples=200, deadline=None)
@given(STREAM)
def test_a_client_that_follows_the_standard_sees_the_same(text: bytes) -> None:
    stream = Events(MANY)
    found = stream.feed(text)
    found += [last for last in stream.close() if last.raw.endswith(b"\r\n\r")]  # the standard would not wait for a \n
    assert [(each.data, each.name) for each in found if each.data is not None] == standard(text)


@pytest.mark.parametrize(
    ("like", "data", "expected"),
    [
        (b"data: a\n\n", b"b", b"data: b\n\n"),
        (b"data:a\r\n\r\n", b"b", b"data:b\r\n\r\n"),
        (b"event: e\ndata: a\nid: 7\ndata: c\n: note\n\n", b"b", b"event: e\ndata: b\nid: 7\n: note\n\n"),
        (b"data: a\r\r", b"b\nc", b"data: b\rdata: c\r\r"),
        (b"data\n\n", b"b", b"data: b\n\n"),
        (b"event: e\n\n", b"b", b"data: b\nevent: e\n\n"),
        (b"\n", b"b", b"data: b\n\n"),
        (b"data: a", b"b", b"data: b\n"),
        (b"\xef\xbb\xbfdata: a\n\n", b"b", b"\xef\xbb\xbfdata: b\n\n"),
    ],
)
def test_an_event_with_other_data(like: bytes, data: bytes, expected: bytes) -> None:
    stream = Events(MANY)
    (found,) = stream.feed(like) + stream.close()
    assert event(data, found) == expected


def test_other_data_in_an_event_that_begins_with_a_late_newline() -> None:
    found = events(b"data: a\n\r\ndata: b\n\n")
    assert event(b"c", found[1]) == b"\ndata: c\n\n"
    assert told(event(b"x", found[0]) + event(b"c", found[1])) == [(b"x", ""), (b"c", "")]


def test_a_mark_that_is_none_stays_what_it_was() -> None:
    late = events(b"data: a\n\n\xef\xbb\xbfdata: b\ndata: c\n\n")[1]
    assert event(b"d", late) == b"\xef\xbb\xbfdata: b\ndata: d\n\n"


@settings(max_examples=200, deadline=None)
@given(STREAM, st.lists(st.binary(max_size=5), min_size=1, max_size=3))
@example(b"data: x\rdata: x\n\n\r", [b""])
@example(b"data: x\rdata: x\r\n\r\n", [b""])
@example(b"data: x\ndata: x\r\n\r\n", [b""])
@example(b"id: 1\rdata: x\n\ndata: y\n\n", [b"z"])
def test_a_stream_with_other_data_says_that_and_nothing_else(text: bytes, lines: list[bytes]) -> None:
    data = re.sub(rb"[\r\n]", b"", b"|".join(lines)).replace(b"|", b"\n")
    found = events(text)
    changed = [each.raw if each.data is None else event(data, each) for each in found]
    expected = [(None if each.data is None else data, each.name) for each in found if says(each)]
    stream = Events(MANY)
    again = stream.feed(b"".join(changed)) + stream.close()
    assert [(each.data, each.name) for each in again if says(each)] == expected


def says(found: Event) -> bool:
    """Line ends say nothing, and where those of several kinds are mixed one more or less may stand behind an event."""
    return found.raw.strip(b"\r\n") != b""


def gathered(found: list[Event]) -> list[tuple[bytes, bytes | None]]:
    """Raw bytes and data, the parts of an event put together."""
    whole: list[tuple[bytes, bytes | None]] = []
    inside = False
    for each in found:
        if inside:
            whole[-1] = (whole[-1][0] + each.raw, None)
        else:
            whole.append((each.raw, each.data))
        inside = each.more
    return whole


@settings(max_examples=200, deadline=None)
@given(STREAM, st.lists(st.integers(0, 200), max_size=8), st.integers(1, 30))
def test_a_large_event_in_parts_ends_where_it_ends(text: bytes, cuts: list[int], limit: int) -> None:
    stream, whole = Events(limit, parts=True), Events(MANY)
    found = gathered([each for chunk in cut(text, cuts) for each in stream.feed(chunk)] + stream.close())
    expected = whole.feed(text) + whole.close()
    assert [raw for raw, _ in found] == [each.raw for each in expected]
    assert all(data in (None, each.data) for (_, data), each in zip(found, expected, strict=True))
    assert all(data == each.data for (_, data), each in zip(found, expected, strict=True) if len(each.raw) <= limit)


def test_parts_leave_as_they_come() -> None:
    stream = Events(8, parts=True)
    assert stream.feed(b"data: 12") == []
    assert stream.feed(b"34") == [Event(b"data: 1", None, "", more=True)]
    assert stream.feed(b"5678") == [Event(b"2345", None, "", more=True)]
    assert stream.feed(b"\n\ndata: a\n\n") == [Event(b"678\n\n", None, ""), Event(b"data: a\n\n", b"a", "")]
