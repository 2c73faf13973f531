"""The kit that filters are tested with is tested by using it as its readers will."""

import asyncio
from collections.abc import Iterable
from typing import ClassVar

import pytest

from extproc import Continue, Exchange, Phase, Respond, Verdict
from extproc.core.event import BodyMode
from extproc.core.filter import EndOfBody, Reading
from extproc.core.passport import Places
from extproc.core.peer import Backend, Peer
from extproc.core.secret import Secret, seal
from extproc.core.verdict import deny
from extproc.errors import Cause, ConfigError, ProtocolError, Unavailable
from extproc.ports import Algorithm, CounterStore, Demand
from extproc.testing import (
    Clock,
    Conversation,
    Counters,
    Down,
    FixedPolicy,
    Late,
    Secrets,
    TryConversation,
    body,
    caller,
    chain,
    context,
    exchange,
    fed,
    go_on,
    headers,
    immediate,
    link,
    pieces,
    play,
    play_try,
    response,
    response_trailers,
    run,
    sent,
    splits,
    trailers,
)

PEER = Peer("system:serviceaccount:ai:default", namespace="ai", service_account="default")


class Filter:
    """Says the same to everybody, and remembers what it saw."""

    phases: ClassVar[frozenset[Phase]] = frozenset(Phase)

    def __init__(self, verdict: Verdict | Exception | None = None) -> None:
        self.verdict = verdict or Continue()
        self.seen: list[Exchange] = []

    async def decide(self, phase: Phase, exchange: Exchange) -> Verdict:
        self.seen.append(exchange)
        if isinstance(self.verdict, Exception):
            raise self.verdict
        return self.verdict


class BearerOnly(Filter):
    """Takes `Bearer good` for a peer."""

    phases: ClassVar[frozenset[Phase]] = frozenset({Phase.REQUEST_HEADERS})
    reads = frozenset({"authorization"})

    async def decide(self, phase: Phase, exchange: Exchange) -> Verdict:
        if exchange.request.headers.get("authorization") == "Bearer good":
            return Continue(facts=(PEER,))
        return deny("unauthenticated", headers={"www-authenticate": "Bearer"})


class Slow(Filter):
    """Takes a second of the test's clock."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    async def decide(self, phase: Phase, exchange: Exchange) -> Verdict:
        self.clock.advance(1)
        return self.verdict


def test_a_bad_token_is_answered_at_once() -> None:
    answers = play(chain(BearerOnly()), headers(authorization="Bearer bad"))
    assert answers == [immediate(401)]
    assert answers == [immediate(401, code="unauthenticated", headers={"www-authenticate": "Bearer"})]


def test_a_conversation_reads_as_one() -> None:
    redact = link(Filter(Continue(body=b"[EMAIL_ADDRESS]")), phase=Phase.REQUEST_BODY)
    answers = play(chain(BearerOnly(), redact), headers(authorization="Bearer good"), body(b"a@b.example"))
    assert answers == [go_on(removed={"authorization"}), go_on(body=b"[EMAIL_ADDRESS]")]


def test_a_denial_ends_what_is_played() -> None:
    assert play(chain(Filter(deny("forbidden"))), headers(), body(b"x")) == [immediate(403)]


def test_no_backend_is_a_policy_as_well() -> None:
    assert play(FixedPolicy(deny("no_backend")), headers()) == [immediate(403, "no_backend")]


@pytest.mark.parametrize(
    ("answer", "other"),
    [
        (go_on(), go_on(set={"a": "1"})),
        (go_on(), go_on(removed={"a"})),
        (go_on(), go_on(body=b"")),
        (go_on(), go_on(path="/")),
        (go_on(), immediate(200)),
        (immediate(401), immediate(403)),
        (immediate(403, "forbidden"), immediate(403, "pii_blocked")),
        (immediate(429, headers={"retry-after": "1"}), immediate(429, headers={"retry-after": "2", "x": "y"})),
        (immediate(429, headers={"retry-after": "1"}), immediate(429, headers={"x": "y", "z": "w"})),
    ],
)
def test_different_answers_differ(answer: object, other: object) -> None:
    assert answer != other
    assert other != answer


def test_answers_show_changes_and_never_a_secret() -> None:
    secret: Secret = seal(b"sk-hidden")
    changes = Continue(set_headers={"authorization": secret, "x": ("1", "2")}, set_query={"key": secret, "v": "1"})
    [answer] = play(chain(Filter(changes)), headers(path="/v1?a=b"))
    assert answer == go_on(set={"authorization": "***", "x": ("1", "2")}, path="/v1?a=b&v=1&key=***")
    assert "sk-hidden" not in repr(answer)


def test_what_took_longer_than_it_may_has_timed_out() -> None:
    clock = Clock()
    assert play(chain(link(Slow(clock), timeout=0.5)), headers(), clock=clock) == [immediate(504, "policy_timeout")]
    assert play(chain(link(Slow(clock), timeout=2)), headers(), clock=clock) == [immediate(504, "policy_timeout")]
    assert play(chain(link(Slow(clock), timeout=0.5, fail_open=True)), headers(), clock=clock) == [go_on()]


def test_fail_open_is_the_default_causes_or_the_named_ones() -> None:
    failing = Filter(Unavailable("down"))
    assert play(chain(link(failing, fail_open=True)), headers()) == [go_on()]
    assert play(chain(link(failing, fail_open=[Cause.DEFECT])), headers()) == [immediate(503)]
    assert play(chain(failing), headers()) == [immediate(503)]


def test_a_link_is_named_after_its_filter_and_placed_where_it_runs_first() -> None:
    made = link(BearerOnly())
    assert (made.name, made.phase, made.pre_auth) == ("bearer-only", Phase.REQUEST_HEADERS, True)
    assert not link(Filter()).pre_auth


def test_a_chain_can_be_given_its_caller() -> None:
    seen = Filter()
    play(chain(caller(PEER), seen), headers())
    assert seen.seen[0].peer == PEER


def test_a_gateway_that_requires_authentication_denies_without_an_authenticator() -> None:
    assert play(chain(Filter(), authentication=True), headers()) == [immediate(401)]


def test_headers_are_written_as_they_read() -> None:
    seen = Filter()
    play(chain(seen), headers({"x-b": ["1", b"\xff"]}, x_a="2", host="API.example.com:443", path="/p?q", method="GET"))
    request = seen.seen[0].request
    assert (request.method, request.host, request.path) == ("GET", "api.example.com", "/p?q")
    assert list(request.headers) == [("x-b", b"1"), ("x-b", b"\xff"), ("x-a", b"2")]


def test_the_whole_of_an_exchange_can_be_played() -> None:
    answers = play(
        chain(link(Filter(Continue(set_headers={"x": "y"})), phase=Phase.RESPONSE_HEADERS)),
        headers(),
        trailers({"te": "x"}),
        response(200, {"content-type": "text/plain"}),
        response_trailers({"a": "b"}),
    )
    assert answers == [go_on(), go_on(removed={"te"}), go_on(set={"x": "y"}), go_on()]


def test_a_conversation_tells_its_record_and_keeps_its_outcomes() -> None:
    conversation = Conversation(chain(caller(PEER), Filter(deny("forbidden", "because"))))
    answer = conversation.say(headers(x_request_id="abc"))
    record = conversation.end()
    assert answer.outcome is not None
    assert answer.outcome.metadata is not None
    assert record is not None
    assert (record.code, record.reason, record.request_id, record.namespace) == ("forbidden", "because", "abc", "ai")


def test_an_event_out_of_order_is_refused() -> None:
    with pytest.raises(ProtocolError):
        play(chain(), body(b""))


def test_envoys_modes_can_be_weaker_than_the_chain_needs() -> None:
    wants_body = chain(link(Filter(), phase=Phase.REQUEST_BODY))
    weak = (BodyMode.NONE, BodyMode.NONE)
    assert play(wants_body, headers(), configured=weak) == [immediate(503)]


def test_a_secret_goes_only_where_envoy_says_it_goes() -> None:
    injects = chain(Filter(Continue(set_headers={"authorization": seal(b"k")})))
    assert play(injects, headers()) == [go_on(set={"authorization": "***"})]
    assert play(injects, headers(attributes={"xds.cluster_name": "other"})) == [immediate(403, "backend_mismatch")]
    assert play(injects, headers(), backend=None) == [immediate(403, "backend_mismatch")]


def test_a_filter_that_really_waits_is_told() -> None:
    class Waiting(Filter):
        async def decide(self, phase: Phase, exchange: Exchange) -> Verdict:
            await asyncio.sleep(0)
            return self.verdict

    with pytest.raises(RuntimeError, match="waits for something real"):
        play(chain(Waiting()), headers())


async def test_a_filter_that_needs_an_event_loop_can_have_one() -> None:
    class Waiting(Filter):
        async def decide(self, phase: Phase, exchange: Exchange) -> Verdict:
            await asyncio.sleep(0)
            return self.verdict

    assert await Conversation(chain(Waiting())).ask(headers()) == go_on()


def test_an_exchange_is_what_a_filter_sees() -> None:
    backend = Backend("egress", "openai", "api.openai.com", 443)
    seen = exchange(headers={"x": "1"}, body=b"{}", peer=PEER, backend=backend, path="/v1/x?y=z", facts=("a fact",))
    assert (seen.peer, seen.backend, seen.request.body, seen.request.query) == (PEER, backend, b"{}", "y=z")
    assert seen.fact(str) == "a fact"
    assert seen.variables["peer"] == {
        "username": PEER.username,
        "uid": "",
        "groups": (),
        "namespace": "ai",
        "serviceAccount": "default",
        "pod": "",
    }
    assert "peer" not in exchange().variables


def test_an_exchange_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="normal form"):
        exchange(path="/a/../b")


def test_the_outside_is_what_the_test_gives() -> None:
    outside = context(tokens={"t": PEER}, secrets={"keys": Secrets({"ai/default/api_key": "sk-1"})}).outside
    assert run(outside.reviewer({}, context().directory).review("t", ["a"])).peer == PEER
    assert run(outside.reviewer({}, context().directory).review("u", [])).peer is None
    keys = outside.secrets("keys")
    assert isinstance(keys, Secrets)
    assert repr(run(keys.read(["ai", "default"], "api_key"))) == "***"
    assert run(keys.read(["ai"], "api_key")) is None
    assert "sk-1" not in repr(outside)
    with pytest.raises(ConfigError, match="the known ones: keys"):
        outside.secrets("other")


def test_counters_have_room_for_their_limit_once() -> None:
    store = context().outside.counters(None)
    demand = Demand(b"c", Algorithm.FIXED_WINDOW, 1, 60, 1)
    taken = run(store.take([demand]))
    assert taken.admitted
    refused = run(store.take([demand]))
    assert (refused.admitted, refused.levels[0].remaining, refused.levels[0].retry_after) == (False, 0, 60)
    for used in (0, 5):  # once, and no more
        run(store.settle([demand], taken.receipt, [used]))
    taken = run(store.take([demand]))
    assert taken.admitted
    run(store.settle([demand], taken.receipt, [5]))
    assert run(store.take([demand])).levels[0].remaining == 0
    with pytest.raises(TypeError):
        run(store.settle([demand], refused.receipt, [0]))


def test_a_when_in_cel_is_compiled() -> None:
    only_get = link(Filter(Respond(403, "forbidden", "")), when='request.method == "GET"')
    assert play(chain(only_get), headers(method="GET", end=True)) == [immediate(403)]
    assert play(chain(only_get), headers(method="POST")) == [go_on()]


# a try in the upstream pass

INJECTS = Continue(set_headers={"authorization": seal(b"k")})


def test_a_try_is_played_as_its_own_conversation() -> None:
    keyed, seen = Filter(INJECTS), Filter()
    links = chain(link(keyed, phase=Phase.BACKEND_REQUEST), link(seen, "seen", phase=Phase.BACKEND_RESPONSE))
    answers = play_try(links, headers(end=True), response(200), response_trailers({"a": "b"}), peer=PEER)
    assert answers == [go_on(set={"authorization": "***"}), go_on(), go_on()]
    assert (keyed.seen[0].peer, keyed.seen[0].backend) == (PEER, seen.seen[0].backend)


def test_a_try_at_another_cluster_gets_no_key() -> None:
    keyed = chain(link(Filter(INJECTS), phase=Phase.BACKEND_REQUEST))
    astray = headers(attributes={"xds.cluster_name": "other"})
    assert play_try(keyed, astray, response(200)) == [immediate(403, "backend_mismatch")]


def test_what_an_earlier_try_left_is_gone() -> None:
    left = Places(frozenset({"authorization"}), frozenset({"key"}))
    answers = play_try(chain(), headers(authorization="Bearer old", path="/x?key=old&a=b"), left=left)
    assert answers == [go_on(removed={"authorization"}, path="/x?a=b")]


def test_a_try_tells_its_record_and_has_no_body() -> None:
    conversation = TryConversation(chain(link(Filter(deny("no_credential")), phase=Phase.CONNECT)))
    assert conversation.say(headers()) == immediate(403, "no_credential")
    record = conversation.end()
    assert record is not None
    assert (record.is_try, record.code, record.backend) == (True, "no_credential", "egress/openai")
    assert TryConversation(chain()).end() is None
    with pytest.raises(ProtocolError):
        play_try(chain(), headers(), body(b"x"))


# bodies in pieces


class Upper:
    """Upper case; holds back what may begin `x|`, which is doubled, and ends at `!`."""

    def __init__(self) -> None:
        self.held = b""

    def feed(self, chunk: bytes) -> bytes:
        if b"!" in chunk:
            raise EndOfBody(self.held.upper() + b"!")
        text, self.held = self.held + chunk, b""
        if text.endswith(b"x"):
            text, self.held = text[:-1], b"x"
        return text.replace(b"x|", b"x||").upper()

    def finish(self) -> Iterable[bytes]:
        yield self.held.upper()

    def conclude(self) -> Verdict:
        return Continue(report={"ended": 1})


class Streams(Filter):
    phases: ClassVar[frozenset[Phase]] = frozenset({Phase.RESPONSE_BODY})
    max_body_bytes = 1024

    def reading(self, phase: Phase, exchange: Exchange) -> Reading:
        return Reading.STREAM

    def transformer(self, phase: Phase, exchange: Exchange) -> Upper:
        return Upper()


def test_every_way_to_cut_a_body_gives_the_same() -> None:
    for first, second in splits(b"ax|bx"):
        assert fed(Upper(), first, second) == b"AX||BX"
        answers = play(chain(Streams()), headers(end=True), response(200), *pieces(first, second))
        assert sent(answers) == b"AX||BX"
    assert fed(Upper(), b"a", b"!", b"b") == b"A!"
    assert [event.end for event in pieces(b"a", b"b", end=False)] == [False, False]


# faults and time


class Asks(Filter):
    """Takes one of a counter."""

    def __init__(self, store: CounterStore) -> None:
        super().__init__()
        self.store = store

    async def decide(self, phase: Phase, exchange: Exchange) -> Verdict:
        tally = await self.store.take([Demand(b"c", Algorithm.FIXED_WINDOW, 1, 60, 1)])
        return Continue() if tally.admitted else deny("rate_limited")


def test_what_is_down_is_unavailable() -> None:
    outside = context(tokens=Down(), counters=Down(), secrets={"keys": Down("no keys today")}).outside
    for asked in (
        outside.reviewer({}, context().directory).review("t", []),
        outside.counters(None).take([]),
        outside.counters(None).settle([], None, []),
        outside.secrets("keys").read(["a"], "b"),
    ):
        with pytest.raises(Unavailable, match=r"it is down|no keys today"):
            run(asked)
    assert play(chain(Asks(Down())), headers()) == [immediate(503, "policy_unavailable")]
    assert play(chain(link(Asks(Down()), fail_open=True)), headers()) == [go_on()]


def test_what_is_late_times_out_by_the_tests_clock() -> None:
    clock = Clock()
    slow = link(Asks(Late(Counters(), clock, 0.3)), timeout=0.25)
    assert play(chain(slow), headers(), clock=clock) == [immediate(504, "policy_timeout")]
    soon = link(Asks(Late(Counters(), clock, 0.2)), timeout=0.25)
    assert play(chain(soon), headers(), clock=clock) == [go_on()]
    late = Late(context(tokens={"t": PEER}).outside.reviewer({}, context().directory), clock, 1)
    begun = clock()
    assert run(late.review("t", [])).peer == PEER
    assert run(Late(Secrets({"a/b": "v"}), clock, 1).read(["a"], "b")) is not None
    assert clock() - begun == 2
