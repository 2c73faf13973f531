"""Order, preAuth, failOpen, undo, timeouts and budget: DESIGN sections 3 to 6, without a wire."""

import itertools
from dataclasses import replace
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.core.chain import Chain
from extproc.core.exchange import Exchange
from extproc.core.headers import Headers
from extproc.core.link import Degraded, Link, Scope
from extproc.core.message import Response
from extproc.core.peer import Peer
from extproc.core.phase import Phase
from extproc.core.secret import seal
from extproc.core.verdict import FAILURES, Continue, Respond, Verdict, deny
from extproc.core.whole import BITE, LONG, SLICE
from extproc.errors import Cause, ExpressionError, Failure, Malformed, TimedOut, TooLarge, Unavailable, Unsupported
from tests.core.driving import PEER, Authenticates, Clock, Says, Takes, authn, link, run, state, turn

OPEN = frozenset(Cause) - {Cause.INTERRUPTED}
ERRORS: dict[Cause, Exception] = {
    Cause.UNAVAILABLE: Unavailable("down"),
    Cause.TIMEOUT: TimeoutError(),
    Cause.UNSUPPORTED: Unsupported("unknown"),
    Cause.DEFECT: KeyError("a header's text"),
    Cause.TOO_LARGE: TooLarge("1 GB"),
    Cause.MALFORMED: Malformed("no JSON"),
}


def free(*links: Link) -> Chain:
    """A chain of a gateway that has no authenticator on purpose."""
    return Chain(links, authentication=False)


def marks(name: str) -> Says:
    return Says(
        lambda _, exchange: Continue(set_headers={"x-seen": f"{exchange.request.headers.get('x-seen') or ''}{name}"})
    )


# Order


def test_links_run_by_priority_then_scope_then_name() -> None:
    links = [
        link("b", marks("b"), priority=0, scope=Scope.ROUTE),
        link("a", marks("a"), priority=0, scope=Scope.ROUTE),
        link("z", marks("z"), priority=0, scope=Scope.GATEWAY),
        link("y", marks("y"), priority=0, scope=Scope.BACKEND),
        link("first", marks("1"), priority=-1, scope=Scope.ROUTE),
    ]
    for order in itertools.permutations(links):
        final, _ = run(free(*order))
        assert final.request.headers.get("x-seen") == "1zyab"


def test_response_phases_run_in_the_exact_reverse() -> None:
    said: list[str] = []

    def says(name: str) -> Says:
        return Says(lambda *_: said.append(name) or Continue())

    links = [link(n, says(n), Phase.RESPONSE_HEADERS, priority=p) for n, p in (("a", 1), ("b", 0), ("c", 1))]
    run(free(*links), Phase.RESPONSE_HEADERS, state(response=Response(200, Headers())))
    assert said == ["c", "a", "b"]


def test_the_last_writer_of_a_header_wins_and_removals_come_first() -> None:
    final, _ = run(
        free(
            link("a", Says(Continue(set_headers={"x": "1", "y": ["1", "2"]})), priority=1),
            link("b", Says(Continue(remove_headers=["x", "y"], set_headers={"x": "2"})), priority=2),
        )
    )
    assert list(final.request.headers) == [("x", b"2")]


def test_an_extension_finds_the_facts_and_its_own_state_again() -> None:
    class Colour(str):
        __slots__ = ()

    first = Says(lambda *_: Continue(facts=(Colour("red"),), state="mine"))
    second = Says()
    chain = free(link("a", first), link("b", second, priority=1), link("late", Says(), Phase.REQUEST_BODY))
    final, _ = run(chain)
    assert second.seen[0][1].fact(Colour) == "red"
    assert second.seen[0][1].state is None
    assert final.view(chain.at(Phase.REQUEST_HEADERS)[0]).state == "mine"


# preAuth


def test_the_authenticator_reads_what_arrived_and_nobody_else_sees_its_headers() -> None:
    other = Says()
    proof = Authenticates()
    chain = Chain((link("authn", proof, pre_auth=True), link("b", other, priority=1)))
    final, denial = run(chain, begin=state(("authorization", b"Bearer t"), ("x", b"1"), proof=chain.proof))
    assert denial is None
    assert proof.seen[0][1].request.headers.get("authorization") == "Bearer t"
    assert "authorization" not in other.seen[0][1].request.headers
    assert "authorization" not in final.request.headers
    assert other.seen[0][1].peer == PEER


def test_a_pre_auth_extension_never_sees_the_peer_nor_what_was_said_with_it() -> None:
    class Claim(str):
        __slots__ = ()

    before, after = Says(), Says()
    knows = Says(lambda _, exchange: Continue(facts=(Claim(exchange.peer.username),)))
    run(
        Chain(
            (
                link("before", before, priority=-200, pre_auth=True),
                authn(Continue(facts=(PEER, Claim("claimed")))),
                link("knows", knows, priority=1),
                link("after", after, priority=2, pre_auth=True),
            )
        )
    )
    assert before.seen[0][1].peer is None
    seen = after.seen[0][1]
    assert seen.peer is None
    assert seen.fact(Claim) is None
    assert "peer" not in seen.variables


@pytest.mark.parametrize("verdict", [Continue(), Unavailable("down")])
def test_what_needs_a_peer_is_denied_without_one_and_not_skipped(verdict: Any) -> None:
    reached = Says()
    failed_open = authn(verdict, covers=OPEN)
    _, denial = run(Chain((failed_open, link("b", reached, covers=OPEN))))
    assert denial is not None
    assert denial.respond.status == 401
    assert denial.respond.headers == {"www-authenticate": "Bearer"}
    assert reached.seen == []


def test_without_an_authenticator_only_a_gateway_that_says_so_runs() -> None:
    assert run(Chain((link("a", Says()),), authentication=True))[1].respond.status == 401
    assert run(free(link("a", Says())))[1] is None


def test_only_the_authenticator_states_the_peer() -> None:
    _, denial = run(Chain((authn(), link("b", Says(Continue(facts=(Peer("root"),)))))))
    assert denial is not None
    assert denial.failure is Cause.DEFECT


def test_nobody_feeds_the_authenticator() -> None:
    feeds = link("feeds", Says(Continue(set_headers={"authorization": "Bearer stolen"})), priority=-200, pre_auth=True)
    proof = Authenticates()
    chain = Chain((feeds, link("authn", proof, pre_auth=True)))
    _, denial = run(chain, begin=state(proof=chain.proof))
    assert denial is not None
    assert (denial.extension, denial.failure) == ("feeds", Cause.DEFECT)
    assert proof.seen == []


def test_after_authentication_its_headers_may_be_set_for_the_upstream() -> None:
    chain = Chain((authn(), link("inject", Says(Continue(set_headers={"authorization": "Bearer ours"})), priority=1)))
    final, denial = run(chain, begin=state(("authorization", b"Bearer theirs"), proof=chain.proof))
    assert denial is None
    assert final.request.headers.values("authorization") == (b"Bearer ours",)


# failOpen


@pytest.mark.parametrize("cause", ERRORS)
@pytest.mark.parametrize(
    "phase", [Phase.REQUEST_HEADERS, Phase.REQUEST_BODY, Phase.RESPONSE_HEADERS, Phase.RESPONSE_BODY]
)
def test_a_closed_failure_answers_by_its_cause(cause: Cause, phase: Phase) -> None:
    later = Says()
    chain = free(
        link("a", Says(ERRORS[cause]), phase), link("b", later, phase, priority=-1 if phase.is_response else 1)
    )
    _, denial = run(chain, phase, state(response=Response(200, Headers())))
    assert denial is not None
    in_response = phase.is_response and cause in (Cause.TOO_LARGE, Cause.MALFORMED)
    assert denial.respond.code == ("response_unprocessable" if in_response else FAILURES[cause])
    assert denial.failure is cause
    assert later.seen == []


@pytest.mark.parametrize("cause", ERRORS)
def test_an_open_failure_skips_and_is_seen(cause: Cause) -> None:
    later = Says()
    chain = free(link("a", Says(ERRORS[cause]), covers=frozenset({cause})), link("b", later, priority=1))
    now = turn()
    _, denial = run(chain, at=now)
    assert denial is None
    assert [(skip.extension, skip.cause) for skip in now.journal.skips] == [("a", cause)]
    assert len(later.seen) == 1


@pytest.mark.parametrize("cause", ERRORS)
def test_fail_open_covers_what_it_names_and_no_more(cause: Cause) -> None:
    _, denial = run(free(link("a", Says(ERRORS[cause]), covers=OPEN - {cause})))
    assert denial is not None


def test_a_degraded_extension_is_unsupported() -> None:
    assert run(free(link("a", Degraded("no such type"))))[1].respond.status == 503
    assert run(free(link("a", Degraded("no such type"), covers=frozenset({Cause.UNSUPPORTED}))))[1] is None


def test_fail_open_never_turns_a_denial_into_a_pass() -> None:
    _, denial = run(free(link("a", Says(deny("forbidden")), covers=OPEN)))
    assert denial is not None
    assert denial.failure is None


@pytest.mark.parametrize(
    "verdict",
    [
        None,
        "continue",
        True,
        Continue(set_headers={"content-length": "0"}),
        Continue(set_headers={":path": "/admin"}),
        Continue(set_headers={"x": "a\r\nb"}),
        Continue(set_headers={"X": "a"}),
        Continue(remove_headers=["host"]),
        Continue(body=b"in a headers phase"),
        Continue(set_headers={"x": 3}),
        Continue(set_headers={"x": (value for value in ("1",))}),
        Continue(report={"x": b"bytes"}),
        Continue(report={"x": 1.5}),
        Continue(report={"x": 2**64}),
        Continue(report={"x": "\ud800"}),
        Continue(report={"x": "a\nb"}),
        Continue(report={3: 1}),
        Respond(401, "x", "x", {"www-authenticate": (value for value in ("Bearer",))}),
        Respond(99, "x", "x"),
        Respond(200, "x", "x", {"transfer-encoding": "chunked"}),
    ],
)
def test_a_verdict_that_is_none_is_a_defect_and_undone(verdict: Any) -> None:
    _, denial = run(free(link("a", Says(lambda *_: verdict))))
    assert denial is not None
    assert (denial.respond.code, denial.failure) == ("policy_error", Cause.DEFECT)
    final, denial = run(free(link("a", Says(lambda *_: verdict), covers=OPEN)), begin=state(("x", b"1")))
    assert denial is None
    assert list(final.request.headers) == [("x", b"1")]


@pytest.mark.parametrize("phase", [Phase.RESPONSE_HEADERS, Phase.RESPONSE_BODY])
def test_a_credential_does_not_go_to_a_client(phase: Phase) -> None:
    secret = {"x-key": seal(b"sk-canary")}
    for verdict in (Continue(set_headers=secret), Respond(200, "x", "x", secret)):
        _, denial = run(free(link("a", Says(verdict), phase)), phase, state(response=Response(200, Headers())))
        assert denial is not None
        assert denial.failure is Cause.DEFECT


def test_a_credential_is_set_while_the_answers_headers_can_still_be_masked() -> None:
    secret = Continue(set_headers={"x-key": seal(b"sk-canary")})
    _, denial = run(free(link("a", Says(secret), Phase.REQUEST_BODY)), Phase.REQUEST_BODY)
    assert denial is not None
    assert denial.failure is Cause.DEFECT


def test_a_failing_extension_leaves_no_change_in_what_others_are_asked() -> None:
    """The variables of CEL are shared by all extensions of an exchange."""

    def spoil(_: Phase, exchange: Exchange) -> Any:
        exchange.variables["request"]["headers"]["x-team"] = "admin"  # type: ignore[index]
        return Continue()

    asks = link("b", Says(deny("forbidden")), priority=1, when=lambda v: v["request"]["headers"]["x-team"] == "admin")
    final, denial = run(free(link("a", Says(spoil), covers=OPEN), asks), begin=state(("x-team", b"guest")))
    assert denial is None
    assert final.named(with_peer=False)["request"]["headers"]["x-team"] == "guest"  # type: ignore[index]


def test_a_defect_is_told_without_its_text() -> None:
    _, denial = run(free(link("a", Says(ValueError("Bearer sk-canary")))))
    assert "sk-canary" not in denial.respond.reason
    assert "ValueError at driving.py:" in denial.respond.reason


# when


def test_when_decides_whether_an_extension_runs() -> None:
    runs, does_not = Says(), Says()
    run(
        free(
            link("a", runs, when=lambda v: v["request"]["method"] == "POST"), link("b", does_not, when=lambda _: False)
        )
    )
    assert (len(runs.seen), len(does_not.seen)) == (1, 0)


@pytest.mark.parametrize("value", [ExpressionError("no such key"), "true", 1, None])
def test_a_when_without_a_bool_is_closed_whatever_fail_open_says(value: Any) -> None:
    def when(_: Any) -> Any:
        if isinstance(value, Exception):
            raise value
        return value

    _, denial = run(free(link("a", Says(), when=when, covers=OPEN)))
    assert denial is not None
    assert denial.respond.status == 500


def test_what_cel_sees_of_the_request_is_what_arrived_without_credentials() -> None:
    seen: list[Any] = []
    chain = Chain(
        (
            authn(),
            link("sets", Says(Continue(set_headers={"x": "changed"}, remove_query=["q"])), priority=1),
            link("looks", Says(), priority=2, when=lambda v: seen.append(dict(v)) or True),
        )
    )
    arrived = [("authorization", b"t"), ("cookie", b"c"), ("proxy-authorization", b"p"), ("x", b"1"), ("x", b"2")]
    run(chain, begin=state(*arrived, proof=chain.proof))
    assert seen[0]["request"]["headers"] == {"x": "1,2"}
    assert (seen[0]["request"]["path"], seen[0]["request"]["query"]) == ("/v1", "q=1")
    assert seen[0]["peer"]["namespace"] == "ai"


# Time


def slow(clock: Clock, seconds: float, verdict: Verdict | None = None) -> Says:
    def decide(*_: Any) -> Verdict:
        clock.time += seconds
        return verdict or Continue(set_headers={"x-slow": "1"})

    return Says(decide)


def test_an_extension_has_its_own_timeout() -> None:
    clock = Clock()
    _, denial = run(free(link("a", slow(clock, 0.3), timeout=0.25)), at=turn(clock))
    assert denial is not None
    assert (denial.respond.status, denial.respond.reason) == (504, "a: no verdict within 0.25 s")


def test_one_that_the_others_left_no_time_is_not_said_to_be_slow_itself() -> None:
    clock = Clock()
    _, denial = run(
        free(link("a", slow(clock, 0.9), timeout=9), link("b", slow(clock, 0.2), priority=1, timeout=0.25)),
        at=turn(clock),
    )
    assert denial is not None
    assert denial.respond.reason == "b: no verdict in what was left of the budget"


def test_the_changes_of_one_that_timed_out_are_undone() -> None:
    clock = Clock()
    final, denial = run(free(link("a", slow(clock, 0.3), timeout=0.25, covers=OPEN)), at=turn(clock))
    assert denial is None
    assert "x-slow" not in final.request.headers


def test_a_spent_budget_is_closed_while_a_closed_extension_is_left() -> None:
    clock = Clock()
    _, denial = run(
        free(link("a", slow(clock, 2), timeout=9, covers=OPEN), link("b", Says(), priority=1)), at=turn(clock)
    )
    assert denial is not None
    assert (denial.extension, denial.respond.status) == ("b", 504)


def test_a_spent_budget_with_only_open_extensions_left_skips_them_all() -> None:
    clock = Clock()
    left = Says()
    chain = free(link("a", slow(clock, 2), timeout=9, covers=OPEN), link("b", left, priority=1, covers=OPEN))
    now = turn(clock)
    _, denial = run(chain, at=now)
    assert denial is None
    assert [skip.cause for skip in now.journal.skips] == [Cause.TIMEOUT, Cause.TIMEOUT]
    assert left.seen == []


def test_a_late_denial_is_still_closed() -> None:
    clock = Clock()
    _, denial = run(free(link("a", slow(clock, 2, deny("forbidden")), timeout=1)), at=turn(clock, 5))
    assert denial is not None


# Giving back


@pytest.mark.parametrize("later", [deny("rate_limited"), Unavailable("down")])
def test_what_was_taken_is_given_back_when_a_later_one_denies(later: Any) -> None:
    takes = Takes()
    _, denial = run(free(link("a", takes), link("b", Says(later), priority=1)))
    assert denial is not None
    assert takes.returned == ["receipt"]


def test_what_was_taken_stays_taken_when_all_goes_on_or_it_denies_itself() -> None:
    takes = Takes()
    run(free(link("a", takes), link("b", Says(), priority=1)))
    assert takes.returned == []
    takes.verdict = deny("rate_limited")
    run(free(link("a", takes)))
    assert takes.returned == []


# Bodies


class Upper:
    """A transformer that holds a byte back, and says what it saw."""

    max_body_bytes = 1 << 20
    phases: ClassVar[frozenset[Phase]] = frozenset({Phase.REQUEST_BODY})

    def __init__(self, verdict: Verdict | None = None, fail_at: int = -1) -> None:
        self.verdict, self.fail_at, self.sizes = verdict or Continue(report={"seen": 1}), fail_at, []

    async def decide(self, phase: Phase, exchange: Exchange) -> Verdict:
        return Continue(set_headers={"x-upper": "1"})

    def transformer(self, phase: Phase, exchange: Exchange) -> "Upper":
        self.held = b""
        return self

    def feed(self, chunk: bytes) -> bytes:
        self.sizes.append(len(chunk))
        if len(self.sizes) == self.fail_at:
            raise Malformed("at last")
        out, self.held = self.held + chunk[:-1], chunk[-1:]
        return out.upper()

    def finish(self) -> list[bytes]:
        return [self.held.upper(), b"!"]

    def conclude(self) -> Verdict:
        return self.verdict


def with_body(body: bytes) -> Any:
    begin = state()
    return replace(begin, request=replace(begin.request, body=body))


def test_a_body_goes_through_its_transformer_in_slices() -> None:
    clock, upper = Clock(), Upper()
    body = b"ab" * 100_000
    final, denial = run(free(link("up", upper, Phase.REQUEST_BODY)), Phase.REQUEST_BODY, with_body(body), turn(clock))
    assert denial is None
    assert final.request.body == body.upper() + b"!"
    assert final.request.headers.get("x-upper") == "1"
    assert final.reports == {"up": {"seen": 1}}
    assert max(upper.sizes) <= BITE
    assert clock.pauses == len(body) // SLICE


def test_slow_work_on_a_body_lets_others_run_more_often() -> None:
    clock, upper = Clock(), Upper()
    plain = upper.feed

    def slow(chunk: bytes) -> bytes:
        clock.time += LONG
        return plain(chunk)

    upper.feed = slow  # type: ignore[method-assign]
    body = b"ab" * 20_000
    run(free(link("up", upper, Phase.REQUEST_BODY)), Phase.REQUEST_BODY, with_body(body), turn(clock))
    assert clock.pauses >= len(upper.sizes) - 1


def test_a_transformer_that_fails_half_way_leaves_no_trace() -> None:
    begin = with_body(b"ab" * 100_000)
    failing = free(link("up", Upper(fail_at=2), Phase.REQUEST_BODY, covers=OPEN))
    now = turn()
    final, denial = run(failing, Phase.REQUEST_BODY, begin, now)
    assert denial is None
    assert final.request == begin.request
    assert [skip.cause for skip in now.journal.skips] == [Cause.MALFORMED]


def test_a_body_that_outgrows_the_gateways_buffers_is_too_large() -> None:
    small = Upper()
    small.max_body_bytes = 8
    chain = free(link("up", small, Phase.REQUEST_BODY))
    _, denial = run(chain, Phase.REQUEST_BODY, with_body(b"a" * (2 * 8 + 64 * 1024)))
    assert denial is not None
    assert denial.failure is Cause.TOO_LARGE
    fits = Upper()
    fits.max_body_bytes = 8
    chain = free(link("up", fits, Phase.REQUEST_BODY))
    assert run(chain, Phase.REQUEST_BODY, with_body(b"a" * (2 * 8 + 64 * 1024 - 1)))[1] is None


def test_a_transformer_may_take_back_what_decide_set() -> None:
    class Pending(Upper):
        async def decide(self, phase: Phase, exchange: Exchange) -> Verdict:
            return Continue(
                set_headers={"x-scan": "pending", "x-kept": "1"}, set_query={"Scan": "pending", "kept": "1"}
            )

    done = Pending(Continue(remove_headers=["x-scan"], remove_query=["scan", "q"]))
    final, denial = run(free(link("up", done, Phase.REQUEST_BODY)), Phase.REQUEST_BODY, with_body(b"x"))
    assert denial is None
    assert list(final.request.headers) == [("x-kept", b"1")]
    assert final.request.query == "kept=1"


def test_a_transformer_may_deny_at_the_end() -> None:
    chain = free(link("up", Upper(deny("pii_blocked")), Phase.REQUEST_BODY))
    assert run(chain, Phase.REQUEST_BODY, with_body(b"x"))[1].respond.code == "pii_blocked"


# No interleaving of failures turns a denial into a pass


BEHAVIOURS = st.sampled_from(
    [*ERRORS.values(), ExpressionError("x"), Continue(), Continue(set_headers={"x": "1"}), deny("forbidden")]
)
LINKS = st.lists(st.tuples(BEHAVIOURS, st.sets(st.sampled_from(sorted(OPEN))), st.booleans()), min_size=1, max_size=6)


@given(LINKS)
def test_no_interleaving_of_failures_turns_a_denial_into_a_pass(links: list[tuple[Any, set[Cause], bool]]) -> None:
    chain = Chain(
        (
            authn(),
            *(
                link(f"l{place}", Says(behaviour), priority=place, covers=frozenset(covers), pre_auth=pre_auth)
                for place, (behaviour, covers, pre_auth) in enumerate(links)
            ),
        )
    )
    now = turn()
    _, denial = run(chain, at=now)
    stops = [place for place, (behaviour, covers, _) in enumerate(links) if _stops(behaviour, covers)]
    assert (denial is not None) == bool(stops)
    if denial:
        assert denial.extension == f"l{stops[0]}"
    failed_open = [
        f"l{p}" for p, (b, _, _) in enumerate(links[: stops[0] if stops else None]) if isinstance(b, Exception)
    ]
    assert [skip.extension for skip in now.journal.skips] == failed_open


def _stops(behaviour: Any, covers: set[Cause]) -> bool:
    if isinstance(behaviour, Respond | ExpressionError):
        return True
    if isinstance(behaviour, Continue):
        return False
    cause = behaviour.cause if isinstance(behaviour, Failure) else None
    if cause is None:
        cause = Cause.TIMEOUT if isinstance(behaviour, TimeoutError | TimedOut) else Cause.DEFECT
    return cause not in covers


def test_cancellation_is_no_failure() -> None:
    class Gone(BaseException):
        pass

    chain = free(link("a", Says(Gone()), covers=OPEN))
    with pytest.raises(Gone):
        run(chain)


def test_the_engine_has_the_last_word_after_each_link() -> None:
    later = Says()
    takes = Takes()
    chain = free(
        link("a", takes), link("b", Says(Continue(set_headers={"x": "1"})), priority=1), link("c", later, priority=2)
    )
    accept = lambda s: deny("backend_mismatch") if "x" in s.request.headers else None  # noqa: E731
    _, denial = run(chain, at=turn(accept=accept))
    assert denial is not None
    assert (denial.extension, later.seen, takes.returned) == ("b", [], ["receipt"])


def test_what_an_extension_took_is_given_back_when_the_engine_denies_it_itself() -> None:
    takes = Takes()
    _, denial = run(free(link("a", takes)), at=turn(accept=lambda _: deny("backend_mismatch")))
    assert denial is not None
    assert takes.returned == ["receipt"]
