"""What a record says for traces and of the bytes of bodies; and that it says nothing of traces where none are wanted."""

from dataclasses import replace

from extproc.core.event import BodyMode
from extproc.core.phase import Phase
from extproc.core.trace import Trace
from extproc.core.upstream import UpstreamSession
from extproc.core.verdict import Continue
from extproc.errors import Cause, Unavailable
from extproc.testing import body, chain, headers, response, response_body
from extproc.testing.conversation import Conversation
from extproc.testing.outside import Clock
from tests.core.driving import Says, link
from tests.core.tries import AT, BACKEND, asked, gate

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
NAMED = f"00-{TRACE}-{PARENT}-01"


def slow(clock: Clock, seconds: float, error: Exception | None = None) -> Says:
    def decide(*_: object) -> Continue:
        clock.advance(seconds)
        if error:
            raise error
        return Continue()

    return Says(decide)


def conversation(clock: Clock, *links: object, traces: bool = True) -> Conversation:
    found = Conversation(chain(*links), clock=clock)
    found.session.engine = replace(found.session.engine, traces=traces)
    return found


def test_when_it_began_and_which_trace_it_belongs_to() -> None:
    clock = Clock(100.0)
    one = conversation(clock, link("a", Says()))
    one.say(headers(traceparent=NAMED))
    clock.advance(5)
    record = one.end()
    assert record is not None
    assert (record.began, record.trace) == (100.0, Trace(TRACE, PARENT, 1))


def test_where_no_traces_are_wanted_nobody_looks() -> None:
    one = conversation(Clock(100.0), link("a", Says()), traces=False)
    one.say(headers(traceparent=NAMED))
    record = one.end()
    assert record is not None
    assert (record.began, record.trace) == (0.0, None)


def test_a_request_that_is_none_is_of_its_trace_too() -> None:
    one = conversation(Clock(100.0), link("a", Says()))
    one.say(headers(host="", traceparent=NAMED))
    record = one.end()
    assert record is not None
    assert (record.code, record.trace) == ("bad_request", Trace(TRACE, PARENT, 1))


def test_each_decision_and_each_skip_says_from_when_to_when() -> None:
    clock = Clock(100.0)
    covers = frozenset({Cause.UNAVAILABLE})
    first, second = link("a", slow(clock, 0.25)), link("b", slow(clock, 0.125, Unavailable("x")), covers=covers)
    one = conversation(clock, first, second)
    one.say(headers(traceparent=NAMED))
    record = one.end()
    assert record is not None
    (decision,), (skip,) = record.decisions, record.skips
    assert (decision.began, decision.ended, decision.seconds) == (100.0, 100.25, 0.25)
    assert (skip.began, skip.ended, skip.seconds) == (100.25, 100.375, 0.125)


def test_the_bytes_of_bodies_are_counted_by_direction() -> None:
    both = link("a", Says(), Phase.REQUEST_BODY), link("b", Says(), Phase.RESPONSE_BODY)
    one = Conversation(chain(*both), configured=(BodyMode.BUFFERED, BodyMode.BUFFERED))
    one.say(headers(end=False))
    one.say(body(b"x" * 10))
    one.say(response(end=False))
    one.say(response_body(b"y" * 300))
    record = one.end()
    assert record is not None
    assert (record.request_bytes, record.response_bytes) == (10, 300)


def test_a_try_is_of_the_trace_that_its_request_names() -> None:
    found = gate(link("a", Says(), Phase.BACKEND_REQUEST))
    session = UpstreamSession(replace(found.engine(), traces=True), backend=str(BACKEND))
    event = replace(headers(traceparent=NAMED, attributes=AT), passport=found.token())
    asked(session, event)
    session.close()
    (record,) = found.records
    assert (record.is_try, record.trace) == (True, Trace(TRACE, PARENT, 1))
    assert record.began == found.clock()


def test_the_metadata_say_once_what_was_used() -> None:
    told = Says(Continue(report={"input_tokens": 7, "output_tokens": 5, "total_tokens": 12, "charged_tokens": 20}))
    one = conversation(Clock(), link("tight", told), link("wide", told), traces=False)
    (found,) = (answer.outcome.metadata for answer in one.stream(headers(end=True)))
    assert found is not None
    assert found["usage"] == {"input_tokens": 7, "output_tokens": 5, "total_tokens": 12}
