"""Other people's filters that do what they may not while a body passes: nothing is lost, nothing passes unseen."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from extproc.core.chain import Chain
from extproc.core.event import BodyMode
from extproc.core.exchange import Exchange
from extproc.core.filter import EndOfBody, Reading
from extproc.core.phase import Phase
from extproc.core.verdict import Continue, Verdict, deny
from extproc.core.whole import BITE
from extproc.errors import Cause, Malformed
from extproc.testing import (
    Clock,
    Conversation,
    body,
    go_on,
    headers,
    immediate,
    response,
    response_body,
    response_trailers,
)
from tests.core.driving import link
from tests.core.streaming import OPEN, SSE, Lines, Settles, Streams, answering, joined, talk

NOT_EXCEPTIONS = (asyncio.CancelledError(), SystemExit(1), KeyboardInterrupt(), GeneratorExit())


# What is raised that is no Exception


@pytest.mark.parametrize("error", NOT_EXCEPTIONS, ids=repr)
@pytest.mark.parametrize("where", ["feed", "finish", "conclude", "behind"])
def test_nothing_that_it_raises_ends_the_server(error: BaseException, where: str) -> None:
    class Raises(Lines):
        def __getattribute__(self, name: str) -> Any:
            if name == where:
                raise error
            return super().__getattribute__(name)

    begun = talk(answering(Streams(transformer_=Raises())))
    begun.say(response(200, SSE))
    answers = begun.stream(response_body(b"one\n", end=True))
    assert answers == [immediate(500, "policy_error")]
    assert begun.end().code == "policy_error"


@pytest.mark.parametrize("error", NOT_EXCEPTIONS, ids=repr)
def test_nothing_that_it_raises_when_all_is_over_keeps_the_others_from_settling(error: BaseException) -> None:
    class Raises(Lines):
        def conclude(self) -> Verdict:
            raise error

    takes = Settles(Reading.NOTHING, decides=Continue(state="taken"))
    chain = Chain(
        (
            link("takes", takes, Phase.REQUEST_HEADERS),
            link("raises", Streams(transformer_=Raises()), Phase.RESPONSE_BODY),
        ),
        authentication=False,
    )
    begun = talk(chain)
    begun.say(response(200, SSE))
    begun.stream(response_body(b"one\n", end=False))
    assert begun.end() is not None
    assert takes.settled == [("taken", True)]


@pytest.mark.parametrize("error", NOT_EXCEPTIONS, ids=repr)
def test_one_that_cannot_say_what_it_needs_gets_it_all_whatever_it_raises(error: BaseException) -> None:
    class Raises(Streams):
        def reading(self, phase: Phase, exchange: Exchange) -> Reading:
            raise error

    begun = Conversation(answering(Raises()))
    [answer] = begun.stream(headers(end=True))
    assert answer.outcome.modes.response_body is BodyMode.BUFFERED


# What it says of a body


class Undecided(Streams):
    """Says at first that it only watches, and later something else."""

    def __init__(self, *readings: object) -> None:
        super().__init__()
        self.readings = list(readings)

    def reading(self, phase: Phase, exchange: Exchange) -> Any:
        return self.readings.pop(0) if len(self.readings) > 1 else self.readings[0]


@pytest.mark.parametrize("later", [Reading.NOTHING, Reading.STREAM, Reading.WHOLE, "garbage", None])
def test_one_that_works_on_more_than_it_said_is_a_defect(later: object) -> None:
    """Envoy does not take from us what it was told that nobody changes: the work would be lost without a word."""
    begun = talk(answering(Undecided(Reading.WATCH, Reading.WATCH, later)))
    assert begun.stream(response(200, SSE)) == [immediate(500, "policy_error")]


def test_one_that_wants_more_than_it_said_may_be_passed_over() -> None:
    begun = talk(answering(Undecided(Reading.WATCH, Reading.WATCH, Reading.STREAM), covers=OPEN))
    assert begun.stream(response(200, SSE), response_body(b"one\n", end=True)) == [go_on(), go_on()]
    assert [(skip.extension, skip.cause) for skip in begun.end().skips] == [("s0", Cause.DEFECT)]


@pytest.mark.parametrize("given", ["text", None, 7, bytearray(b"x")])
@pytest.mark.parametrize("how", [Reading.STREAM, Reading.WATCH])
def test_what_is_no_bytes_is_its_own_defect(given: object, how: Reading) -> None:
    class Gives(Lines):
        def feed(self, chunk: bytes) -> Any:
            return given

        def finish(self) -> Iterable[bytes]:
            return []

    begun = talk(answering(Streams(how, transformer_=Gives()), covers=OPEN))
    begun.say(response(200, SSE))
    [answer] = begun.stream(response_body(b"one\n", end=True))
    assert (answer.body or b"one\n") == b"one\n"
    assert bool(begun.end().skips) is (how is Reading.STREAM)


def test_an_end_with_what_is_no_bytes_is_a_defect() -> None:
    class Ends(Lines):
        def feed(self, chunk: bytes) -> bytes:
            raise EndOfBody("over")  # type: ignore[arg-type]

    begun = talk(answering(Streams(transformer_=Ends()), Streams()))
    begun.say(response(200, SSE))
    assert begun.stream(response_body(b"one\n", end=False)) == [immediate(500, "policy_error")]


def test_a_watcher_that_ends_the_body_may_be_passed_over() -> None:
    class Ends(Lines):
        def feed(self, chunk: bytes) -> bytes:
            raise EndOfBody(b"over")

    begun = talk(answering(Streams(Reading.WATCH, transformer_=Ends()), covers=OPEN))
    begun.say(response(200, SSE))
    assert begun.stream(response_body(b"one\n", end=True)) == [go_on()]


# Time


@dataclass
class Slow(Lines):
    """Holds everything back, and takes its time."""

    clock: Clock = field(default_factory=Clock)
    seconds: float = 0.2

    def feed(self, chunk: bytes) -> bytes:
        self.clock.advance(self.seconds)
        self.held += chunk
        return b""

    def finish(self) -> Iterable[bytes]:
        yield b""
        self.clock.advance(self.seconds)
        yield b""
        yield self.held


@pytest.mark.parametrize("bites", [1, 2, 3, 20])
@pytest.mark.parametrize("seconds", [0.01, 0.1, 0.2, 0.3, 5.0])
def test_one_that_runs_out_of_time_loses_nothing_of_the_body(bites: int, seconds: float) -> None:
    """Neither the bite before which the time was over, nor those that come after it."""
    clock = Clock()
    chain = answering(Streams(transformer_=Slow(clock=clock, seconds=seconds)), covers=OPEN)
    begun = Conversation(chain, clock=clock)
    begun.say(headers(end=True))
    begun.say(response(200, SSE))
    sent = [bytes([number]) * BITE for number in range(bites)]
    answers = begun.stream(response_body(b"".join(sent), end=False), response_body(b"last", end=True))
    assert joined(answers) == b"".join(sent) + b"last"
    assert answers[-1].end is True


def test_one_that_never_catches_up_is_cut() -> None:
    clock = Clock()

    class Behind(Lines):
        behind = True

        def feed(self, chunk: bytes) -> bytes:
            clock.advance(0.01)
            return b""

    begun = Conversation(answering(Streams(transformer_=Behind())), clock=clock)
    begun.say(headers(end=True))
    begun.say(response(200, SSE))
    assert begun.stream(response_body(b"x", end=False)) == [immediate(504, "policy_timeout")]


# What was found before


@dataclass
class Says(Lines):
    verdict: Verdict | BaseException = field(default_factory=Continue)

    def conclude(self) -> Verdict:
        if isinstance(self.verdict, BaseException):
            raise self.verdict
        return self.verdict


@pytest.mark.parametrize("last", [deny("forbidden"), Malformed("late"), ValueError(), Continue(set_headers={"x": "y"})])
@pytest.mark.parametrize("trailers", [True, False])
def test_what_one_found_is_known_though_another_fails_at_the_end(last: Any, trailers: bool) -> None:
    takes = Settles(decides=Continue(state="taken"))
    takes.follow_ups = frozenset({Phase.RESPONSE_BODY})  # type: ignore[attr-defined]
    chain = Chain(
        (
            link("fails", Streams(transformer_=Says(verdict=last)), Phase.RESPONSE_BODY, priority=0),
            link("takes", takes, Phase.REQUEST_HEADERS, priority=10),
        ),
        authentication=False,
    )
    begun = talk(chain)
    begun.say(response(200, SSE))
    begun.stream(response_body(b"one\n", end=not trailers), *([response_trailers({})] if trailers else []))
    begun.end()
    assert takes.settled == [(4, True)]


def test_what_an_answer_has_cost_is_not_given_back_when_somebody_denies_it() -> None:
    """An upstream has been asked: what it has told is settled, and not returned as if nobody had asked."""

    @dataclass
    class Takes(Settles):
        returned: list[Phase] = field(default_factory=list)
        follow_ups: frozenset[Phase] = frozenset({Phase.RESPONSE_BODY})

        async def give_back(self, phase: Phase, exchange: Exchange) -> None:
            self.returned.append(phase)

    takes = Takes(Reading.WATCH, decides=Continue(state="taken"))
    denies = Streams(Reading.WHOLE, decides=deny("pii_blocked"))
    chain = Chain(
        (link("denies", denies, Phase.RESPONSE_BODY), link("takes", takes, Phase.REQUEST_HEADERS, priority=10)),
        authentication=False,
    )
    begun = talk(chain)
    begun.say(response(200))
    assert begun.stream(response_body(b"four", end=True)) == [immediate(403, "pii_blocked")]
    begun.end()
    assert (takes.returned, takes.settled) == ([], [(4, True)])


# What is kept


def test_the_body_of_a_request_is_not_kept_for_as_long_as_its_answer_takes() -> None:
    seen: list[bytes | None] = []

    class Looks(Streams):
        async def decide(self, phase: Phase, exchange: Exchange) -> Verdict:
            seen.append(exchange.request.body)
            return Continue()

    looks = Looks(Reading.WHOLE, transformer_=None)
    chain = Chain(
        (link("in", looks, Phase.REQUEST_BODY), link("out", looks, Phase.RESPONSE_HEADERS)), authentication=False
    )
    begun = Conversation(chain)
    begun.say(headers())
    begun.say(body(b"a question"))
    begun.say(response(200))
    assert seen == [b"a question", None]


def test_what_happened_at_the_end_is_told_with_the_trailers() -> None:
    begun = talk(answering(Streams(Reading.WHOLE)))
    begun.say(response(200))
    [answer] = begun.stream(response_trailers({"x": "y"}))
    assert answer.outcome.metadata["decisions"] == {"s0/response-body": "continue"}


def test_no_body_is_in_a_repr() -> None:
    event = response_body(b"hush-hush", end=True)
    verdict = Continue(body=b"hush-hush")
    begun = talk(answering(Streams(Reading.WHOLE, transformer_=None)))
    begun.say(response(200))
    [answer] = begun.stream(event)
    outcome = replace(answer.outcome, body=b"hush-hush")
    assert "hush" not in repr((event, verdict, outcome, begun.session))
