"""QoSController: who is counted with whom, what a refused client is told, and what is given back."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from extproc import Continue, Exchange, Phase, Respond, Verdict
from extproc.adapters.memory import Counters
from extproc.core.filter import BodyFilter, Compensating, Following, Settling, Streaming
from extproc.core.peer import Peer
from extproc.core.verdict import deny
from extproc.errors import Cause, ConfigError, ExpressionError, Unavailable
from extproc.ports import CounterStore
from extproc.testing import Clock, caller, chain, context, exchange, go_on, headers, immediate, link, play, run
from extproc_filters.qos_controller import QoSController, QoSControllerConfig, Taken
from extproc_filters.rate_headers import duration

PEER = Peer("system:serviceaccount:ai:default", namespace="ai", service_account="default")
OTHER = Peer("system:serviceaccount:ai:batch", namespace="ai", service_account="batch")
USER = Peer("alice")


def build(
    *limits: dict[str, Any],
    store: CounterStore | None = None,
    clock: Clock | None = None,
    place: dict[str, Any] | None = None,
    **config: Any,
) -> QoSController:
    counters = store or Counters(clock or Clock(6000.0))
    whole = {**config, "limits": [{"name": "per-workload", "window": "1m", **limit} for limit in limits]}
    return QoSController(QoSControllerConfig.model_validate(whole), context(counters=counters, **(place or {})))


def ask(filter_: QoSController, peer: Peer | None = PEER, **more: Any) -> Verdict:
    return run(filter_.decide(Phase.REQUEST_HEADERS, exchange(peer=peer, **more)))


def admitted(filter_: QoSController, times: int, peer: Peer | None = PEER, **more: Any) -> list[bool]:
    return [isinstance(ask(filter_, peer, **more), Continue) for _ in range(times)]


def refused(verdict: Verdict, code: str = "rate_limited") -> Respond:
    assert isinstance(verdict, Respond)
    assert verdict.code == code
    return verdict


def test_each_workload_has_its_own_limit() -> None:
    filter_ = build({"requests": 2})
    assert admitted(filter_, 3) == [True, True, False]
    assert admitted(filter_, 3, OTHER) == [True, True, False]


def test_the_shorthand_is_a_minute_for_each_workload() -> None:
    clock = Clock(6000.0)
    filter_ = build(clock=clock, requestsPerMinute=2)
    assert admitted(filter_, 3) == [True, True, False]
    clock.advance(60)
    assert admitted(filter_, 1) == [True]


@pytest.mark.parametrize(
    ("algorithm", "later"), [("sliding-window", [False]), ("fixed-window", [True]), ("token-bucket", [True])]
)
def test_the_algorithms(algorithm: str, later: list[bool]) -> None:
    clock = Clock(6040.0)
    filter_ = build({"requests": 3, "algorithm": algorithm}, clock=clock)
    assert admitted(filter_, 4) == [True, True, True, False]
    clock.advance(20)
    assert admitted(filter_, 1) == later


def test_a_bucket_has_its_own_size() -> None:
    filter_ = build({"requests": 60, "algorithm": "token-bucket", "burst": 2})
    assert admitted(filter_, 3) == [True, True, False]


def test_a_refused_client_is_told_when_to_come_back() -> None:
    clock = Clock(6000.0)
    filter_ = build({"requests": 2}, {"name": "burst", "requests": 9, "window": "500ms"}, clock=clock)
    ask(filter_)
    clock.advance(17.5)
    ask(filter_)
    assert refused(ask(filter_)).headers == {
        "retry-after": "43",
        "ratelimit": '"per-workload";r=0;t=60, "burst";r=8;t=1',
        "ratelimit-policy": '"per-workload";q=2;w=60, "burst";q=9',
        "x-ratelimit-limit-requests": "2",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "1m0s",
    }


def test_retry_after_is_at_least_a_second() -> None:
    filter_ = build({"requests": 1, "window": "10ms"})
    ask(filter_)
    headers_ = refused(ask(filter_)).headers
    assert (headers_["retry-after"], headers_["x-ratelimit-reset-requests"]) == ("1", "10ms")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0ms"),
        (0.0125, "13ms"),
        (1, "1s"),
        (11.2, "12s"),
        (59.5, "1m0s"),
        (360, "6m0s"),
        (3600, "1h0m0s"),
        (3725, "1h2m5s"),
    ],
)
def test_durations_as_openai_writes_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_refusal_takes_nothing_of_any_limit() -> None:
    clock = Clock(6000.0)
    filter_ = build({"requests": 4}, {"name": "second", "requests": 1, "window": "1s"}, clock=clock)
    for _ in range(4):
        assert admitted(filter_, 3) == [True, False, False]
        clock.advance(1)
    assert admitted(filter_, 1) == [False]


def test_keys_are_expressions() -> None:
    filter_ = build({"requests": 1, "key": ["request.headers['x-team']", "request.method"]})
    assert admitted(filter_, 2, headers={"x-team": "a"}) == [True, False]
    assert admitted(filter_, 1, headers={"x-team": "b"}) == [True]
    assert admitted(filter_, 1, headers={"x-team": "a"}, method="GET") == [True]


def test_keys_do_not_run_together() -> None:
    filter_ = build({"requests": 1, "key": ["request.headers['x-a']", "request.headers['x-b']"]})
    pairs = [("a", "bc"), ("ab", "c"), ("str:a", "bc"), ("'a'", "bc")]
    assert all(admitted(filter_, 1, headers={"x-a": a, "x-b": b}) == [True] for a, b in pairs)


def test_a_number_is_not_its_text() -> None:
    filter_ = build({"requests": 1, "key": ["request.method == 'GET' ? 1 : '1'"]})
    assert admitted(filter_, 1, method="GET") == admitted(filter_, 1, method="POST") == [True]


@pytest.mark.parametrize(
    "key",
    [
        "request.headers['x-absent']",
        "request.headers['x-empty']",
        "null",
        "[request.method]",
        "request.headers",
        "1 / 0",
        "int(request.method)",
    ],
)
def test_a_key_that_does_not_resolve_is_a_denial(key: str) -> None:
    filter_ = build({"requests": 5, "key": [key]})
    refused(ask(filter_, headers={"x-empty": ""}), "key_unresolved")
    open_ = link(filter_, fail_open=frozenset(Cause), priority=1)
    assert play(chain(caller(PEER), open_), headers(x_empty="")) == [immediate(403, "key_unresolved")]


@pytest.mark.parametrize("peer", [None, USER, Peer("x", namespace="ai"), Peer("x", service_account="default")])
def test_the_default_key_needs_a_service_account(peer: Peer | None) -> None:
    refused(ask(build({"requests": 5}), peer), "key_unresolved")


def test_an_unresolved_key_takes_nothing() -> None:
    filter_ = build({"requests": 1}, {"name": "team", "requests": 1, "key": ["request.headers['x-team']"]})
    refused(ask(filter_), "key_unresolved")
    assert admitted(filter_, 1, headers={"x-team": "a"}) == [True]


def test_a_limit_counts_only_when_it_applies() -> None:
    filter_ = build({"requests": 1, "when": "request.method == 'POST'"})
    assert admitted(filter_, 2, method="GET") == [True, True]
    assert admitted(filter_, 2, method="POST") == [True, False]


@pytest.mark.parametrize("when", ["request.headers['x-absent'] == 'a'", "request.method", "1"])
def test_a_when_without_a_value_is_closed(when: str) -> None:
    filter_ = build({"requests": 1, "when": when})
    with pytest.raises(ExpressionError):
        ask(filter_)
    open_ = link(filter_, fail_open=frozenset(Cause), priority=1)
    assert play(chain(caller(PEER), open_), headers()) == [immediate(500, "policy_error")]


@pytest.mark.parametrize(
    "other",
    [
        {"gateway": "egress/other"},
        {"scope": "Backend/egress/openai"},
        {"extension": "other"},
    ],
)
def test_counters_of_different_places_are_apart(other: dict[str, str]) -> None:
    store = Counters(Clock())
    assert admitted(build({"requests": 1}, store=store), 2) == [True, False]
    assert admitted(build({"requests": 1}, store=store, place=other), 2) == [True, False]
    assert admitted(build({"requests": 1}, store=store), 1) == [False]


@pytest.mark.parametrize(
    "other", [{"name": "other"}, {"algorithm": "fixed-window"}, {"window": "61s"}, {"key": ["peer.serviceAccount"]}]
)
def test_counters_of_different_limits_are_apart(other: dict[str, Any]) -> None:
    store = Counters(Clock())
    assert admitted(build({"requests": 1}, store=store), 2) == [True, False]
    assert admitted(build({"requests": 1, **other}, store=store), 1) == [True]


def test_a_pre_auth_extension_has_no_peer_to_count() -> None:
    place = {"pre_auth": True}
    with pytest.raises(ConfigError, match="write a `key`") as caught:
        build({"requests": 1}, place=place)
    assert caught.value.place.field == "config.limits[0]"
    with pytest.raises(ConfigError, match="write a `key`"):
        build(requestsPerMinute=5, place=place)
    assert admitted(build({"requests": 1, "key": ["request.host"]}, place=place), 2, None) == [True, False]


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ({"limits": [{"name": "t", "window": "1m", "tokens": 5, "key": ["("]}]}, "config.limits[0].key[0]"),
        (
            {"requestsPerMinute": 5, "limits": [{"name": "t", "window": "1m", "tokens": 5, "when": "1 +"}]},
            "config.limits[0].when",
        ),
        ({"limits": [{"name": "t", "window": "1m", "requests": 5, "key": ["'a'", "1 +"]}]}, "config.limits[0].key[1]"),
        ({"limits": [{"name": "t", "window": "1m", "requests": 5, "when": "("}]}, "config.limits[0].when"),
    ],
)
def test_what_is_not_served_is_refused_at_its_place(config: dict[str, Any], place: str) -> None:
    with pytest.raises(ConfigError) as caught:
        QoSController(QoSControllerConfig.model_validate(config), context())
    assert caught.value.place.field == place


@pytest.mark.parametrize(
    "limit",
    [
        {},
        {"requests": 1, "tokens": 1},
        {"requests": 0},
        {"requests": -1},
        {"requests": 1.5},
        {"requests": True},
        {"requests": 10**10, "algorithm": "fixed-window"},
        {"requests": 100_001},
        {"tokens": 0},
        {"tokens": 1.5},
        {"tokens": 10**9 + 1},
        {"tokens": 5, "burst": 5},
        {"tokens": 1, "algorithm": "token-bucket", "burst": 10**9, "window": "744h"},
        {"requests": 1, "window": "0s"},
        {"requests": 1, "window": 60},
        {"requests": 1, "window": "0.0000001ms"},
        {"requests": 1, "window": "745h"},
        {"requests": 1, "burst": 5},
        {"requests": 1, "algorithm": "leaky"},
        {"requests": 1, "algorithm": "token-bucket", "burst": 0},
        {"requests": 1, "key": []},
        {"requests": 1, "key": [""]},
        {"requests": 1, "name": ""},
        {"requests": 1, "name": 'a"b'},
        {"requests": 1, "name": "a\r\nx: y"},
        {"requests": 1, "name": "ä"},
        {"requests": 1, "name": "a" * 64},
        {"requests": 1, "extra": 1},
    ],
)
def test_bad_limits(limit: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        build(limit)


TOKENS = {"limits": [{"name": "t", "window": "1m", "tokens": 100}]}


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"limits": []},
        {"requestsPerMinute": 0},
        {"store": "disk", "requestsPerMinute": 1},
        {"limits": [{"name": "a", "requests": 1, "window": "1m"}] * 2},
        {"requestsPerMinute": 1, "reserve": 5},
        {"requestsPerMinute": 1, "reserveOutput": 5},
        {"requestsPerMinute": 1, "cutAfter": 2},
        {"requestsPerMinute": 1, "maxBodyBytes": 5},
        {**TOKENS, "reserve": 0},
        {**TOKENS, "reserveOutput": -1},
        {**TOKENS, "reserveOutput": 10**9 + 1},
        {**TOKENS, "cutAfter": 0.9},
        {**TOKENS, "cutAfter": float("nan")},
        {**TOKENS, "maxBodyBytes": 0},
        {"requestsPerMinute": 1, "limits": [{"name": "requests-per-minute", "requests": 1, "window": "1m"}]},
    ],
)
def test_bad_configurations(config: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        QoSControllerConfig.model_validate(config)


class Denies:
    phases = frozenset({Phase.REQUEST_HEADERS})

    async def decide(self, phase: Phase, exchange: Exchange) -> Verdict:
        return deny("forbidden")


def test_what_was_taken_is_given_back_when_a_later_extension_denies() -> None:
    filter_ = build({"requests": 2})
    assert isinstance(filter_, Compensating)
    limited = link(filter_, priority=1)
    for _ in range(5):
        assert play(chain(caller(PEER), limited, link(Denies(), priority=2)), headers()) == [
            immediate(403, "forbidden")
        ]
    answers = [play(chain(caller(PEER), limited), headers())[0] for _ in range(3)]
    assert answers == [go_on(), go_on(), immediate(429, "rate_limited", {"retry-after": "60"})]


def test_giving_back_what_was_not_taken_does_nothing() -> None:
    filter_ = build({"requests": 1, "when": "request.method == 'POST'"})
    run(filter_.give_back(Phase.REQUEST_HEADERS, exchange(method="GET", peer=PEER)))
    assert admitted(filter_, 2) == [True, False]


def test_its_state_says_what_was_taken() -> None:
    verdict = ask(build({"requests": 5}, {"name": "b", "requests": 5}))
    assert isinstance(verdict, Continue)
    assert isinstance(verdict.state, Taken)
    assert len({demand.counter for demand in verdict.state.demands}) == 2
    assert ask(build({"requests": 5, "when": "false"})) == Continue()


def test_a_sliding_window_of_tokens_may_be_large() -> None:
    build({"tokens": 10**9}, {"name": "b", "tokens": 10**9, "algorithm": "token-bucket", "burst": 10**9})


def test_who_counts_requests_alone_has_nothing_to_do_with_bodies() -> None:
    filter_, both = build({"requests": 5}), build({"requests": 5}, {"name": "t", "tokens": 5})
    assert not isinstance(filter_, BodyFilter | Settling | Following)
    assert all(isinstance(both, kind) for kind in (Streaming, Settling, Following, Compensating))
    assert QoSController.phases == both.phases == {Phase.REQUEST_HEADERS}


class Down:
    async def take(self, demands: object) -> Any:
        raise Unavailable("the counters are down")

    async def settle(self, demands: object, receipt: object, used: object) -> None: ...


def test_counters_that_are_down_are_unavailable() -> None:
    whole = chain(caller(PEER), link(build({"requests": 5}, store=Down()), priority=1))
    assert play(whole, headers()) == [immediate(503, "policy_unavailable")]


@settings(max_examples=50, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from([PEER, OTHER]), st.integers(0, 8), st.booleans()), min_size=20, max_size=60
    ),
    small=st.integers(1, 3),
    large=st.integers(2, 8),
)
def test_no_window_of_any_limit_ever_holds_more(steps: list[tuple[Peer, int, bool]], small: int, large: int) -> None:
    """Two limits, two workloads, and exchanges that a later extension denies: only what went on is counted."""
    clock = Clock(6000.0)
    filter_ = build(
        {"requests": small, "window": "4s"}, {"name": "wide", "requests": large, "window": "20s"}, clock=clock
    )
    passed: list[tuple[Peer, float]] = []

    def recent(peer: Peer, window: float) -> int:
        return sum(who == peer and when > clock() - window for who, when in passed)

    for peer, seconds, denied in steps:
        clock.advance(seconds)
        room = recent(peer, 4) < small and recent(peer, 20) < large
        verdict = ask(filter_, peer)
        assert isinstance(verdict, Continue) == room
        if isinstance(verdict, Continue) and denied:
            run(filter_.give_back(Phase.REQUEST_HEADERS, exchange(peer=peer, state=verdict.state)))
        elif room:
            passed.append((peer, clock()))
