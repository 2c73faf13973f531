"""One exchange as a conversation: what Envoy tells, what it is answered, and what is refused."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.core.admission import Admission
from extproc.core.chain import Chain
from extproc.core.event import BodyMode, Event, Modes
from extproc.core.exchange import Exchange
from extproc.core.headers import Headers
from extproc.core.link import Link
from extproc.core.peer import Backend
from extproc.core.phase import Direction, Part, Phase
from extproc.core.secret import seal, wrap
from extproc.core.verdict import Continue, Respond, deny
from extproc.errors import Cause, ProtocolError, Unavailable
from extproc.testing import (
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
from tests.core.driving import Authenticates, Says, Takes, authn, link

OPEN = frozenset(Cause) - {Cause.INTERRUPTED}
BUFFERED, NONE = BodyMode.BUFFERED, BodyMode.NONE
INJECTS = Continue(set_headers={"authorization": seal(b"Bearer sk-canary")})
BACKEND = Backend("egress", "openai", "api.openai.com", 443, frozenset({"egress/openai"}))


def free(*links: Link) -> Chain:
    return Chain(links, authentication=False)


def rewrites(to: bytes) -> Says:
    return Says(lambda *_: Continue(body=to))


def sized(size: int) -> dict[str, str]:
    return {"content-length": str(size)}


# The ordinary exchange


def test_an_exchange_that_nobody_wants_to_change() -> None:
    assert play(free(), headers(), response()) == [go_on(), go_on()]


def test_a_request_is_changed_and_its_body_after_it() -> None:
    chain = free(link("h", Says(Continue(set_headers={"x": "1"}))), link("b", rewrites(b"new"), Phase.REQUEST_BODY))
    answers = play(chain, headers({"content-length": "3"}), body(b"old"))
    assert answers == [go_on(set={"x": "1"}), go_on(body=b"new", set=sized(3))]


def test_a_body_without_length_gets_none() -> None:
    assert play(free(link("b", rewrites(b"new"), Phase.REQUEST_BODY)), headers(), body(b"old"))[1] == go_on(body=b"new")


def test_an_unchanged_body_is_left_alone() -> None:
    assert play(free(link("b", rewrites(b"old"), Phase.REQUEST_BODY)), headers(), body(b"old"))[1] == go_on()


def test_what_describes_the_old_bytes_goes_with_them() -> None:
    chain = free(link("b", rewrites(b"new"), Phase.REQUEST_BODY))
    stale = {"content-digest", "content-md5", "digest", "repr-digest", "etag"}
    answers = play(chain, headers({**dict.fromkeys(stale, "x"), "accept": "z"}), body(b"old"))
    assert answers[1] == go_on(body=b"new", removed=stale)


def test_a_body_extension_may_still_change_the_headers() -> None:
    chain = free(link("b", Says(Continue(set_headers={"x": "1"})), Phase.REQUEST_BODY))
    assert play(chain, headers(), body(b"b"))[1] == go_on(set={"x": "1"})


def test_headers_that_end_the_stream_bring_an_empty_body() -> None:
    seen = Says()
    play(free(link("b", seen, Phase.REQUEST_BODY)), headers(end=True))
    assert [(phase, exchange.request.body) for phase, exchange in seen.seen] == [(Phase.REQUEST_BODY, b"")]


def test_trailers_without_a_body_bring_an_empty_body() -> None:
    denies = free(link("b", Says(deny("pii_blocked")), Phase.REQUEST_BODY))
    assert play(denies, headers(), trailers({"t": "1"})) == [go_on(), immediate(403, "pii_blocked")]


def test_a_change_that_comes_too_late_for_the_headers_is_closed() -> None:
    late = free(link("b", Says(Continue(set_headers={"x": "1"})), Phase.REQUEST_BODY))
    assert play(late, headers(), trailers({"t": "1"}))[1] == immediate(503, "policy_unavailable")


def test_request_trailers_are_removed_but_for_a_list() -> None:
    answers = play(free(), headers(), trailers({"authorization": "Bearer t", "grpc-status": "0"}))
    assert answers[1] == go_on(removed={"authorization", "grpc-status"})
    talk = Conversation(free())
    talk.session.engine.policy.request_trailers = frozenset({"checksum"})  # type: ignore[misc]
    talk.say(headers())
    assert talk.say(trailers({"checksum": "1", "x-extproc-peer": "me"})) == go_on(removed={"x-extproc-peer"})


def test_no_list_lets_a_token_or_an_identity_pass_in_trailers() -> None:
    spoof = {"authorization": "Bearer t", "x-user": "root", "x-extproc-peer": "root"}
    talk = Conversation(Chain((authn(),)))
    talk.session.engine.policy.identity_headers = frozenset({"x-user"})  # type: ignore[misc]
    talk.session.engine.policy.request_trailers = frozenset({*spoof, "checksum"})  # type: ignore[misc]
    talk.say(headers(authorization="Bearer t"))
    assert talk.say(trailers({**spoof, "checksum": "1"})) == go_on(removed=set(spoof))


def test_the_response_phases_run_too() -> None:
    chain = free(
        link("h", Says(Continue(remove_headers=["server"])), Phase.RESPONSE_HEADERS),
        link("b", rewrites(b"n"), Phase.RESPONSE_BODY),
    )
    answers = play(chain, headers(end=True), response(200, server="x", content_length="3"), response_body(b"old"))
    assert answers[1:] == [go_on(removed={"server"}), go_on(body=b"n", set=sized(1))]


def test_a_response_may_be_denied() -> None:
    chain = free(link("h", Says(Unavailable("x")), Phase.RESPONSE_HEADERS))
    assert play(chain, headers(end=True), response())[1] == immediate(503)


# What comes from outside


def test_our_headers_and_identity_headers_are_stripped_before_anybody_looks() -> None:
    seen = Says()
    talk = Conversation(free(link("a", seen)))
    talk.session.engine.policy.identity_headers = frozenset({"x-user"})  # type: ignore[misc]
    answer = talk.say(headers({"x-extproc-peer": "root", "x-user": "root", "accept": "*/*"}))
    assert answer == go_on(removed={"x-extproc-peer", "x-user"})
    assert seen.seen[0][1].request.headers.names() == {"accept"}


def test_the_workload_token_never_goes_on() -> None:
    assert play(Chain((authn(),)), headers(authorization="Bearer t"))[0] == go_on(removed={"authorization"})
    skipped = authn(Unavailable("down"), covers=OPEN)
    assert play(Chain((skipped,)), headers(authorization="Bearer t"))[0] == go_on(removed={"authorization"})
    not_now = authn(when=lambda _: False)
    assert play(Chain((not_now,)), headers(authorization="Bearer t"))[0] == go_on(removed={"authorization"})


def test_an_extension_may_set_the_authenticators_header_afterwards() -> None:
    chain = Chain((authn(), link("inject", Says(INJECTS), priority=1)))
    assert play(chain, headers(authorization="Bearer t"))[0] == go_on(set={"authorization": "***"})


def test_an_undone_extension_does_not_bring_the_token_back() -> None:
    breaks = link("inject", Says(Continue(set_headers={"authorization": "a\n"})), priority=1, covers=OPEN)
    assert play(Chain((authn(), breaks)), headers(authorization="Bearer t"))[0] == go_on(removed={"authorization"})


def test_what_cannot_be_routed_is_refused_before_anything_runs() -> None:
    seen = Says()
    chain = free(link("a", seen))
    assert play(chain, headers(host="a,b")) == [immediate(400, "bad_request")]
    assert play(chain, headers(path="/a/../b")) == [immediate(400, "bad_request")]
    assert play(chain, headers(method="TRACE")) == [immediate(403, "forbidden")]
    assert seen.seen == []


def test_without_a_backend_nothing_runs_and_nothing_is_charged() -> None:
    talk = Conversation(free())
    talk.session.engine.policy.selection = deny("no_backend")  # type: ignore[misc]
    assert talk.say(headers()) == immediate(403, "no_backend")
    assert talk.end().code == "no_backend"


def test_more_changes_than_envoy_takes_are_refused() -> None:
    assert play(free(), headers({f"x-extproc-{n}": "1" for n in range(101)})) == [immediate(400, "bad_request")]


# Authentication


def test_no_authenticator_where_one_is_required() -> None:
    assert play(Chain(()), headers()) == [immediate(401, "unauthenticated")]


def test_one_that_needs_a_peer_in_a_later_phase_denies_before_the_upstream_is_asked() -> None:
    late = link("late", Says(), Phase.RESPONSE_HEADERS)
    assert play(Chain((authn(Continue()), late)), headers()) == [immediate(401)]


def test_what_was_taken_before_is_given_back_when_nobody_is_established() -> None:
    takes = Takes()
    quota = link("quota", takes, priority=-200, pre_auth=True)
    assert play(Chain((quota,)), headers()) == [immediate(401)]
    assert play(Chain((quota, authn(Continue()), link("b", Says(), Phase.REQUEST_BODY))), headers()) == [immediate(401)]
    closed = free(link("quota", takes), link("b", Says(), Phase.REQUEST_BODY))
    assert play(closed, headers(upgrade="websocket")) == [immediate(403)]
    assert takes.returned == ["receipt"] * 3


# Credentials


def test_a_credential_goes_only_to_its_backends_cluster() -> None:
    chain = free(link("inject", Says(INJECTS)))
    assert play(chain, headers())[0] == go_on(set={"authorization": "***"})
    for attributes in ({"xds.cluster_name": "other"}, {"xds.cluster_name": ""}):
        assert play(chain, headers(attributes=attributes)) == [immediate(403, "backend_mismatch")]
    assert play(chain, headers(), backend=None) == [immediate(403, "backend_mismatch")]


def test_a_credential_in_the_query_takes_the_same_way() -> None:
    chain = free(link("inject", Says(Continue(remove_query=["key"], set_query={"key": seal(b"sk-canary")}))))
    assert play(chain, headers(path="/v1?key=mine&a=1"))[0] == go_on(path="/v1?a=1&key=***")
    assert play(chain, headers(attributes={"xds.cluster_name": "x"})) == [immediate(403, "backend_mismatch")]


def test_a_credential_goes_only_where_its_source_releases_it() -> None:
    """Whoever sets it: a filter of somebody else need not ask the source."""
    for backends, answer in (({"egress/openai"}, go_on(set={"x-key": "***"})), ({"egress/other"}, immediate(403))):
        secret = wrap(seal(b"sk-canary", frozenset(backends)), "Bearer {value}")
        chain = free(link("theirs", Says(Continue(set_headers={"x-key": secret}))))
        assert play(chain, headers())[0] == answer


def test_responses_are_masked_when_a_credential_went_out() -> None:
    masked: list[Any] = []

    def mask(fields: Headers, secrets: Any) -> Headers:
        masked.append(secrets)
        return fields.replaced("x-echo", b"***") if secrets else fields

    chain = free(link("inject", Says(INJECTS)))
    talk = Conversation(chain, mask=mask)
    assert talk.say(headers(end=True)).outcome.modes.response_headers
    assert talk.say(response(200, x_echo="sk-canary")) == go_on(set={"x-echo": "***"})
    assert len(masked[0]) == 1


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"trailer": "x-echo"}, True),
        ({"content_type": "application/grpc+proto"}, True),
        ({"content_type": "application/grpcx"}, False),
        ({"content_type": "application/json"}, False),
    ],
)
def test_trailers_that_an_answer_announces_are_masked_too(fields: dict[str, str], wanted: bool) -> None:
    """Others are not waited for: the stream of each exchange would stay open to the end of its answer."""

    def mask(given: Headers, secrets: Any) -> Headers:
        return given.replaced("x-echo", b"***") if secrets and "x-echo" in given else given

    talk = Conversation(free(link("inject", Says(INJECTS))), mask=mask)
    assert not talk.say(headers(end=True)).outcome.modes.response_trailers
    modes = talk.say(response(200, **fields)).outcome.modes
    assert modes == (Modes(NONE, True, NONE, True) if wanted else None)
    if wanted:
        assert talk.say(response_trailers({"x-echo": "sk-canary"})) == go_on(set={"x-echo": "***"})


def test_trailers_of_an_answer_without_a_credential_are_nobodys() -> None:
    talk = Conversation(free(link("h", Says(), Phase.RESPONSE_HEADERS)))
    talk.say(headers(end=True))
    assert talk.say(response(200, trailer="x")).outcome.modes is None


# Modes


@pytest.mark.parametrize(
    ("links", "end", "modes"),
    [
        ((), False, Modes(NONE, response_headers=False)),
        ((link("b", Says(), Phase.REQUEST_BODY),), False, Modes(BUFFERED)),
        ((link("b", Says(), Phase.REQUEST_BODY),), True, Modes(NONE)),
        ((link("b", Says(), Phase.REQUEST_BODY, when=lambda _: False),), False, Modes(NONE)),
        ((link("h", Says(), Phase.RESPONSE_HEADERS),), False, Modes(NONE, True)),
        ((link("b", Says(), Phase.RESPONSE_BODY),), False, Modes(NONE, True, BUFFERED, True)),
    ],
)
def test_what_nobody_wants_is_switched_off(links: tuple[Link, ...], end: bool, modes: Modes) -> None:
    assert Conversation(free(*links)).say(headers(end=end)).outcome.modes == modes


@pytest.mark.parametrize(
    ("configured", "phase", "served"),
    [
        ((BUFFERED, BUFFERED), Phase.REQUEST_BODY, True),
        ((BUFFERED, NONE), Phase.REQUEST_BODY, True),
        ((NONE, BUFFERED), Phase.REQUEST_BODY, False),
        ((BUFFERED, NONE), Phase.RESPONSE_BODY, False),
        (None, Phase.REQUEST_BODY, False),
        ((NONE, NONE), Phase.REQUEST_HEADERS, True),
        (None, Phase.REQUEST_HEADERS, True),
        *(((mode, NONE), Phase.REQUEST_HEADERS, False) for mode in BodyMode if mode not in (NONE, BUFFERED)),
        *(((NONE, mode), Phase.REQUEST_HEADERS, False) for mode in BodyMode if mode not in (NONE, BUFFERED)),
    ],
)
def test_modes_that_envoy_is_configured_with(configured: Any, phase: Phase, served: bool) -> None:
    seen = Says()
    talk = Conversation(free(link("a", seen, phase)), configured=configured)
    assert (talk.say(headers()) == go_on()) == served
    if not served:
        record = talk.end()
        assert (record.code, "Envoy is configured with" in record.reason, seen.seen) == ("policy_unavailable", True, [])


def test_a_body_that_nobody_asked_for_passes() -> None:
    assert play(free(), headers(), body(b"x"), body(b"y")) == [go_on(), go_on(), go_on()]


def test_a_body_in_pieces_where_the_whole_was_to_come_is_refused() -> None:
    with pytest.raises(ProtocolError):
        play(free(link("b", Says(), Phase.REQUEST_BODY)), headers(), body(b"x", end=False), body(b"y"))


# Upgrades and local replies


def test_an_end_that_is_said_once_more_adds_nothing() -> None:
    conversation = Conversation(free(link("b", Says(), Phase.REQUEST_BODY)))
    conversation.say(headers())
    assert [conversation.say(body(b"x")), conversation.say(body(b""))] == [go_on(), go_on()]


def test_an_upgrade_is_refused_where_a_closed_extension_wants_a_body() -> None:
    chain = free(link("b", Says(), Phase.REQUEST_BODY))
    assert play(chain, headers(upgrade="websocket")) == [immediate(403, "forbidden")]


def test_an_upgrade_passes_open_extensions_and_that_is_counted() -> None:
    chain = free(
        link("b", Says(), Phase.REQUEST_BODY, covers=OPEN), link("r", Says(), Phase.RESPONSE_BODY, covers=OPEN)
    )
    talk = Conversation(chain)
    assert talk.say(headers(upgrade="websocket")).outcome.modes == Modes(NONE)
    assert [(skip.extension, skip.cause) for skip in talk.end().skips] == [
        ("b", Cause.UNSUPPORTED),
        ("r", Cause.UNSUPPORTED),
    ]


def test_a_stream_that_begins_with_a_response_is_envoys_own() -> None:
    seen = Says()
    chain = free(link("h", seen, Phase.RESPONSE_HEADERS))
    answers = play(chain, response(404), response_body(b"no route"), response_trailers({"t": "1"}))
    assert answers == [go_on(), go_on(), go_on()]
    assert seen.seen == []


def test_but_an_upstreams_answer_to_what_we_never_saw_is_refused() -> None:
    with pytest.raises(ProtocolError):
        play(free(), response(200, attributes={"response.code_details": "via_upstream"}))


def test_an_upstreams_answer_to_a_body_we_never_saw_is_refused() -> None:
    """Envoy holds the request back until its body was judged: whoever answered it all the same went around that."""
    chain = free(link("b", Says(), Phase.REQUEST_BODY), link("h", Says(), Phase.RESPONSE_HEADERS))
    upstreams = response(200, attributes={"response.code_details": "via_upstream"})
    with pytest.raises(ProtocolError):
        play(chain, headers(), upstreams)
    assert play(chain, headers(), response(413))[1] == go_on()
    assert play(chain, headers(), body(b"x"), upstreams)[2] == go_on()
    assert play(chain, headers(end=True), upstreams)[1] == go_on()


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304), ("GET", 101)])
def test_a_response_that_never_has_a_body_gets_none(method: str, status: int) -> None:
    chain = free(link("b", rewrites(b"smuggled"), Phase.RESPONSE_BODY))
    fields = {"etag": "x", "content-length": "3"}
    assert play(chain, headers(method=method, end=True), response(status, fields, end=True))[1] == go_on()
    assert play(chain, headers(method="GET", end=True), response(200, end=True))[1] == go_on(b"smuggled")


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_a_response_that_never_has_a_body_may_say_late_that_it_has_ended(method: str, status: int) -> None:
    """With HTTP/2 by an empty piece. Envoy would write what stood in its place behind the head."""
    talk = Conversation(free(link("b", rewrites(b"smuggled"), Phase.RESPONSE_BODY)))
    talk.say(headers(method=method, end=True))
    first, second = talk.say(response(status)), talk.say(response_body(b""))
    assert (first, second) == (go_on(), go_on())
    assert first.outcome.modes is None
    assert first.outcome.metadata["decisions"] == {"b/response-body": "continue"}


def test_what_comes_where_there_is_never_a_body_is_refused() -> None:
    with pytest.raises(ProtocolError):
        play(free(link("b", Says(), Phase.RESPONSE_BODY)), headers(end=True), response(204), response_body(b"x"))


# Ceilings


def test_a_peer_has_so_many_exchanges_at_once() -> None:
    admission = Admission(per_peer=1)
    takes = Says()
    chain = Chain((authn(), link("quota", takes, priority=1)))
    first, second = (Conversation(chain, admission=admission) for _ in range(2))
    assert first.say(headers()) == go_on()
    assert second.say(headers()) == immediate(429, "rate_limited", {"retry-after": "1"})
    assert len(takes.seen) == 1
    second.end()
    first.end()
    assert Conversation(chain, admission=admission).say(headers()) == go_on()


def test_bodies_in_memory_have_a_ceiling() -> None:
    admission = Admission(body_bytes=3)
    chain = free(link("b", Says(), Phase.REQUEST_BODY))
    assert play(chain, headers(), body(b"four"), admission=admission)[1] == immediate(503)
    assert play(chain, headers(), body(b"abc"), admission=admission)[1] == go_on()
    assert play(chain, headers(), body(b"abc"), admission=admission)[1] == go_on()


# What is told


def test_a_record_tells_names_and_words_only() -> None:
    talk = Conversation(
        Chain((authn(), link("q", Says(deny("rate_limited", "per-workload")), priority=1))), backend=BACKEND
    )
    talk.say(headers(authorization="Bearer sk-canary", x_request_id="id-1", cookie="sk-canary"))
    record = talk.end()
    assert (record.code, record.extension, record.phase) == ("rate_limited", "q", "request-headers")
    assert (record.namespace, record.service_account, record.backend) == ("ai", "default", "egress/openai")
    assert record.request_id == "id-1"
    assert "sk-canary" not in repr(record)


@pytest.mark.parametrize("forged", ['a"}\n{"level": "info"', "a b", "x" * 129, "é", ""])
def test_a_request_id_that_could_forge_a_log_line_is_dropped(forged: str) -> None:
    talk = Conversation(free())
    talk.say(headers({"x-request-id": forged}))
    assert talk.end().request_id == ""


def test_dynamic_metadata_tell_what_was_decided_and_skipped() -> None:
    chain = Chain((authn(), link("flaky", Says(Unavailable("x")), priority=1, covers=OPEN)))
    found = Conversation(chain, backend=BACKEND).say(headers()).outcome.metadata
    assert found == {
        "peer": {"namespace": "ai", "serviceAccount": "default"},
        "route": "",
        "backend": "egress/openai",
        "decisions": {"authn/request-headers": "continue"},
        "skipped": [{"extension": "flaky", "phase": "request-headers", "cause": "unavailable"}],
    }


# Order


EVENTS: list[Callable[[], Event]] = [
    headers,
    lambda: headers(end=True),
    lambda: body(b"x"),
    lambda: body(b"x", end=False),
    trailers,
    response,
    lambda: response(end=True),
    lambda: response_body(b"x"),
    response_trailers,
]
CHAINS = [
    free(),
    free(link("b", Says(), Phase.REQUEST_BODY), link("r", Says(), Phase.RESPONSE_BODY)),
    Chain((authn(),)),
    Chain((link("authn", Authenticates(deny("unauthenticated")), pre_auth=True),)),
]


@given(st.lists(st.sampled_from(EVENTS), max_size=8), st.sampled_from(CHAINS))
def test_any_order_of_events_is_served_or_refused(events: list[Callable[[], Event]], chain: Chain) -> None:
    talk = Conversation(chain)
    served: list[Event] = []
    for make in events:
        event = make()
        try:
            answer = talk.say(event)
        except ProtocolError:
            break
        assert (answer.outcome.direction, answer.outcome.part) == (event.direction, event.part)
        served.append(event)
    talk.end()
    for direction in Direction:
        parts = [event for event in served if event.direction is direction]
        assert [event.part for event in parts[1:]].count(Part.HEADERS) == 0
        assert all(event.part is Part.HEADERS for event in parts[:1])
        assert not any(event.part is Part.HEADERS and event.end for event in parts[:-1])
        assert not any(event.part is Part.TRAILERS for event in parts[:-1])


class Recorded:
    """Remembers that a request was judged."""

    phases: ClassVar[frozenset[Phase]] = frozenset({Phase.REQUEST_BODY})

    def __init__(self) -> None:
        self.bodies: list[bytes | None] = []

    async def decide(self, phase: Phase, exchange: Exchange) -> Continue | Respond:
        self.bodies.append(exchange.request.body)
        return Continue()


@given(st.lists(st.sampled_from(EVENTS[2:5]), max_size=3))
def test_no_request_ends_with_its_body_unjudged(events: list[Callable[[], Event]]) -> None:
    judge = Recorded()
    talk = Conversation(free(link("b", judge, Phase.REQUEST_BODY)))
    talk.say(headers())
    answered = 0
    for make in events:
        try:
            talk.say(make())
        except ProtocolError:
            break
        answered += 1
    assert len(judge.bodies) == min(answered, 1)


def test_an_exchange_that_was_aborted_is_told_as_a_failure() -> None:
    talk = Conversation(free(link("b", Says(), Phase.REQUEST_BODY)))
    talk.say(headers())
    talk.say(body(b"x", end=False))
    with pytest.raises(ProtocolError):
        talk.say(body(b"y"))
    record = talk.end()
    assert (record.code, record.failure, record.phase) == ("policy_error", "defect", "request-body")


def test_after_a_denial_nothing_more_is_served() -> None:
    talk = Conversation(free(link("a", Says(deny("forbidden")))))
    assert talk.say(headers()) == immediate(403)
    with pytest.raises(ProtocolError):
        talk.say(body(b"x"))


def test_a_session_keeps_the_policy_it_began_with() -> None:
    talk = Conversation(free(link("b", rewrites(b"old"), Phase.REQUEST_BODY)))
    talk.say(headers())
    engine = talk.session.engine
    other = replace(engine, policy=replace(engine.policy, selection=deny("no_backend")))  # type: ignore[type-var]
    assert other.policy is not engine.policy
    assert talk.say(body(b"x")) == go_on(body=b"old")
