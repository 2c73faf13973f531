"""The end of an exchange, however it comes: what was taken is settled once, and what became of it is told."""

import pytest

from extproc.core.chain import Chain
from extproc.core.exchange import Exchange
from extproc.core.filter import Reading
from extproc.core.link import Link
from extproc.core.phase import Phase
from extproc.core.verdict import Continue, Verdict, deny
from extproc.errors import Cause
from extproc.testing import Conversation, body, headers, response, response_body
from tests.core.driving import Says, authn, link
from tests.core.streaming import SSE, Settles, Streams, answering, talk


def taking(*others: Link, how: Reading = Reading.STREAM) -> tuple[Settles, Chain]:
    takes = Settles(how, decides=Continue(state="taken"))
    return takes, Chain((link("takes", takes, Phase.REQUEST_HEADERS), *others), authentication=False)


def test_what_was_taken_is_settled_when_all_is_over() -> None:
    takes, chain = taking()
    begun = Conversation(chain)
    begun.say(headers(end=True))
    begun.say(response(200))
    assert begun.end().reports == {"takes": {"settled": 1}}
    assert takes.settled == [("taken", True)]


def test_who_settles_needs_to_know_whether_anybody_answered() -> None:
    _, chain = taking(how=Reading.WATCH)
    begun = Conversation(chain)
    assert begun.say(headers(end=True)).outcome.modes.response_headers is True


@pytest.mark.parametrize(
    ("details", "reached"),
    [
        ("via_upstream", True),
        ("response_timeout", True),
        ("upstream_reset_before_response_started{connection_termination}", True),
        ("upstream_reset_before_response_started{remote_connection_failure,delayed_connect_error:_111}", False),
        ("no_healthy_upstream", False),
    ],
)
def test_what_never_reached_an_upstream_is_told(details: str, reached: bool) -> None:
    takes, chain = taking()
    begun = Conversation(chain)
    begun.say(headers(end=True))
    begun.say(response(200, attributes={"response.code_details": details}))
    begun.end()
    assert takes.settled == [("taken", reached)]


def test_a_request_that_was_denied_later_reached_nobody() -> None:
    takes, chain = taking(link("no", Streams(Reading.WHOLE, decides=deny("forbidden")), Phase.REQUEST_BODY))
    begun = Conversation(chain)
    begun.say(headers())
    begun.say(body(b"x"))
    begun.end()
    assert takes.settled == [("taken", False)]


def test_a_client_that_left_while_its_request_was_judged_reached_nobody() -> None:
    takes, chain = taking(link("b", Streams(Reading.WHOLE), Phase.REQUEST_BODY))
    begun = Conversation(chain)
    begun.say(headers())
    begun.end()
    assert takes.settled == [("taken", False)]


class Gone(BaseException):
    """As a cancellation: a client goes away while somebody waits."""


def leaves(*_: object) -> Verdict:
    raise Gone


def test_a_client_that_left_in_the_middle_of_a_phase_is_settled_and_told() -> None:
    """What ran before has decided, and what it took is returned: no request went out."""
    takes, chain = taking(link("waits", Says(leaves), priority=1))
    begun = Conversation(Chain((authn(), *chain.links)))
    with pytest.raises(Gone):
        begun.say(headers(end=True))
    record = begun.end()
    assert takes.settled == [("taken", False)]
    assert (record.service_account, [one.extension for one in record.decisions]) == ("default", ["authn", "takes"])


def test_a_client_that_left_while_a_streamed_body_was_made_ready_is_settled() -> None:
    class Waits(Streams):
        async def decide(self, phase: Phase, exchange: Exchange) -> Verdict:
            raise Gone

    takes = Settles(decides=Continue(state="taken"))
    begun = talk(answering(takes, Waits()))
    with pytest.raises(Gone):
        begun.say(response(200, SSE))
    begun.end()
    assert takes.settled == [("taken", True)]


class Returns(Settles):
    """Gives back what it took, and waits for that if it is told to."""

    def __init__(self, waits: bool = False) -> None:
        super().__init__(decides=Continue(state="taken"))
        self.waits, self.returned = waits, 0

    async def give_back(self, phase: Phase, exchange: Exchange) -> None:
        self.returned += 1
        if self.waits:
            raise Gone


def test_what_is_being_given_back_is_not_settled_too() -> None:
    """The client goes away in the middle of it: the one is asked to give back, the other to settle, and none is asked twice."""
    first, second = Returns(), Returns(waits=True)
    links = link("first", first), link("second", second, priority=1), link("no", Says(deny("forbidden")), priority=2)
    begun = Conversation(Chain(links, authentication=False))
    with pytest.raises(Gone):
        begun.say(headers(end=True))
    begun.end()
    assert (first.returned, first.settled) == (0, [("taken", False)])
    assert (second.returned, second.settled) == (1, [])


def test_a_client_that_left_in_the_middle_of_the_answer_is_settled_with_what_was_seen() -> None:
    both = Settles(decides=Continue(state="taken"))
    both.follow_ups = frozenset({Phase.RESPONSE_BODY})  # type: ignore[attr-defined]
    begun = Conversation(Chain((link("takes", both, Phase.REQUEST_HEADERS),), authentication=False))
    begun.say(headers(end=True))
    begun.say(response(200, SSE))
    begun.stream(response_body(b"one\ntwo", end=False))
    record = begun.end()
    assert both.settled == [(7, True)]
    assert [(each.phase, each.word) for each in record.decisions][-1] == (Phase.RESPONSE_BODY, "unfinished")


def test_what_cannot_be_settled_is_told() -> None:
    _, chain = taking(how=Reading.NOTHING)
    begun = Conversation(chain)
    begun.say(headers(end=True))
    begun.say(response(200))
    assert [(each.extension, each.cause) for each in begun.end().unsettled] == [("takes", Cause.UNAVAILABLE)]
