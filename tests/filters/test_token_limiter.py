"""Limits on tokens, played as conversations: reserved, settled, refused, and never in the way of a body."""

import gzip
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc import Exchange, Phase, Verdict
from extproc.adapters.memory import Counters as Memory
from extproc.core.event import Event, Record
from extproc.core.peer import Peer
from extproc.core.verdict import deny
from extproc.errors import Unavailable
from extproc.ports import CounterStore, Demand, Level, Tally
from extproc.testing import (
    Clock,
    Conversation,
    GoOn,
    Immediate,
    body,
    caller,
    chain,
    context,
    go_on,
    headers,
    immediate,
    link,
    play,
    response,
    response_body,
)
from extproc.testing.outside import Counters
from extproc_filters.qos_controller import QoSController, QoSControllerConfig
from tests.filters.usage.shapes import EXTRA, JSON, STREAMS, chunk, sse

PEER = Peer("system:serviceaccount:ai:default", namespace="ai", service_account="default")
LIMIT = {"name": "tokens", "tokens": 10_000, "window": "1m"}


class Store(Counters):
    """Counters whose whole amount can be asked for."""

    @property
    def amounts(self) -> list[int]:
        return sorted(self.used.values())


def build(*limits: dict[str, Any], store: CounterStore | None = None, **config: Any) -> QoSController:
    whole = {**config, "limits": [{**LIMIT, **limit} for limit in limits or ({},)]}
    return QoSController(QoSControllerConfig.model_validate(whole), context(counters=store or Store()))


def request(said: Any = None, *, length: bool = True, **fields: str) -> tuple[Event, Event]:
    """A chat's headers and body."""
    data = said if isinstance(said, bytes) else json.dumps(said or {"model": "m", "messages": []}).encode()
    known = {"content_type": "application/json"} | ({"content_length": str(len(data))} if length else {})
    return headers(**{**known, **fields}), body(data)


def answer_json(document: Any, status: int = 200) -> tuple[Event, Event]:
    return response(status, content_type="application/json"), response_body(json.dumps(document).encode())


def answer_stream(*pieces: bytes, **fields: str) -> tuple[Event, ...]:
    events = (response_body(piece, end=False) for piece in pieces)
    return response(content_type="text/event-stream", **fields), *events, response_body()


def talk(filter_: QoSController, *events: Event, also: Any = ()) -> tuple[list[GoOn | Immediate], Record | None]:
    """The answers, and what was told at the end."""
    conversation = Conversation(chain(caller(PEER), link(filter_, "qos", priority=1), *also))
    answers: list[GoOn | Immediate] = []
    for event in events:
        answers += conversation.stream(event)
        if answers and isinstance(answers[-1], Immediate):
            break
    return answers, conversation.end()


def sent(answers: list[GoOn | Immediate], after: int) -> bytes:
    """The body that left, in the answers from `after` on."""
    return b"".join(each.body or b"" for each in answers[after:] if isinstance(each, GoOn))


def report(record: Record | None) -> Mapping[str, int | str]:
    assert record is not None
    return record.reports.get("qos", {})


@pytest.mark.parametrize("name", JSON)
def test_a_json_answer_is_charged_by_its_usage(name: str) -> None:
    store = Store()
    document, usage = JSON[name]
    answers, record = talk(build(store=store), *request(), *answer_json(document))
    assert answers == [go_on()] * 4
    assert store.amounts == [usage.total]
    assert report(record) == {
        "input_tokens": usage.input,
        "output_tokens": usage.output,
        "total_tokens": usage.total,
        "charged_tokens": usage.total,
    }


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_is_charged_by_its_usage(name: str) -> None:
    store = Store()
    text, usage = STREAMS[name]
    answers, record = talk(build(store=store), *request(), *answer_stream(text[:70], text[70:]))
    assert answers == [go_on()] * 6
    assert store.amounts == [usage.total]
    assert report(record)["total_tokens"] == usage.total


def test_what_is_reserved_while_an_answer_is_awaited() -> None:
    store = Store()
    said = {"messages": [{"content": "x" * 400}], "max_tokens": 300, "n": 2}
    size = len(json.dumps(said))
    conversation = Conversation(chain(caller(PEER), link(build(store=store), priority=1)))
    head, rest = request(said)
    conversation.say(head)
    assert store.amounts == [-(-size // 4)]
    conversation.say(rest)
    assert store.amounts == [-(-size // 4) + 600]


@pytest.mark.parametrize(
    ("path", "said", "expected"),
    [
        ("/v1/chat/completions", {}, 1 + 70),
        ("/v1/chat/completions", {"max_tokens": 5}, 5 + 5),
        ("/v1/embeddings", {}, 1),
        ("/v1beta/models/g:generateContent", {"generationConfig": {"maxOutputTokens": 9}}, 11 + 9),
        ("/v1/chat/completions", b"no JSON", 2 + 70),
        ("/v1/chat/completions", {"max_tokens": 10**8}, 10_000),
    ],
)
def test_the_estimate(path: str, said: Any, expected: int) -> None:
    store = Store()
    data = said if isinstance(said, bytes) else json.dumps(said).encode()
    conversation = Conversation(chain(caller(PEER), link(build(store=store, reserveOutput=70), priority=1)))
    conversation.say(headers(path=path, content_type="application/json", content_length=str(len(data))))
    assert conversation.say(body(data)) == go_on()
    assert store.amounts == [expected]


def test_a_request_that_does_not_say_how_long_it_is() -> None:
    store = Store()
    conversation = Conversation(chain(caller(PEER), link(build(store=store, reserve=123, reserveOutput=7), priority=1)))
    head, rest = request(b"{}", length=False)
    conversation.say(head)
    assert store.amounts == [123]
    conversation.say(rest)
    assert store.amounts == [123]


@pytest.mark.parametrize(
    "fields",
    [
        {"content_type": "multipart/form-data; boundary=x"},
        {"content_type": "application/json", "content_encoding": "zstd"},
        {"content_type": "application/json", "content_length": "2000000"},
        {},
    ],
)
def test_a_body_that_is_not_read_is_not_asked_for(fields: dict[str, str]) -> None:
    store = Store()
    conversation = Conversation(chain(caller(PEER), link(build(store=store), priority=1)))
    answer = conversation.say(headers(**{"content_length": "400", **fields}))
    assert isinstance(answer, GoOn)
    assert answer.outcome is not None
    assert answer.outcome.modes is not None
    assert answer.outcome.modes.request_body == "NONE"
    assert store.amounts == [min(10_000, int(fields.get("content_length", 400)) // 4)]


def test_a_request_that_unpacks_to_more_than_is_read_is_taken_for_large() -> None:
    store = Store()
    bomb = gzip.compress(b'{"messages":"%b"}' % (b"x" * 1_000_000))
    talk_ = Conversation(
        chain(caller(PEER), link(build(store=store, maxBodyBytes=20_000, reserveOutput=0), priority=1))
    )
    for event in request(bomb, content_encoding="gzip"):
        talk_.say(event)
    assert store.amounts == [5_000]


def test_an_answer_that_envoy_gave_in_the_place_of_an_upstreams_is_no_error_of_it() -> None:
    """A timeout, or a connection that broke when the request was out: somebody may have worked on it."""
    for details, expected in (
        ("response_timeout", 1_008),
        ("upstream_reset_before_response_started{connection_termination}", 1_008),
        ("upstream_reset_before_response_started{remote_connection_failure}", 0),
        ("extproc_no_credential{}", 0),
        ("via_upstream", 0),
    ):
        store = Store()
        local = response(504, attributes={"response.code_details": details})
        talk(build(store=store), *request({}), local)
        assert sum(store.amounts) == expected, details


def test_one_that_costs_more_than_the_share_of_a_replica_is_refused_and_told_when_to_come_back() -> None:
    class Never(Store):
        async def take(self, demands: Any) -> Tally:
            return Tally(False, tuple(Level(50, math.inf, 3.0) for _ in demands))

    [answer], _ = talk(build(store=Never()), request()[0])
    assert answer == immediate(429, "rate_limited", {"retry-after": "60"})


def test_a_refusal_at_the_headers() -> None:
    filter_ = build({"tokens": 100})
    talk(filter_, *request({"max_tokens": 1000}), *answer_json({}))
    assert talk(filter_, *request())[0] == [
        immediate(
            429,
            "rate_limited",
            {
                "retry-after": "60",
                "ratelimit": '"tokens";r=0;t=60',
                "ratelimit-policy": '"tokens";q=100;qu="tokens";w=60',
                "x-ratelimit-limit-tokens": "100",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "1m0s",
            },
        )
    ]


def test_a_refusal_at_the_body_takes_nothing_of_any_limit() -> None:
    store = Store()
    filter_ = build({"tokens": 100}, {"name": "r", "tokens": None, "requests": 5}, store=store, reserveOutput=1)
    talk(filter_, *request({}), *answer_json({"usage": {"total_tokens": 50}}))
    assert store.amounts == [1, 50]
    answers, record = talk(filter_, *request({"max_tokens": 60}))
    assert answers[0] == go_on()
    assert answers[1] == immediate(429, "rate_limited", {"x-ratelimit-limit-tokens": "100"})
    assert store.amounts == [1, 50]
    assert report(record)["charged_tokens"] == 0


def test_a_refusal_stands_however_long_its_return_takes() -> None:
    """failOpen never makes a pass of a denial: not by way of a store that answers the question, and then nothing more."""
    clock = Clock()

    class Slow(Store):
        async def settle(self, demands: Sequence[Demand], receipt: object, used: Sequence[int]) -> None:
            clock.advance(10)
            await super().settle(demands, receipt, used)

    filter_ = build({"tokens": 100}, store=Slow(), reserveOutput=1)
    talk(filter_, *request({}), *answer_json({"usage": {"total_tokens": 50}}))
    talking = Conversation(chain(caller(PEER), link(filter_, "qos", priority=1, fail_open=True)), clock=clock)
    assert talking.stream(*request({"max_tokens": 60})) == [go_on(), immediate(429, "rate_limited")]


def test_requests_and_tokens_are_told_apart() -> None:
    filter_ = build({"tokens": 100}, {"name": "r", "tokens": None, "requests": 1, "window": "1h"})
    talk(filter_, *request({"max_tokens": 1000}), *answer_json({}))
    (answer,) = talk(filter_, *request())[0]
    assert isinstance(answer, Immediate)
    assert answer.headers == {
        "retry-after": "3600",
        "ratelimit": '"tokens";r=0;t=3600, "r";r=0;t=3600',
        "ratelimit-policy": '"tokens";q=100;qu="tokens";w=60, "r";q=1;w=3600',
        "x-ratelimit-limit-requests": "1",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "1h0m0s",
        "x-ratelimit-limit-tokens": "100",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "1m0s",
    }


class Denies:
    def __init__(self, phase: Phase) -> None:
        self.phases = frozenset({phase})

    async def decide(self, phase: Phase, exchange: Exchange) -> Verdict:
        return deny("forbidden")


@pytest.mark.parametrize(("phase", "expected"), [(Phase.REQUEST_HEADERS, [0, 0]), (Phase.REQUEST_BODY, [0, 1])])
def test_a_later_denial_gives_back(phase: Phase, expected: list[int]) -> None:
    """A request that was counted in the phase before stays counted."""
    store = Store()
    filter_ = build({}, {"name": "r", "tokens": None, "requests": 5}, store=store)
    answers, _ = talk(filter_, *request(), also=[link(Denies(phase), priority=2)])
    assert answers[-1] == immediate(403, "forbidden")
    assert store.amounts == expected


def test_a_denial_before_it_at_the_body_gives_back_too() -> None:
    store = Store()
    answers, record = talk(build(store=store), *request(), also=[link(Denies(Phase.REQUEST_BODY), priority=-1)])
    assert answers[-1] == immediate(403, "forbidden")
    assert store.amounts == [0]
    assert report(record) == {"charged_tokens": 0}


def test_what_never_reached_an_upstream_costs_nothing() -> None:
    store = Store()
    details = {"response.code_details": "no_healthy_upstream"}
    _, record = talk(build(store=store), *request(), response(503, attributes=details), response_body(b"no"))
    assert store.amounts == [0]
    assert report(record) == {"charged_tokens": 0}


@pytest.mark.parametrize(
    ("status", "document", "expected"),
    [
        (400, {"error": {"message": "no"}}, 0),
        (429, {}, 0),
        (500, {"usage": {"total_tokens": 7}}, 7),
        (500, {"usage": {"total_tokens": -7}}, 1008),
        (200, {"choices": []}, 1008),
        (200, {"usage": {"total_tokens": 0}}, 1008),
        (200, {"usage": {"total_tokens": 10**10}}, 1008),
        (200, {"choices": ["x" * 8000]}, 8 + 2005),
        (200, {"usage": {"total_tokens": 5000}}, 5000),
        (200, {"usage": {"total_tokens": 50_000}}, 50_000),
    ],
)
def test_what_an_answer_costs(status: int, document: Any, expected: int) -> None:
    store = Store()
    talk(build(store=store), *request(), *answer_json(document, status))
    assert store.amounts == [expected]


def test_a_client_that_leaves_pays_for_what_it_may_have_had() -> None:
    store = Store()
    head = request()
    talk(
        build(store=store),
        *head,
        response(content_type="text/event-stream"),
        response_body(sse(chunk("Hi")), end=False),
    )
    assert store.amounts == [1008]
    left_at_once = Store()
    talk(build(store=left_at_once), *head)
    assert left_at_once.amounts == [1008]


@pytest.mark.parametrize(("length", "expected"), [("400000", 100_000), ("4" + "0" * 9, 10**7), ("9" * 17, 10**7)])
def test_a_length_that_nobody_sends_does_not_use_up_weeks(length: str, expected: int) -> None:
    """The body is not read, and its sender leaves."""
    store = Store()
    talk(build(store=store), headers(content_type="application/octet-stream", content_length=length))
    assert store.amounts == [expected]


def test_a_client_that_leaves_before_its_body_came_pays_nothing() -> None:
    store = Store()
    talk(build(store=store), request()[0])
    assert store.amounts == [0]


def test_a_get_takes_one_token_unless_it_tells_more() -> None:
    store = Store()
    get = headers(method="GET", path="/v1/models", end=True)
    talk(build(store=store), get, *answer_json({"data": ["x" * 10_000]}))
    assert store.amounts == [1]
    talk(build(store=store), get, *answer_json({"usage": {"total_tokens": 20}}))
    assert store.amounts == [21]


STREAMED = {"model": "m", "messages": [], "stream": True}


def test_include_usage_is_added_and_taken_out_again() -> None:
    store = Store()
    text = sse(chunk("Hi"), chunk(), EXTRA, done=True)
    said = request(STREAMED)
    answers, record = talk(
        build(store=store), *said, *answer_stream(*(text[at : at + 50] for at in range(0, len(text), 50)))
    )
    whole = b'{"stream_options":{"include_usage":true},' + said[1].body[1:]
    assert answers[1] == go_on(body=whole, set={"content-length": str(len(whole))})
    assert sent(answers, 3) == sse(chunk("Hi"), chunk(), done=True)
    assert store.amounts == [21]
    assert report(record)["output_tokens"] == 12


def test_a_client_that_asked_for_it_gets_it() -> None:
    text = sse(chunk("Hi"), EXTRA, done=True)
    said = request({**STREAMED, "stream_options": {"include_usage": True}})
    assert talk(build(), *said, *answer_stream(text))[0] == [go_on()] * 5


def test_an_api_that_does_not_know_the_option_is_not_given_it() -> None:
    data = json.dumps(STREAMED).encode()
    head = headers(path="/v1/messages", content_type="application/json", content_length=str(len(data)))
    assert talk(build(), head, body(data))[0] == [go_on(), go_on()]


@pytest.mark.parametrize(
    "data", [b'{"stream":true,"stream":true}', b'{"stream":false,"Stream":true}', '{"stream":true}'.encode("utf-16")]
)
def test_a_stream_that_may_not_tell_its_usage_is_refused(data: bytes) -> None:
    """Tokens that nobody sees, of thoughts, would not be charged."""
    answers, _ = talk(build(), *request(data))
    assert answers[-1] == immediate(400, "body_malformed")
    head = headers(path="/v1/messages", content_type="application/json", content_length=str(len(data)))
    assert talk(build(), head, body(data))[0] == [go_on(), go_on()]


def test_an_encoded_stream_goes_on_decoded() -> None:
    text = sse(chunk("Hi"), EXTRA, done=True)
    encoded = gzip.compress(text)
    answers, _ = talk(build(), *request(STREAMED), *answer_stream(encoded[:20], encoded[20:], content_encoding="gzip"))
    assert answers[2] == go_on(removed={"content-encoding"})
    assert sent(answers, 3) == sse(chunk("Hi"), done=True)


def test_an_encoded_request_is_read_and_goes_on_decoded_only_if_it_is_changed() -> None:
    store = Store()
    data = gzip.compress(json.dumps({**STREAMED, "max_tokens": 7}).encode())
    answers, _ = talk(build(store=store), *request(data, content_encoding="gzip"))
    assert isinstance(answers[1], GoOn)
    assert answers[1].removed == {"content-encoding"}
    assert json.loads(answers[1].body or b"")["stream_options"] == {"include_usage": True}
    plain = gzip.compress(json.dumps({"max_tokens": 7}).encode())
    assert talk(build(), *request(plain, content_encoding="gzip"))[0] == [go_on(), go_on()]


def test_an_error_is_not_searched_for_what_we_asked_for() -> None:
    text = sse(EXTRA)
    answers, _ = talk(build(), *request(STREAMED), response(500, content_type="text/event-stream"), response_body(text))
    assert answers[2:] == [go_on(), go_on()]


@pytest.mark.parametrize(
    ("encodings", "expected"),
    [("gzip, br", {}), ("gzip, zstd", {"accept-encoding": "gzip"}), ("zstd", {"accept-encoding": "identity"})],
)
def test_the_upstream_may_answer_only_in_what_is_read(encodings: str, expected: dict[str, str]) -> None:
    head = headers(content_length="4", accept_encoding=encodings)
    assert talk(build(), head)[0] == [go_on(set=expected)]
    requests_only = QoSController(QoSControllerConfig.model_validate({"requestsPerMinute": 5}), context())
    assert talk(requests_only, head)[0] == [go_on()]
    assert talk(build({"when": "false"}), head)[0] == [go_on()]


def test_a_stream_that_outruns_its_reservation_is_ended() -> None:
    store = Store()
    filter_ = build(store=store, cutAfter=1.5)
    said = {"max_tokens": 20, "stream": True}
    pieces = [sse(chunk(f"{number:03}")) for number in range(200)]
    answers, record = talk(filter_, *request(said), *answer_stream(*pieces))
    text = sent(answers, 3)
    assert b"".join(pieces).startswith(text[: text.index(b'data: {"error"')])
    assert json.loads(text[text.index(b'{"error"') :]) == {
        "error": {"type": "egress_denied", "code": "rate_limited", "message": "Too many requests.", "request_id": ""}
    }
    reserved = -(-len(json.dumps(said)) // 4) + 20
    assert store.amounts[0] == report(record)["charged_tokens"]
    assert reserved * 1.5 < store.amounts[0] <= reserved * 1.5 + 1


def test_a_stream_within_its_reservation_is_not() -> None:
    text = sse(chunk("Hi"), EXTRA, done=True)
    answers, _ = talk(build(cutAfter=1), *request({"max_tokens": 20}), *answer_stream(text))
    assert sent(answers, 3) == text


def test_a_limit_that_does_not_apply_changes_nothing() -> None:
    store = Store()
    filter_ = build({"when": "request.method == 'GET'"}, {"name": "r", "tokens": None, "requests": 5}, store=store)
    answers, record = talk(filter_, *request(STREAMED), *answer_stream(sse(EXTRA)))
    assert answers == [go_on()] * 5
    assert store.amounts == [1]
    assert report(record) == {}


class Failing(Store):
    """A store that is down from the second question on."""

    async def take(self, demands: Any) -> Tally:
        if self.used:
            raise Unavailable("the counters are down")
        return await super().take(demands)

    async def settle(self, demands: Any, receipt: object, used: Any) -> None:
        raise Unavailable("the counters are down")


def test_a_store_that_goes_down_in_between() -> None:
    closed, record = talk(build(store=Failing()), *request())
    assert closed[-1] == immediate(503, "policy_unavailable")
    assert record is not None
    assert [(skip.extension, skip.cause) for skip in record.unsettled] == [("qos", "unavailable")]
    qos = link(build(store=Failing()), priority=1, fail_open=True)
    assert play(chain(caller(PEER), qos), *request()) == [go_on(), go_on()]


def test_what_is_never_settled_ages_with_its_window() -> None:
    clock = Clock(6000.0)
    filter_ = build({"tokens": 100}, store=Memory(clock))
    conversation = Conversation(chain(caller(PEER), link(filter_, priority=1)))
    for event in request({"max_tokens": 1000}):
        conversation.say(event)
    assert isinstance(talk(filter_, request()[0])[0][0], Immediate)
    clock.advance(60)
    assert talk(filter_, request()[0])[0] == [go_on()]


def test_an_answer_that_costs_more_than_there_is_holds_up_those_that_follow() -> None:
    clock = Clock(6000.0)
    filter_ = build({"tokens": 100, "algorithm": "token-bucket"}, store=Memory(clock), reserveOutput=1)
    talk(filter_, *request({}), *answer_json({"usage": {"total_tokens": 350}}))
    (refused,) = talk(filter_, request()[0])[0]
    assert isinstance(refused, Immediate)
    assert int(str((refused.headers or {})["retry-after"])) > 150


OUTCOMES = st.sampled_from(["usage", "absent", "error", "left", "unreached", "denied", "cut off"])


def left(filter_: QoSController) -> int:
    """What is left of the limit, as one is told that asks for all of it. Having asked costs nothing."""
    (answer,), _ = talk(filter_, headers(content_type="application/json", content_length="40000"))
    if isinstance(answer, GoOn):
        return 10_000
    return int(str((answer.headers or {})["x-ratelimit-remaining-tokens"]))


@pytest.mark.parametrize("algorithm", ["sliding-window", "fixed-window", "token-bucket"])
@settings(max_examples=30, deadline=None)
@given(
    exchanges=st.lists(
        st.tuples(st.integers(0, 2000), st.none() | st.integers(10, 3000), st.integers(1, 6000), OUTCOMES),
        max_size=8,
    )
)
def test_the_counter_holds_what_was_used_and_no_limit_is_passed_at_a_take(
    algorithm: str, exchanges: list[tuple[int, int | None, int, str]]
) -> None:
    filter_ = build({"algorithm": algorithm}, store=Memory(Clock(6000.0)))
    expected = 0
    for size, most, total, outcome in exchanges:
        said = {"messages": "x" * size, **({"max_tokens": most} if most else {})}
        estimate = min(10_000, -(-len(json.dumps(said)) // 4) + (most or 1000))
        before = expected
        answers, _ = talk(filter_, *request(said), *events_of(outcome, total), also=also_of(outcome))
        if before + estimate <= 10_000 and outcome != "denied":
            assert answers[1] == go_on()
            expected += {"usage": total, "error": 0, "unreached": 0}.get(outcome, estimate)
        else:
            assert isinstance(answers[-1], Immediate)
        assert left(filter_) == max(0, 10_000 - expected)


def events_of(outcome: str, total: int) -> tuple[Event, ...]:
    match outcome:
        case "usage":
            return answer_json({"usage": {"total_tokens": total}})
        case "absent":
            return answer_json({})
        case "error":
            return answer_json({"error": "no"}, 400)
        case "unreached":
            return (response(503, attributes={"response.code_details": "no_healthy_upstream"}, end=True),)
        case "cut off":
            return response(content_type="application/json"), response_body(b'{"usage":{"total_tokens":1', end=False)
        case _:
            return ()


def also_of(outcome: str) -> list[Any]:
    return [link(Denies(Phase.REQUEST_BODY), priority=2)] if outcome == "denied" else []
