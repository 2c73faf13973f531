"""Bodies that pass piece by piece: what leaves, when, and what happens when something fails in the middle."""

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.core.chain import Chain
from extproc.core.event import BodyMode, Modes
from extproc.core.exchange import Exchange
from extproc.core.filter import EndOfBody, Reading
from extproc.core.phase import Phase
from extproc.core.verdict import Continue, deny
from extproc.errors import Cause, Malformed, ProtocolError
from extproc.testing import (
    Clock,
    Conversation,
    body,
    go_on,
    headers,
    immediate,
    play,
    response,
    response_body,
    response_trailers,
    trailers,
)
from tests.core.driving import link
from tests.core.streaming import OPEN, SSE, Lines, Streams, answering, joined, talk

BUFFERED, NONE, STREAMED, DUPLEX = (
    BodyMode.BUFFERED,
    BodyMode.NONE,
    BodyMode.STREAMED,
    BodyMode.FULL_DUPLEX_STREAMED,
)


# Modes


@pytest.mark.parametrize(
    ("readings", "mode"),
    [
        ((Reading.NOTHING,), NONE),
        ((Reading.WATCH,), STREAMED),
        ((Reading.STREAM,), DUPLEX),
        ((Reading.WATCH, Reading.STREAM, Reading.NOTHING), DUPLEX),
        ((Reading.STREAM, Reading.WHOLE), BUFFERED),
    ],
)
def test_the_strictest_need_decides_how_the_answer_comes(readings: tuple[Reading, ...], mode: BodyMode) -> None:
    begun = Conversation(answering(*(Streams(how) for how in readings)))
    early = begun.say(headers(end=True)).outcome.modes
    assert early.response_body is (STREAMED if mode is DUPLEX else mode)
    if mode is not NONE:
        assert begun.say(response(200, SSE)).outcome.modes == Modes(NONE, True, mode, True)


def test_an_answer_may_need_less_than_was_feared() -> None:
    class Asks(Streams):
        def reading(self, phase: Phase, exchange: Exchange) -> Reading:
            return Reading.WHOLE if exchange.response is None else Reading.NOTHING

    begun = Conversation(answering(Asks()))
    assert begun.say(headers(end=True)).outcome.modes == Modes(NONE, True, BUFFERED, True)
    assert begun.say(response(200, SSE)).outcome.modes == Modes(NONE)


@pytest.mark.parametrize(
    ("how", "mode"), [(Reading.STREAM, DUPLEX), (Reading.WATCH, STREAMED), (Reading.WHOLE, BUFFERED)]
)
def test_a_request_can_be_streamed_too(how: Reading, mode: BodyMode) -> None:
    chain = Chain((link("s", Streams(how), Phase.REQUEST_BODY),), authentication=False)
    assert Conversation(chain).say(headers()).outcome.modes == Modes(mode)


def test_who_cannot_say_what_it_needs_gets_all() -> None:
    class Broken(Streams):
        def reading(self, phase: Phase, exchange: Exchange) -> Reading:
            raise Malformed("no idea")

    assert talk(answering(Broken())).say(response(200, SSE)).outcome.modes.response_body is BUFFERED


# What leaves


def test_each_line_leaves_when_it_is_complete() -> None:
    begun = talk(answering(Streams()))
    begun.say(response(200, SSE))
    assert begun.stream(response_body(b"on", end=False)) == []
    assert begun.stream(response_body(b"e\ntw", end=False)) == [go_on(body=b"ONE\n", end=False)]
    assert begun.stream(response_body(b"o", end=True)) == [go_on(body=b"TWO", end=True)]


def test_the_end_is_said_even_if_nothing_is_left() -> None:
    begun = talk(answering(Streams()))
    begun.say(response(200, SSE))
    assert begun.stream(response_body(b"one\n", end=False), response_body(b"", end=True)) == [
        go_on(body=b"ONE\n", end=False),
        go_on(body=b"", end=True),
    ]


def test_what_was_held_back_leaves_before_the_trailers() -> None:
    begun = talk(answering(Streams()))
    begun.say(response(200, SSE))
    begun.stream(response_body(b"one\ntw", end=False))
    assert begun.stream(response_trailers({"grpc-status": "0"})) == [go_on(body=b"TW", end=False), go_on()]


def test_nothing_leaves_after_the_end_though_envoy_sends_the_last_piece_twice() -> None:
    begun = talk(answering(Streams()))
    begun.say(response(200, SSE))
    begun.stream(response_body(b"one", end=True))
    assert begun.stream(response_body(b"one", end=True)) == []


def test_a_watcher_sees_all_and_changes_nothing() -> None:
    watcher = Streams(Reading.WATCH)
    begun = talk(answering(watcher))
    begun.say(response(200, SSE))
    answers = begun.stream(
        response_body(b"one\n", end=False), response_body(b"two", end=False), response_body(b"", end=True)
    )
    assert answers == [go_on(), go_on(), go_on()]
    assert watcher.transformer_.fed == 7
    assert begun.end().reports == {"s0": {"bytes": 7}}


def test_more_of_a_watched_body_that_has_ended_is_refused() -> None:
    begun = talk(answering(Streams(Reading.WATCH)))
    begun.say(response(200, SSE))
    begun.stream(response_body(b"one", end=True))
    assert begun.stream(response_body(b"", end=True)) == [go_on()]
    with pytest.raises(ProtocolError):
        begun.stream(response_body(b"one", end=True))


def test_a_watcher_in_a_buffered_body_changes_nothing_either() -> None:
    chain = answering(Streams(Reading.WATCH), Streams(Reading.WHOLE, transformer_=None))
    answers = play(chain, headers(end=True), response(200, SSE), response_body(b"one"))
    assert answers[2] == go_on()


def test_what_speaks_of_the_old_body_goes_with_the_headers() -> None:
    begun = talk(answering(Streams()))
    fields = {**SSE, "content-length": "3", "etag": "x", "digest": "y", "x": "z"}
    assert begun.say(response(200, fields)) == go_on(removed={"content-length", "etag", "digest"})


def test_what_is_only_watched_keeps_its_headers() -> None:
    begun = talk(answering(Streams(Reading.WATCH)))
    assert begun.say(response(200, {**SSE, "content-length": "3", "etag": "x"})) == go_on()


def test_what_decide_changes_in_the_headers_leaves_with_them() -> None:
    begun = talk(answering(Streams(decides=Continue(remove_headers=("content-encoding",)))))
    assert begun.say(response(200, {**SSE, "content-encoding": "gzip"})) == go_on(removed={"content-encoding"})


def test_an_answer_without_a_body_is_judged_at_once() -> None:
    begun = talk(answering(Streams()))
    assert begun.say(response(200, SSE, end=True)) == go_on()
    assert begun.end().reports == {"s0": {"bytes": 0}}


@pytest.mark.parametrize("how", [Reading.STREAM, Reading.WATCH])
def test_an_answer_that_never_has_a_body_is_judged_at_once_too(how: Reading) -> None:
    """With HTTP/2 an empty piece may still say that it has ended: what leaves then would begin the next answer."""

    class Adds(Lines):
        def finish(self) -> Iterable[bytes]:
            yield b"smuggled"

    begun = talk(answering(Streams(how, transformer_=Adds())))
    answers = begun.stream(response(204, SSE), response_body(b"", end=True))
    assert answers == [go_on(), go_on()]
    assert answers[0].outcome.modes is None
    assert begun.end().reports == {"s0": {"bytes": 0}}


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=8), st.booleans())
def test_however_it_is_cut_the_same_leaves(data: bytes, cuts: list[int], ends_with_trailers: bool) -> None:
    begun = talk(answering(Streams(), Streams(Reading.WATCH), Streams()))
    begun.say(response(200, SSE))
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    events = [response_body(data[a:b], end=False) for a, b in pairwise(edges)]
    last = response_trailers({}) if ends_with_trailers else response_body(b"", end=True)
    answers = begun.stream(*events, last)
    assert joined(answers) == data.upper()
    assert [answer.end for answer in answers if answer.end] == ([] if ends_with_trailers else [True])


def test_a_large_piece_goes_in_slices() -> None:
    sizes: list[int] = []

    class Measures(Lines):
        def feed(self, chunk: bytes) -> bytes:
            sizes.append(len(chunk))
            return super().feed(chunk)

    begun = talk(answering(Streams(transformer_=Measures()), Streams(transformer_=Measures())))
    begun.say(response(200, SSE))
    data = b"x" * 200_000 + b"\n"
    assert joined(begun.stream(response_body(data, end=True))) == data.upper()
    assert max(sizes) <= 64 * 1024


def test_one_that_is_behind_goes_on_after_a_pause() -> None:
    class Slow(Lines):
        behind = False

        def feed(self, chunk: bytes) -> bytes:
            self.held += chunk
            leaves, self.held = self.held[:3], self.held[3:]
            self.behind = bool(self.held)
            return leaves

    begun = talk(answering(Streams(transformer_=Slow())))
    begun.say(response(200, SSE))
    assert begun.stream(response_body(b"12345678", end=False)) == [go_on(body=b"12345678", end=False)]


# A body that is ended


class Ends(Lines):
    def feed(self, chunk: bytes) -> bytes:
        if b"stop" in chunk:
            raise EndOfBody(b"over\n")
        return super().feed(chunk)


def test_a_filter_can_end_the_body() -> None:
    begun = talk(answering(Streams(transformer_=Ends()), Streams()))
    begun.say(response(200, SSE))
    answers = begun.stream(
        response_body(b"one\n", end=False), response_body(b"stop", end=False), response_body(b"more\n", end=True)
    )
    assert answers == [go_on(body=b"ONE\n", end=False), go_on(body=b"OVER\n", end=True)]


def test_a_buffered_body_can_be_ended_too() -> None:
    chain = answering(Streams(Reading.WHOLE, transformer_=Ends()))
    assert play(chain, headers(end=True), response(200), response_body(b"stop"))[2] == go_on(body=b"over\n")


def test_trailers_after_a_body_that_was_ended_are_none() -> None:
    begun = talk(answering(Streams(transformer_=Ends())))
    begun.say(response(200, SSE))
    assert begun.stream(response_body(b"stop", end=False), response_trailers({"x": "y"})) == [
        go_on(body=b"over\n", end=True)
    ]


def test_a_watcher_cannot_end_it() -> None:
    begun = talk(answering(Streams(Reading.WATCH, transformer_=Ends())))
    begun.say(response(200, SSE))
    assert begun.stream(response_body(b"stop", end=False)) == [immediate(500, "policy_error")]


# Failures


def failing(error: BaseException, after: int = 0) -> Streams:
    return Streams(transformer_=Lines(fails=error, after=after))


def test_a_failure_before_the_first_byte_is_its_own() -> None:
    begun = talk(answering(failing(Malformed("no"))))
    begun.say(response(200, SSE))
    assert begun.stream(response_body(b"one\n", end=False)) == [immediate(502, "response_unprocessable")]
    assert begun.end().failure == Cause.MALFORMED


def test_a_failure_after_the_first_byte_interrupts_whatever_fail_open_says() -> None:
    begun = talk(answering(failing(Malformed("no"), after=4), covers=OPEN))
    begun.say(response(200, SSE))
    assert begun.stream(response_body(b"one\n", end=False)) == [go_on(body=b"ONE\n", end=False)]
    assert begun.stream(response_body(b"two\n", end=False)) == [immediate(500, "policy_error")]
    assert begun.end().failure == Cause.INTERRUPTED


def test_before_the_first_byte_fail_open_lets_everything_pass_that_was_held_back() -> None:
    begun = talk(answering(failing(Malformed("no"), after=3), covers=OPEN))
    begun.say(response(200, SSE))
    assert begun.stream(response_body(b"one", end=False)) == []
    assert begun.stream(response_body(b"two\n", end=False)) == [go_on(body=b"onetwo\n", end=False)]
    assert begun.stream(response_body(b"three", end=True)) == [go_on(body=b"three", end=True)]
    record = begun.end()
    assert [(skip.extension, skip.cause) for skip in record.skips] == [("s0", Cause.MALFORMED)]
    assert record.reports == {}


def test_one_that_fails_open_leaves_the_others_at_work() -> None:
    begun = talk(answering(Streams(), failing(Malformed("no")), covers=OPEN))
    begun.say(response(200, SSE))
    assert joined(begun.stream(response_body(b"one\ntwo", end=True))) == b"ONE\nTWO"


def test_nothing_is_open_once_headers_have_changed() -> None:
    broken = failing(Malformed("no"))
    broken.decides = Continue(remove_headers=("content-encoding",))
    begun = talk(answering(broken, covers=OPEN))
    begun.say(response(200, {**SSE, "content-encoding": "gzip"}))
    assert begun.stream(response_body(b"one\n", end=False)) == [immediate(502, "response_unprocessable")]


def test_what_fails_open_passes_only_as_much_as_a_buffer_would_hold() -> None:
    broken = failing(Malformed("no"), after=70_000)
    broken.max_body_bytes = 1
    begun = talk(answering(broken, covers=OPEN))
    begun.say(response(200, SSE))
    assert begun.stream(response_body(b"x" * 69_000, end=False)) == []
    assert begun.stream(response_body(b"x" * 2_000, end=False)) == [immediate(502, "response_unprocessable")]


def test_a_defect_tells_its_place_and_not_its_text() -> None:
    begun = talk(answering(failing(ValueError("secret text"))))
    begun.say(response(200, SSE))
    [answer] = begun.stream(response_body(b"one\n", end=False))
    assert answer == immediate(500, "policy_error")
    assert "secret" not in answer.outcome.respond.reason


def test_work_that_takes_too_long_is_cut() -> None:
    clock = Clock()

    class Slow(Lines):
        def feed(self, chunk: bytes) -> bytes:
            clock.advance(0.2)
            return super().feed(chunk)

    begun = Conversation(answering(Streams(transformer_=Slow())), clock=clock)
    begun.say(headers(end=True))
    begun.say(response(200, SSE))
    assert begun.stream(response_body(b"x" * 300_000, end=False)) == [immediate(504, "policy_timeout")]


def test_a_denial_at_the_end_breaks_the_stream_off() -> None:
    begun = talk(answering(Streams(transformer_=Lines(says=deny("pii_blocked")))))
    begun.say(response(200, SSE))
    answers = begun.stream(response_body(b"one\n", end=False), response_body(b"two", end=True))
    assert answers == [go_on(body=b"ONE\n", end=False), immediate(403, "pii_blocked")]


def test_headers_cannot_be_changed_when_they_have_left() -> None:
    late = Lines(says=Continue(set_headers={"x": "y"}))
    begun = talk(answering(Streams(transformer_=late)))
    begun.say(response(200, SSE))
    assert begun.stream(response_body(b"one\n", end=True)) == [immediate(500, "policy_error")]


def test_a_body_cannot_be_set_as_a_whole_where_it_passes() -> None:
    begun = talk(answering(Streams(decides=Continue(body=b"mine"))))
    assert begun.say(response(200, SSE)) == immediate(500, "policy_error")


def test_a_denial_by_the_headers_alone_is_an_answer() -> None:
    begun = talk(answering(Streams(decides=deny("forbidden"))))
    assert begun.say(response(200, SSE)) == immediate(403, "forbidden")


def test_after_a_stream_was_broken_off_pieces_on_their_way_are_dropped() -> None:
    begun = talk(answering(failing(Malformed("no"))))
    begun.say(response(200, SSE))
    assert len(begun.stream(response_body(b"one\n", end=False), response_body(b"two\n", end=False))) == 1


# Both directions at once


def test_an_answer_may_begin_before_the_request_has_ended() -> None:
    filters = (
        link("q", Streams(), Phase.REQUEST_BODY),
        link("s", Streams(), Phase.RESPONSE_BODY),
    )
    begun = Conversation(Chain(filters, authentication=False))
    begun.say(headers())
    begun.stream(body(b"a", end=False))
    begun.say(response(200, SSE))
    assert begun.stream(response_body(b"x\n", end=False)) == [go_on(body=b"X\n", end=False)]
    assert begun.stream(body(b"b", end=True)) == [go_on(body=b"AB", end=True)]
    assert begun.stream(response_body(b"y", end=True)) == [go_on(body=b"Y", end=True)]
    assert begun.end().reports == {"q": {"bytes": 2}, "s": {"bytes": 3}}


def test_trailers_of_a_streamed_request_are_removed_as_ever() -> None:
    chain = Chain((link("q", Streams(), Phase.REQUEST_BODY),), authentication=False)
    begun = Conversation(chain)
    begun.say(headers())
    begun.stream(body(b"a", end=False))
    assert begun.stream(trailers({"x": "y"})) == [go_on(body=b"A", end=False), go_on(removed={"x"})]
