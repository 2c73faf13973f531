"""gRPC's frames, cut anywhere."""

from collections.abc import Iterable
from itertools import pairwise
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.wire.framing import HEAD, Frames, encoded, frame
from extproc.wire.status import Ended, Status

LIMIT = 64


def read(pieces: Iterable[bytes], limit: int = LIMIT) -> list[bytes]:
    """The messages in `pieces`, which are all that comes."""
    frames = Frames(limit)
    found = [message for piece in pieces for message in frames.feed(piece)]
    frames.end()
    return found


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[begin:end] for begin, end in pairwise(edges)]


@settings(max_examples=200)
@given(st.lists(st.binary(max_size=LIMIT), max_size=6), st.lists(st.integers(0, 1000), max_size=12))
def test_messages_come_out_as_they_went_in_however_they_are_cut(messages: list[bytes], places: list[int]) -> None:
    assert read(cut(b"".join(map(frame, messages)), places)) == messages


def test_byte_by_byte() -> None:
    data = frame(b"one") + frame(b"") + frame(b"three")
    assert read(data[at : at + 1] for at in range(len(data))) == [b"one", b"", b"three"]


def test_a_large_message_in_many_pieces() -> None:
    message = bytes(range(256)) * 8192
    data = frame(message)
    pieces = (data[at : at + 100] for at in range(0, len(data), 100))
    assert read(pieces, len(message)) == [message]


@pytest.mark.parametrize("length", range(1, len(frame(b"four")) * 2))
def test_a_stream_that_ends_within_a_message_is_an_error(length: int) -> None:
    data = (frame(b"four") * 2)[:length]
    if length == len(frame(b"four")):
        assert read([data]) == [b"four"]
        return
    with pytest.raises(Ended) as caught:
        read([data])
    assert caught.value.status is Status.INTERNAL


HEADS = {
    "compressed": (b"\x01\0\0\0\x01", Status.UNIMPLEMENTED),
    "unknown flag": (b"\x02\0\0\0\x01", Status.INTERNAL),
    "all bits": (b"\xff\0\0\0\0", Status.INTERNAL),
    "one too many": (b"\0" + (LIMIT + 1).to_bytes(4, "big"), Status.RESOURCE_EXHAUSTED),
    "the largest": (b"\0\xff\xff\xff\xff", Status.RESOURCE_EXHAUSTED),
    "HTTP/1": (b"GET / HTTP/1.1\r\n", Status.INTERNAL),
}


@pytest.mark.parametrize("before", [b"", frame(b"good")], ids=["first", "after another"])
@pytest.mark.parametrize("name", HEADS)
def test_what_is_refused_is_refused_by_its_first_bytes(name: str, before: bytes) -> None:
    """What came before it is still handed out; of what is too long nothing has to arrive."""
    head, status = HEADS[name]
    for pieces in ([before + head], [before, head], [before + head[:3], head[3:]]):
        frames, found = Frames(LIMIT), list[bytes]()
        with pytest.raises(Ended) as caught:
            found.extend(message for piece in pieces for message in frames.feed(piece))
        assert caught.value.status is status
        assert found == [b"good"] * bool(before)


@pytest.mark.parametrize("name", HEADS)
def test_nothing_is_read_after_what_was_refused(name: str) -> None:
    """A piece may begin anywhere in a message that is refused, and its bytes may be a workload's: they are none of Envoy's."""
    head, status = HEADS[name]
    frames = Frames(LIMIT)
    for piece in (head, frame(b"forged"), b"", frame(b"forged") * 2):
        with pytest.raises(Ended) as caught:
            list(frames.feed(piece))
        assert caught.value.status is status


def test_what_came_before_is_handed_out_once() -> None:
    frames, found = Frames(LIMIT), list[bytes]()
    for piece in (frame(b"good") + frame(b"x" * (LIMIT + 1)), frame(b"forged")):
        with pytest.raises(Ended):
            found.extend(frames.feed(piece))
    assert found == [b"good"]


def test_the_longest_message_is_taken() -> None:
    assert read([frame(b"x" * LIMIT)]) == [b"x" * LIMIT]
    assert len(frame(b"x" * LIMIT)) == LIMIT + HEAD


@settings(max_examples=200)
@given(st.text())
def test_a_status_message_travels_in_a_header(text: str) -> None:
    sent = encoded(text)
    assert unquote_to_bytes(sent) == text.encode("utf-8", "surrogatepass")
    assert all(0x20 <= byte < 0x7F for byte in sent)
