"""One try of an exchange as a conversation: who may open it, what runs in it, what it is told."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.core.chain import Chain
from extproc.core.event import BodyMode, Event, Modes
from extproc.core.exchange import Exchange
from extproc.core.link import Link
from extproc.core.peer import Backend
from extproc.core.phase import Phase
from extproc.core.secret import seal
from extproc.core.session import Session
from extproc.core.upstream import UpstreamSession, begin
from extproc.core.verdict import Continue, Verdict, deny
from extproc.errors import Cause, ProtocolError, Unavailable
from extproc.testing import (
    Immediate,
    body,
    go_on,
    headers,
    immediate,
    response,
    response_body,
    response_trailers,
    trailers,
)
from extproc.testing.answer import answer
from extproc.testing.conversation import run
from extproc.testing.outside import compiled
from tests.core.driving import PEER, Says, authn, link
from tests.core.tries import (
    AT,
    BACKEND,
    CONNECT,
    KEY,
    OTHER,
    REQUEST,
    RESPONSE,
    ROUTE,
    Gate,
    asked,
    gate,
    injects,
)

# Who may open it


@pytest.mark.parametrize(
    "forge",
    [
        lambda gate: "",
        lambda gate: "forged",
        lambda gate: gate.token()[:-2],
        lambda gate: Gate(gate.chains, key=b"k" * 32).token(),
        lambda gate: Gate(gate.chains, gateway="egress/other").token(),
        lambda gate: [gate.token(), gate.clock.advance(4000)][0],
    ],
    ids=["none", "forged", "cut", "another key", "another gateway", "expired"],
)
def test_without_a_valid_token_it_is_401(forge: Callable[[Gate], str]) -> None:
    seen = Says()
    found = gate(link("inject", seen, REQUEST))
    assert found.try_(headers(), token=forge(found)) == [immediate(401, "unauthenticated")]
    assert seen.seen == []
    assert [(record.code, record.is_try) for record in found.records] == [("unauthenticated", True)]


def test_an_engine_without_passports_lets_nothing_pass() -> None:
    found = gate()
    engine = replace(found.engine(), passports=None)
    session = UpstreamSession(engine, backend=str(BACKEND))
    assert asked(session, replace(headers(), passport=found.token())) == immediate(401)


@pytest.mark.parametrize("backend", [OTHER, Backend("egress", "none", "x", 1), Backend("", "", "x", 1)])
def test_a_backend_that_the_downstream_pass_did_not_mean_is_403(backend: Backend) -> None:
    found = gate()
    found.chains[OTHER] = Chain()
    token = found.token(backends=frozenset({str(BACKEND)}))
    assert found.try_(headers(attributes=AT), token=token, backend=backend) == [immediate(403, "backend_mismatch")]


def test_a_route_that_is_not_there_any_more_is_403() -> None:
    found = gate()
    assert found.try_(headers(), token=found.token(route=None)) == [immediate(403, "backend_mismatch")]


@pytest.mark.parametrize("cluster", ["egress/other", "", "egress/openai2"])
def test_a_credential_leaves_for_the_clusters_of_its_backend_alone(cluster: str) -> None:
    found = gate(link("inject", injects(), REQUEST))
    event = headers(attributes={"xds.cluster_name": cluster} if cluster else {"x": "y"})
    assert found.try_(event) == [immediate(403, "backend_mismatch")]


def test_a_credential_leaves_for_the_backends_of_its_source_alone() -> None:
    secret = seal(KEY, frozenset({"egress/other"}))
    found = gate(link("inject", Says(Continue(set_headers={"x-key": secret})), REQUEST))
    assert found.try_(headers()) == [immediate(403, "backend_mismatch")]


def test_a_filter_that_would_send_bodies_is_refused() -> None:
    event = replace(headers(), configured=(BodyMode.BUFFERED, BodyMode.NONE))
    assert gate().try_(event) == [immediate(503, "policy_unavailable")]
    assert gate().try_(replace(event, configured=(BodyMode.NONE, BodyMode.NONE))) == [go_on()]


@pytest.mark.parametrize("event", [headers(path="/a/../b"), headers(host="a,b"), headers(method="TRACE")])
def test_what_cannot_be_routed_safely_is_refused_here_too(event: Event) -> None:
    (found,) = gate().try_(event)
    assert isinstance(found, Immediate)
    assert found.status in (400, 403)


# The order


def test_connect_comes_before_backend_request_and_answers_come_in_reverse() -> None:
    told: list[str] = []

    def says(name: str) -> Says:
        def decide(phase: Phase, exchange: Exchange) -> Verdict:
            told.append(f"{name} {phase}")
            return Continue()

        return Says(decide)

    found = gate(
        link("a", says("a"), REQUEST),
        link("b", says("b"), CONNECT, priority=9),
        link("c", says("c"), REQUEST, priority=1),
        link("d", says("d"), RESPONSE),
        link("e", says("e"), RESPONSE, priority=1),
        link("f", says("f")),
    )
    assert found.try_(headers(), response()) == [go_on(), go_on()]
    assert told == ["b connect", "a backend-request", "c backend-request", "e backend-response", "d backend-response"]
    (record,) = found.records
    assert [decision.phase for decision in record.decisions] == [CONNECT, REQUEST, REQUEST, RESPONSE, RESPONSE]
    assert (record.is_try, record.request_id, record.route) == (True, "request-1", str(ROUTE))
    assert (record.namespace, record.backend) == ("ai", str(BACKEND))


@pytest.mark.parametrize(
    "events",
    [
        [response()],
        [response_trailers()],
        [body(b"x")],
        [headers(), body(b"x")],
        [headers(), headers()],
        [headers(end=True), trailers()],
        [headers(), response(), response()],
        [headers(), response(), headers()],
        [headers(), response(end=True), response_trailers()],
        [headers(), response(attributes={"response.code_details": "via_upstream"}), body(b"")],
    ],
)
def test_what_cannot_come_there_ends_the_stream_with_an_error(events: list[Event]) -> None:
    with pytest.raises(ProtocolError):
        gate().try_(*events)


def test_nothing_follows_a_denial() -> None:
    found = gate()
    session = found.session()
    assert asked(session, headers()) == immediate(401)
    with pytest.raises(ProtocolError):
        run(session.step(response()))
    session.close()
    assert [record.code for record in found.records] == ["unauthenticated"]


EVENTS = st.sampled_from(
    [
        headers(),
        headers(end=True),
        body(b"x"),
        trailers(),
        response(),
        response(end=True),
        response_body(b"x"),
        response_trailers(),
    ]
)


@given(st.lists(EVENTS, max_size=6), st.booleans())
@settings(max_examples=200)
def test_whatever_comes_nothing_passes_without_a_token(events: list[Event], valid: bool) -> None:
    """And with one, each message is answered as far as the order is kept; the end is an error, never silence."""
    found = gate(link("a", Says(), REQUEST), link("b", Says(), RESPONSE))
    session, answers = found.session(), []
    token = found.token() if valid else "forged"
    try:
        for event in events:
            answers.append(asked(session, replace(event, passport=token, attributes=AT)))
    except ProtocolError:
        pass
    finally:
        session.close()
    assert valid or answers in ([], [immediate(401)])
    assert len(answers) <= 4
    assert all(one == go_on() for one in answers) or not valid
    assert all(record.is_try for record in found.records)


def test_a_stream_that_said_nothing_is_no_try() -> None:
    found = gate()
    found.session().close()
    assert found.records == []


# What an extension sees


def test_it_sees_who_calls_and_the_request_as_it_leaves() -> None:
    says = Says()
    found = gate(link("see", says, REQUEST), link("later", says, RESPONSE))
    found.try_(headers(path="/rewritten", x_now="1"), response(503))
    (_, before), (_, after) = says.seen
    assert (before.peer, before.route, before.backend, before.source) == (PEER, ROUTE, BACKEND, "192.0.2.1:1")
    assert (before.request.path, before.request.headers.get("x-now"), before.response) == ("/rewritten", "1", None)
    assert after.response is not None
    assert after.response.status == 503


def test_expressions_see_the_request_as_it_arrived() -> None:
    says = Says()
    found = gate(
        link("a", says, REQUEST, when=compiled("request.headers['x-team'] == 'a' && peer.namespace == 'ai'")),
        link("b", says, REQUEST, when=compiled("backend.name == 'other'")),
    )
    assert found.try_(headers(x_team="b")) == [go_on()]
    assert len(says.seen) == 1


def test_an_expression_without_a_value_is_500() -> None:
    for phase in (CONNECT, REQUEST, RESPONSE):
        found = gate(link("a", Says(), phase, when=compiled("request.headers['none'] == 'a'")))
        assert found.try_(headers()) == [immediate(500, "policy_error")]


def test_without_a_peer_nothing_that_needs_one_runs() -> None:
    says = Says()
    found = gate(link("a", says, REQUEST))
    assert found.try_(headers(), token=found.token(peer=None)) == [immediate(401, "unauthenticated")]
    assert says.seen == []


def test_a_gateway_that_authenticates_nobody_has_an_upstream_pass_too() -> None:
    says = Says()
    found = Gate({BACKEND: Chain((link("a", says, REQUEST),), authentication=False)})
    assert found.try_(headers(), token=found.token(peer=None)) == [go_on()]
    assert says.seen[0][1].peer is None


def test_pre_auth_sees_no_peer_here_either() -> None:
    says = Says()
    found = gate(link("a", says, REQUEST, pre_auth=True))
    found.try_(headers())
    ((_, exchange),) = says.seen
    assert exchange.peer is None
    assert "peer" not in exchange.variables


# Failures and denials


@pytest.mark.parametrize("phase", [CONNECT, REQUEST])
def test_a_failure_is_closed_or_skipped_as_its_failopen_says(phase: Phase) -> None:
    fails = Says(Unavailable("vault is down"))
    assert gate(link("a", fails, phase)).try_(headers()) == [immediate(503, "policy_unavailable")]
    found = gate(link("a", fails, phase, covers=frozenset(Cause)))
    assert found.try_(headers()) == [go_on()]
    assert [skip.extension for skip in found.records[0].skips] == ["a"]


def test_a_denial_in_the_response_is_the_clients_answer() -> None:
    found = gate(link("a", Says(deny("forbidden")), RESPONSE))
    assert found.try_(headers(), response(200)) == [go_on(), immediate(403, "forbidden")]


def test_what_happened_is_told_beside_what_the_downstream_pass_told() -> None:
    """Envoy replaces each name of a namespace as a whole: the names of the downstream pass are left alone."""
    (first,) = gate(link("a", Says(), REQUEST)).try_(headers())
    assert first.outcome
    assert first.outcome.metadata == {
        "upstream": {"backend": str(BACKEND), "decisions": {"a/backend-request": "continue"}}
    }
    (denied,) = gate(link("a", Says(deny("forbidden")), REQUEST)).try_(headers())
    assert denied.outcome
    assert denied.outcome.metadata
    assert denied.outcome.metadata["denied"] == {"code": "forbidden", "extension": "a"}
    assert denied.outcome.request_id == "request-1"
    (nothing,) = gate().try_(headers())
    assert nothing.outcome
    assert nothing.outcome.metadata is None


def test_time_is_bounded_for_both_phases_together() -> None:
    found = gate()

    def slow(*_: object) -> Verdict:
        found.clock.advance(0.5)
        return Continue()

    chain = Chain((authn(), link("a", Says(slow), CONNECT, timeout=9), link("b", Says(slow), REQUEST, timeout=9)))
    found.chains[BACKEND] = chain
    assert found.try_(headers()) == [immediate(504, "policy_timeout")]


class Settles(Says):
    """Leaves a state, and remembers how it was settled."""

    def __init__(self) -> None:
        super().__init__(Continue(state="taken"))
        self.settled: list[tuple[object, bool]] = []

    async def settle(self, exchange: Exchange, *, reached: bool) -> dict[str, int | str]:
        self.settled.append((exchange.state, reached))
        return {"settled": 1}


def test_what_a_try_took_is_settled_when_it_is_over() -> None:
    settles = Settles()
    found = gate(link("a", settles, REQUEST))
    found.try_(headers())
    found.chains[BACKEND] = Chain(
        (authn(), link("a", settles, REQUEST), link("b", Says(deny("forbidden")), REQUEST, priority=1))
    )
    found.try_(headers())
    assert settles.settled == [("taken", True), ("taken", False)]
    assert found.records[0].reports == {"a": {"settled": 1}}


def test_a_try_that_nobody_waits_for_any_more_is_settled_and_told() -> None:
    class Gone(BaseException):
        """As a cancellation."""

    def leaves(*_: object) -> Verdict:
        raise Gone

    settles = Settles()
    found = gate(link("a", settles, CONNECT), link("b", settles, REQUEST), link("c", Says(leaves), REQUEST, priority=1))
    with pytest.raises(Gone):
        found.try_(headers())
    assert settles.settled == [("taken", False)] * 2
    assert [decision.extension for decision in found.records[0].decisions] == ["a", "b"]


# Which answers are wanted


@pytest.mark.parametrize(
    ("links", "wanted"),
    [
        ([], Modes()),
        ([link("a", Says(), REQUEST)], Modes()),
        ([link("a", Says(), RESPONSE)], Modes(response_headers=True)),
        ([link("a", Says(), RESPONSE, when=compiled("peer.namespace == 'other'"))], Modes()),
        ([link("a", injects(), REQUEST)], Modes(response_headers=True, response_trailers=True)),
    ],
)
def test_an_answer_is_asked_for_where_somebody_wants_it(links: list[Link], wanted: Modes) -> None:
    (found,) = gate(*links).try_(headers())
    assert found.outcome
    assert found.outcome.modes == wanted


def test_what_an_answer_echoes_is_masked_before_anybody_sees_it() -> None:
    says = Says()
    found = gate(link("inject", injects(), REQUEST), link("see", says, RESPONSE))
    answers = found.try_(headers(), response(200, x_echo="a sk-canary b"), response_trailers({"x-late": "sk-canary"}))
    assert answers[1:] == [go_on(set={"x-echo": "a *** b"}), go_on(set={"x-late": "***"})]
    assert says.seen[0][1].response is not None
    assert says.seen[0][1].response.headers.get("x-echo") == "a *** b"


def test_trailers_of_a_request_have_been_judged() -> None:
    assert gate().try_(headers(), trailers({"x-checksum": "1"})) == [go_on(), go_on()]


# Which pass a stream is of


def test_the_initial_metadata_say_which_pass_it_is() -> None:
    engine = gate().engine()
    assert isinstance(begin(engine, []), Session)
    assert isinstance(begin(engine, [("user-agent", "envoy"), ("x-extproc-other", "1")]), Session)
    chosen = begin(engine, [("x-extproc-pass", "upstream"), ("x-extproc-backend", "egress/openai")])
    assert isinstance(chosen, UpstreamSession)
    assert chosen.backend == "egress/openai"


@pytest.mark.parametrize(
    "initial",
    [
        [("x-extproc-pass", "downstream")],
        [("x-extproc-pass", b"upstream")],
        [("x-extproc-backend", "egress/openai")],
        [("x-extproc-pass", "upstream"), ("x-extproc-backend", b"egress/openai")],
        [("x-extproc-pass", "upstream"), ("x-extproc-backend", "egress/a"), ("x-extproc-backend", "egress/b")],
    ],
)
def test_a_stream_that_could_be_of_either_pass_is_of_none(initial: list[tuple[str, str | bytes]]) -> None:
    with pytest.raises(ProtocolError):
        begin(gate().engine(), initial)


def test_an_upstream_stream_without_a_backend_is_denied() -> None:
    found = gate()
    session = begin(found.engine(), [("x-extproc-pass", "upstream")])
    (outcome,) = run(session.step(replace(headers(), passport=found.token())))
    assert answer(outcome) == immediate(403, "backend_mismatch")
