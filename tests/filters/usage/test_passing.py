"""Answers on their way: what is changed, and that nothing else is."""

import gzip
import json
import zlib
from typing import Any

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc import Continue, Verdict
from extproc.core.filter import BodyTransformer, EndOfBody
from extproc.errors import Malformed, TooLarge
from extproc_filters.pii.media import Coding
from extproc_filters.sse import Events
from extproc_filters.usage.answer import HELD, Json, Other, Seen, Stream
from extproc_filters.usage.counts import Usage
from extproc_filters.usage.passing import LATE, ROUNDS, Cut, Rewrite, Watch, is_extra
from tests.filters.usage.cuts import CUTS, bytewise, cut
from tests.filters.usage.shapes import CHAT, EXTRA, JSON, STREAMS, chunk, sse

CODINGS: dict[Coding | None, Any] = {
    None: bytes,
    Coding.GZIP: gzip.compress,
    Coding.DEFLATE: zlib.compress,
    Coding.BROTLI: brotli.compress,
}


def tell(seen: Seen) -> Verdict:
    return Continue(state=seen)


def through(transformer: BodyTransformer, chunks: list[bytes], *, end: bool = True) -> bytes:
    """What comes out, up to where the transformer ends the body."""
    given: list[bytes] = []
    try:
        for each in chunks:
            given.append(transformer.feed(each))
    except EndOfBody as cut_off:
        return b"".join((*given, cut_off.last))
    return b"".join((*given, *transformer.finish())) if end else b"".join(given)


def seen(transformer: BodyTransformer) -> Seen:
    verdict = transformer.conclude()
    assert isinstance(verdict, Continue)
    assert isinstance(verdict.state, Seen)
    return verdict.state


def strip(coding: Coding | None = None, cut: Cut | None = None) -> Rewrite:
    return Rewrite(coding, tell, strip=True, cut=cut)


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_is_watched(coding: Coding | None, name: str) -> None:
    text, usage = STREAMS[name]
    encoded = CODINGS[coding](text)
    watch = Watch(Stream(), coding, tell)
    assert through(watch, cut(encoded, [5, 50, 90])) == encoded
    assert (seen(watch).usage, seen(watch).whole) == (usage, True)


@pytest.mark.parametrize("coding", CODINGS)
def test_json_that_is_watched(coding: Coding | None) -> None:
    document, usage = JSON["chat"]
    encoded = CODINGS[coding](json.dumps(document).encode())
    watch = Watch(Json(), coding, tell)
    assert through(watch, bytewise(encoded)) == encoded
    assert seen(watch).usage == usage


@pytest.mark.parametrize(
    "body", [b"nonsense", gzip.compress(b'{"usage":{"total_tokens":5}}')[:-12], gzip.compress(b" " * 100_000_000), b""]
)
def test_what_cannot_be_read_passes_and_tells_nothing(body: bytes) -> None:
    watch = Watch(Json(), Coding.GZIP, tell)
    chunks = cut(body, list(range(0, len(body), 1000)))
    assert through(watch, chunks) == body
    assert seen(watch).usage is None
    assert seen(watch).size >= 0


def test_a_stream_whose_encoding_broke_off_was_not_seen_whole() -> None:
    text = sse(chunk("Hi"), EXTRA)
    watch = Watch(Stream(), Coding.GZIP, tell)
    through(watch, [gzip.compress(text)[:-4]])
    assert (seen(watch).usage, seen(watch).whole) == (Usage(9, 12, 21), False)


def test_bytes_that_could_not_be_read_are_counted_all_the_same() -> None:
    watch = Watch(Other(), Coding.GZIP, tell)
    through(watch, [b"nonsense", b"x" * 4000], end=False)
    assert seen(watch) == Seen(size=1000)


WITHOUT = sse(chunk("Hi"), chunk(), done=True)


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_extra_event_is_taken_out(coding: Coding | None, end: str) -> None:
    text = sse(chunk("Hi"), chunk(), EXTRA, done=True, end=end)
    for chunks in (cut(CODINGS[coding](text), [7, 100, 400]), bytewise(CODINGS[coding](text))):
        rewrite = strip(coding)
        assert through(rewrite, chunks) == WITHOUT.replace(b"\n", end.encode())
        assert (seen(rewrite).usage, seen(rewrite).whole) == (Usage(9, 12, 21), True)


def test_it_stays_if_nobody_asked_for_it_in_secret() -> None:
    text = sse(chunk("Hi"), EXTRA, done=True)
    assert through(Rewrite(None, tell, strip=False), [text]) == text


NOT_EXTRA = [
    chunk("Hi"),
    chunk("Hi", CHAT),
    chunk(choices=[]),
    chunk(choices=[], usage={}) | {"choices": [{"delta": {}}]},
    {"usage": CHAT},
    {"choices": None, "usage": CHAT},
    {"choices": [], "usage": "x"},
    {"choices": [], "x": {"usage": {"a": 1}}},
    {"prompt_filter_results": [], "choices": [], "usage": None},
]


@pytest.mark.parametrize("event", NOT_EXTRA)
def test_what_stays(event: Any) -> None:
    text = sse(event)
    assert through(strip(), [text]) == text


@pytest.mark.parametrize(
    "text", [b'data: {"choices":[],"usage":{}', b'data: {"choices":[],"usage":{}}x\n\n', b"data: \n\n", b"\n"]
)
def test_what_is_no_event_of_that_kind_stays(text: bytes) -> None:
    assert through(strip(), [text]) == text


def test_an_extra_event_that_is_not_finished_goes_too() -> None:
    text = sse(chunk("Hi"), EXTRA)
    assert through(strip(), [text[:-2]]) == sse(chunk("Hi"))


def test_events_leave_as_they_come() -> None:
    rewrite = strip()
    for word in ("Hello", " you"):
        event = sse(chunk(word))
        assert rewrite.feed(event) == event
    assert rewrite.feed(sse(chunk("x"))[:-1]) == b""
    assert rewrite.feed(b"\n") == sse(chunk("x"))


def test_a_large_event_is_not_held_back() -> None:
    text = sse(chunk("x" * 5 * HELD), EXTRA, chunk("y"))
    rewrite = strip()
    given = [rewrite.feed(each) for each in cut(text, list(range(0, len(text), 10_000)))]
    assert b"".join(given) == sse(chunk("x" * 5 * HELD), chunk("y"))
    assert max(map(len, given)) <= HELD + 10_000
    assert seen(rewrite).usage == Usage(9, 12, 21)


EVENTS = st.sampled_from(
    [
        sse(chunk("Hi")),
        sse(chunk(), end="\r\n"),
        sse(EXTRA),
        sse(EXTRA, end="\r\n"),
        sse(EXTRA, end="\r"),
        b": ping\n\n",
        b"\n",
        b"\r",
        b"data: [DONE]\n\n",
        b"event: x\ndata: {}\n\n",
        b'data: {"choices":[],\ndata: "usage":{"total_tokens":5}}\n\n',
        b"data: x",
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(EVENTS, max_size=8).map(b"".join), CUTS)
def test_only_those_events_go_whatever_the_cuts(text: bytes, cuts: list[int]) -> None:
    events = Events(1 << 20)
    found = events.feed(text) + events.close()
    expected = b"".join(each.raw for each in found if not is_extra(each))
    rewrite, plain = strip(), Watch(Stream(), None, tell)
    assert through(rewrite, cut(text, cuts)) == expected
    assert through(strip(), bytewise(text)) == expected
    assert through(plain, [text]) == text
    assert seen(rewrite) == seen(plain)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), CUTS)
def test_any_bytes_pass(noise: bytes, cuts: list[int]) -> None:
    assert through(strip(), cut(noise, cuts)) == noise


def test_what_cannot_be_decoded_cannot_be_rewritten() -> None:
    with pytest.raises(Malformed):
        strip(Coding.GZIP).feed(b"nonsense")
    cut_off = strip(Coding.GZIP)
    cut_off.feed(gzip.compress(WITHOUT)[:-9])
    with pytest.raises(Malformed):
        list(cut_off.finish())


SAME = sse(chunk("\n"))
MUCH = SAME * 20_000
"""A model that repeats itself: some hundred times shorter when it is encoded."""


@pytest.mark.parametrize("coding", [Coding.GZIP, Coding.BROTLI])
def test_a_stream_that_was_encoded_all_at_once(coding: Coding) -> None:
    """However much a piece holds, the work on it is bounded; what waits comes with the next, or at the end, and is not lost."""
    encoded = CODINGS[coding](MUCH + sse(EXTRA, done=True))
    rewrite, watch = strip(coding), Watch(Stream(), coding, tell)
    given = [rewrite.feed(encoded[at : at + 1000]) for at in range(0, len(encoded), 1000)]
    assert max(map(len, given)) < 300_000
    late = list(rewrite.finish())
    whole = b"".join((*given, *late)) == MUCH + b"data: [DONE]\n\n"
    assert whole
    assert max(map(len, late)) < 70_000
    assert seen(rewrite).usage == Usage(9, 12, 21)
    for at in range(0, len(encoded), 1000):
        watch.feed(encoded[at : at + 1000])
    assert sum(1 for _ in watch.finish()) <= LATE


def test_what_waits_is_read_at_the_end_if_it_is_not_too_much() -> None:
    little, much = (gzip.compress(SAME * number + sse(EXTRA)) for number in (5_000, 30_000))
    watch = Watch(Stream(), Coding.GZIP, tell)
    assert through(watch, [little]) == little
    assert (seen(watch).usage, seen(watch).whole) == (Usage(9, 12, 21), True)
    watch = Watch(Stream(), Coding.GZIP, tell)
    assert through(watch, [much]) == much
    assert (seen(watch).usage, seen(watch).whole) == (None, False)


def test_a_bomb_waits_until_it_is_too_large() -> None:
    bomb = gzip.compress(b" " * 10_000_000)
    with pytest.raises(TooLarge):
        through(strip(Coding.GZIP), [bomb] * 150)
    watch = Watch(Json(), Coding.GZIP, tell)
    assert through(watch, [bomb] * 150) == bomb * 150
    assert seen(watch).usage is None


def error(*, named: bool = False, request_id: str = "") -> bytes:
    inner = {"type": "egress_denied", "code": "rate_limited", "message": "Too many requests.", "request_id": request_id}
    if named:
        return b"event: error\n" + sse({"type": "error", "error": inner}).replace(b'":', b'": ').replace(b',"', b', "')
    return sse({"error": inner}).replace(b'":', b'": ').replace(b',"', b', "')


def test_a_stream_that_costs_too_much_ends_with_an_error() -> None:
    words = [sse(chunk(f"{number:02}")) for number in range(50)]
    rewrite = strip(cut=Cut(20.5, prompt=10, request_id="abc"))
    assert through(rewrite, words) == b"".join(words[:11]) + error(request_id="abc")
    assert seen(rewrite) == Seen(size=11)
    whole = strip(cut=Cut(20.5, prompt=10, request_id="abc"))
    assert through(whole, [b"".join(words)]) == b"".join(words[:11]) + error(request_id="abc")


def test_the_usage_that_is_told_counts_more_than_an_estimate() -> None:
    said = [
        sse(chunk("x" * 400, {"prompt_tokens": 1, "completion_tokens": n, "total_tokens": 1 + n})) for n in range(1, 9)
    ]
    assert through(strip(cut=Cut(6, prompt=1)), said) == b"".join(said[:6]) + error()
    assert through(strip(cut=Cut(9, prompt=1)), said) == b"".join(said)


def test_an_error_in_a_stream_whose_events_have_names() -> None:
    text, _ = STREAMS["messages"]
    given = through(strip(cut=Cut(1, prompt=1)), [text])
    assert given == text[: text.index(b"event: ping")] + error(named=True)


def test_an_error_after_a_part_of_an_event_is_an_event_of_its_own() -> None:
    large = sse(chunk("x" * 10 * HELD))
    rewrite = strip(cut=Cut(100, prompt=1))
    rewrite.feed(sse(chunk("a")))
    given = through(rewrite, cut(large, list(range(0, len(large), 5000))))
    assert given.endswith(b"\n\n" + error())
    assert len(given) < 2 * HELD


def test_a_bomb_that_is_only_watched_stops_the_reading_and_not_the_stream() -> None:
    seen: list[Seen] = []

    def tell(found: Seen) -> Verdict:
        seen.append(found)
        return Continue()

    watch = Watch(Json(), Coding.GZIP, tell)
    bomb = gzip.compress(b'{"a":"' + b"x" * 20_000_000)[:-8]
    questions = 0
    for _ in range(100):
        assert watch.feed(bomb) == bomb
        while watch.behind:
            assert watch.feed(b"") == b""
            questions += 1
    assert questions <= 100 * ROUNDS
    watch.conclude()
    assert seen[0].usage is None
    assert seen[0].size > 0
