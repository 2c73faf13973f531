"""A header that chooses routes has changed: the engine chooses too, and nothing escapes its chain."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from extproc.core.admission import Admission
from extproc.core.chain import Chain
from extproc.core.engine import Engine, Selection
from extproc.core.event import BodyMode, Event, Outcome, Record
from extproc.core.link import Link
from extproc.core.message import Request
from extproc.core.passport import Papers
from extproc.core.peer import Backend, Route
from extproc.core.phase import Phase
from extproc.core.secret import seal
from extproc.core.session import Session
from extproc.core.verdict import Continue, Respond, deny
from extproc.testing import body, headers, response, run, trailers
from extproc.testing.conversation import pace
from tests.core.driving import Says, Takes, link

ONE = Backend("egress", "one", "one.test", 443, frozenset({"egress/one"}))
TWO = Backend("egress", "two", "two.test", 443, frozenset({"egress/two"}))
ROUTE = Route("egress", "r")
BUFFERED = (BodyMode.BUFFERED, BodyMode.BUFFERED)


class Chooses(Says):
    """Sets `x-to` to what it is told."""

    reroutes = frozenset({"x-to"})


def chooser(value: str | None = "two", phase: Phase = Phase.REQUEST_BODY) -> Link:
    verdict = Continue() if value is None else Continue(set_headers={"x-to": value})
    return link("chooser", Chooses(verdict), phase)


@dataclass
class Two:
    """`x-to: two` leads to the one, everything else to the other."""

    first: Chain
    second: Selection | Respond
    asked: list[Request] = field(default_factory=list)
    gateway: str = "egress/egress"
    budget: float = 1.0
    identity_headers: frozenset[str] = frozenset()
    request_trailers: frozenset[str] = frozenset()
    routing_headers: frozenset[str] = frozenset({"x-to"})

    stands: bool = False

    def select(self, request: Request, cluster: str) -> Selection:
        self.asked.append(request)
        return Selection(self.first, ROUTE, ONE, frozenset({"egress/one"}))

    def select_again(self, request: Request) -> Selection | Respond | None:
        if self.stands:
            return None
        return self.second if request.headers.get("x-to") == "two" else self.select(request, "")


@dataclass
class Passports:
    issued: list[Papers] = field(default_factory=list)

    def issue(self, papers: Papers) -> str:
        self.issued.append(papers)
        return f"token-{len(self.issued)}"

    def read(self, token: str) -> Papers | None:
        raise NotImplementedError


@dataclass
class Talk:
    policy: Two
    passports: Passports = field(default_factory=Passports)
    records: list[Record] = field(default_factory=list)

    def __post_init__(self) -> None:
        engine = Engine(
            self.policy, pace(), Admission(), lambda found, _: found, self.records.append, self.passports, routing=self.policy
        )  # fmt: skip
        self.session = Session(engine)

    def say(self, event: Event) -> Outcome:
        configured: Any = BUFFERED if event.configured is None else event.configured
        [outcome] = run(self.session.step(Event(event.direction, event.part, event.fields, event.body, event.end,
                                                {"xds.cluster_name": "egress/one"}, configured)))  # fmt: skip
        return outcome


def chain(*links: Link) -> Chain:
    return Chain(links, False)


def same(*links: Link) -> Two:
    """Both routes want these links."""
    return Two(chain(*links), Selection(chain(*links), Route("egress", "other"), TWO, frozenset({"egress/two"})))


def test_the_exchange_is_one_of_the_new_route_from_then_on() -> None:
    seen = Says()
    talk = Talk(same(chooser(), link("late", seen, Phase.RESPONSE_HEADERS)))
    first, second = talk.say(headers()), talk.say(body(b"{}"))
    assert (first.reroute, second.reroute) == (False, True)
    assert (first.passport, second.passport) == ("token-1", "token-2")
    assert [papers.backends for papers in talk.passports.issued] == [{"egress/one"}, {"egress/two"}]
    assert str(talk.passports.issued[1].route) == "egress/other"
    talk.session.close()
    assert (talk.records[0].route, talk.records[0].backend) == ("egress/other", "egress/two")


def test_expressions_see_the_new_route() -> None:
    seen: list[object] = []

    def look(phase: Phase, exchange: Any) -> Continue:
        seen.append((exchange.variables["backend"]["name"], exchange.variables["route"]["name"]))
        return Continue()

    talk = Talk(same(link("early", Says(look)), chooser(), link("late", Says(look), Phase.RESPONSE_HEADERS)))
    talk.say(headers())
    talk.say(body(b"{}"))
    talk.say(response(200))
    assert seen == [("one", "r"), ("two", "other")]


def test_a_header_of_the_caller_is_seen_by_nobody_and_routes_anew() -> None:
    talk = Talk(same(chooser(None)))
    first = talk.say(headers(x_to="two"))
    assert first.reroute
    assert first.change.remove == ("x-to",)
    assert all("x-to" not in request.headers for request in talk.policy.asked)
    assert not talk.say(body(b"{}")).reroute


def test_headers_that_end_the_request_route_anew_at_once() -> None:
    outcome = Talk(same(chooser())).say(headers(end=True))
    assert outcome.reroute
    assert dict(outcome.change.set) == {"x-to": (b"two",)}


def test_a_chain_that_sets_the_header_early_routes_anew_before_the_body() -> None:
    talk = Talk(same(chooser(phase=Phase.REQUEST_HEADERS), link("b", Says(), Phase.REQUEST_BODY)))
    assert talk.say(headers()).reroute
    assert not talk.say(body(b"{}")).reroute


@pytest.mark.parametrize(
    "second",
    [
        lambda mine: Selection(chain(*mine, link("more", Says())), ROUTE, TWO),
        lambda mine: Selection(chain(*mine, link("more", Says(), Phase.RESPONSE_BODY)), ROUTE, TWO),
        lambda mine: Selection(chain(), ROUTE, TWO),
        lambda mine: deny("no_backend"),
    ],
)
def test_a_route_that_wants_others_is_not_taken(second: Callable[[tuple[Link, ...]], Selection | Respond]) -> None:
    takes = Takes()
    mine = (chooser(), link("takes", takes, Phase.REQUEST_BODY, priority=1))
    talk = Talk(Two(chain(*mine), second(mine)))
    talk.say(headers())
    outcome = talk.say(body(b"{}"))
    assert outcome.respond is not None
    assert outcome.respond.code in ("backend_mismatch", "no_backend")
    assert takes.returned == ["receipt"]
    assert not outcome.reroute


def test_extensions_of_its_tries_may_differ() -> None:
    mine = chooser()
    theirs = Selection(chain(mine, link("try", Says(), Phase.BACKEND_REQUEST)), ROUTE, TWO)
    talk = Talk(Two(chain(mine), theirs))
    talk.say(headers())
    assert talk.say(body(b"{}")).reroute


def test_a_credential_does_not_go_along() -> None:
    secret = Continue(set_headers={"authorization": seal(b"k")})
    talk = Talk(same(link("inject", Says(secret)), chooser()))
    talk.say(headers())
    outcome = talk.say(body(b"{}"))
    assert outcome.respond is not None
    assert (outcome.respond.code, outcome.passport) == ("backend_mismatch", "")
    query = Continue(set_query={"key": seal(b"k")})
    talk = Talk(same(link("inject", Says(query)), chooser(None)))
    spoofed = talk.say(headers(x_to="two"))
    assert spoofed.respond is not None
    assert spoofed.respond.code == "backend_mismatch"


def test_what_a_caller_guessed_right_is_chosen_here_too() -> None:
    """Envoy has chosen by the caller's header, and the extension sets the same at once."""
    talk = Talk(same(chooser(phase=Phase.REQUEST_HEADERS)))
    outcome = talk.say(headers(x_to="two"))
    assert (outcome.reroute, outcome.passport) == (True, "token-2")
    talk.session.close()
    assert (talk.records[0].route, talk.records[0].backend) == ("egress/other", "egress/two")


def test_where_envoy_need_not_choose_it_is_not_asked_to() -> None:
    policy = same(link("inject", Says(Continue(set_headers={"authorization": seal(b"k")}))), chooser())
    policy.stands = True
    talk = Talk(policy)
    assert not talk.say(headers(x_to="two")).reroute
    outcome = talk.say(body(b"{}"))
    assert (outcome.respond, outcome.reroute, outcome.passport) == (None, False, "")
    talk.session.close()
    assert (talk.records[0].route, talk.records[0].backend) == ("egress/r", "egress/one")


def test_a_header_that_only_others_choose_by_is_no_way_round() -> None:
    """Its caller sent it, Envoy chose by it, and nothing in this chain would set it."""
    talk = Talk(same(link("other", Says())))
    outcome = talk.say(headers(x_to="two"))
    assert (outcome.reroute, outcome.change.remove) == (True, ("x-to",))


def test_a_passport_of_the_route_before_is_not_shown_again() -> None:
    mine = chooser()
    talk = Talk(Two(chain(mine), Selection(chain(mine), ROUTE, TWO)))
    assert talk.say(headers()).passport == "token-1"
    assert talk.say(body(b"{}")).passport == ""


def test_after_a_new_choice_no_cluster_is_known() -> None:
    talk = Talk(same(chooser()))
    talk.say(headers())
    talk.say(body(b"{}"))
    state = talk.session._state
    assert state is not None
    assert state.cluster == ""


def test_a_trailer_is_no_header_that_routes_are_chosen_by() -> None:
    policy = same(chooser())
    policy.request_trailers = frozenset({"x-to", "x-fine"})
    talk = Talk(policy)
    talk.say(headers())
    talk.say(body(b"{}", end=False))
    assert talk.say(trailers({"x-to": "two", "x-fine": "1"})).change.remove == ("x-to",)
