"""What the downstream pass tells the tries of its exchange, in a token that nobody else can read."""

from dataclasses import replace

import pytest

from extproc.core.engine import Selection
from extproc.core.event import BodyMode, Event
from extproc.core.passport import Papers
from extproc.core.phase import Phase
from extproc.core.session import Session
from extproc.core.verdict import deny
from extproc.errors import TooLarge
from extproc.testing import Answer, go_on, headers, immediate
from extproc.testing.answer import answer
from extproc.testing.conversation import run
from tests.core.driving import PEER, Says, link
from tests.core.tries import AT, BACKEND, HEADER, QUERY, REQUEST, ROUTE, Gate, gate, in_query, injects


def downstream(found: Gate, event: Event, selection: Selection | None = None) -> tuple[Answer, str]:
    session = Session(found.engine(selection))
    (outcome,) = run(session.step(replace(event, attributes=AT, configured=(BodyMode.BUFFERED, BodyMode.BUFFERED))))
    session.close()
    return answer(outcome), outcome.passport


def test_the_two_passes_of_an_exchange() -> None:
    seen = Says()
    found = gate(link("see", seen, REQUEST), link("inject", injects(), Phase.REQUEST_HEADERS), left=HEADER)
    wire = headers(
        authorization="Bearer workload", cookie="c", proxy_authorization="p", x_team="a", x_extproc_pass="upstream"
    )
    _, token = downstream(found, wire)
    papers = found.passports.read(token)
    assert papers is not None
    assert papers.peer == PEER
    assert papers.arrived.headers.names() == {"x-team"}
    assert papers.held == HEADER
    assert found.try_(headers(authorization="Bearer sk-canary"), token=token) == [go_on()]
    assert seen.seen[0][1].peer == PEER


def test_a_query_parameter_of_the_downstream_pass_is_held() -> None:
    found = gate(link("inject", in_query(), Phase.REQUEST_HEADERS))
    _, token = downstream(found, headers(authorization="Bearer workload"))
    papers = found.passports.read(token)
    assert papers is not None
    assert papers.held == QUERY


@pytest.mark.parametrize("tries", [True, False])
def test_a_token_is_made_where_a_try_needs_one(tries: bool) -> None:
    found = gate()
    selection = Selection(found.chains[BACKEND], ROUTE, BACKEND, found.names if tries else frozenset())
    _, token = downstream(found, headers(authorization="Bearer workload"), selection)
    assert bool(token) is tries


def test_what_is_denied_has_no_token() -> None:
    found = gate(link("a", Says(deny("forbidden")), Phase.REQUEST_HEADERS))
    denied, token = downstream(found, headers(authorization="Bearer workload"))
    assert (denied, token) == (immediate(403), "")


def test_papers_too_large_for_a_token_are_refused() -> None:
    class Small:
        def issue(self, papers: Papers) -> str:
            raise TooLarge("the headers are too large")

        def read(self, token: str) -> Papers | None:
            return None

    found = gate()
    session = Session(replace(found.engine(), passports=Small()))
    event = replace(headers(authorization="Bearer workload"), attributes=AT, configured=(BodyMode.BUFFERED,) * 2)
    (outcome,) = run(session.step(event))
    assert answer(outcome) == immediate(400, "bad_request")


def test_no_token_is_in_a_repr() -> None:
    found = gate()
    session = Session(found.engine())
    event = replace(headers(authorization="Bearer workload"), attributes=AT, configured=(BodyMode.BUFFERED,) * 2)
    (outcome,) = run(session.step(event))
    assert outcome.passport
    shown = repr(outcome) + repr(session) + repr(replace(event, passport=outcome.passport))
    assert outcome.passport not in shown
