"""What an exchange may cost, and what it has cost: the arithmetic."""

from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.core.filter import Reading
from extproc.core.headers import Headers
from extproc.core.message import Response
from extproc.ports import Algorithm, Demand
from extproc.testing import context, exchange
from extproc_filters.limiter import Taken
from extproc_filters.limits import Limit, Rule
from extproc_filters.token_limits import Reserved, answer_reading, charges, is_bodiless, length_of, more_of, price
from extproc_filters.usage.answer import Seen
from extproc_filters.usage.counts import MOST, Usage


def rule(**limit: Any) -> Rule:
    return Rule(Limit.model_validate({"name": "t", "window": "1m", **limit}), context(), "config")


def demand(counter: bytes, cost: int) -> Demand:
    return Demand(counter, Algorithm.SLIDING_WINDOW, 10**9, 60.0, 10**9, cost)


NAMES = count()


def taken(*costs: tuple[str, bytes, int]) -> Taken:
    """(`tokens` or `requests`, counter, cost) of each limit."""
    rules = tuple(rule(**{"name": f"n{next(NAMES)}", unit: 10**9, "algorithm": "fixed-window"}) for unit, _, _ in costs)
    return Taken(rules, tuple(demand(counter, cost) for _, counter, cost in costs), object())


def reserved(tokens: int = 100, prompt: int = 40, **more: Any) -> Reserved:
    return Reserved((taken(("tokens", b"a", tokens)),), tokens, prompt, **more)


USED = Usage(10, 20, 30)


@pytest.mark.parametrize(
    ("seen", "status", "reached", "expected"),
    [
        (Seen(USED, whole=True), 200, True, 30),
        (Seen(USED, whole=True), 200, False, 0),
        (Seen(USED, whole=True), 500, True, 30),
        (Seen(Usage(1, 500, 501), whole=True), 200, True, 501),
        (None, None, False, 0),
        (None, None, True, 100),
        (None, 200, True, 100),
        (None, 404, True, 0),
        (Seen(whole=True), 400, True, 0),
        (Seen(unreadable=True, whole=True), 400, True, 100),
        (Seen(whole=True), 399, True, 100),
        (Seen(size=10, whole=True), 200, True, 100),
        (Seen(size=500, whole=True), 200, True, 540),
        (Seen(unreadable=True, size=500, whole=True), 200, True, 540),
        (Seen(USED, size=5), 200, True, 100),
        (Seen(USED, size=500), 200, True, 540),
        (Seen(Usage(5, 900, 905), size=500), 200, True, 905),
        (Seen(USED), 500, True, 100),
        (Seen(size=10**12), 200, True, MOST),
    ],
)
def test_the_price(seen: Seen | None, status: int | None, reached: bool, expected: int) -> None:
    assert price(reserved(seen=seen), status, 100, reached=reached) == expected


def test_what_asked_for_nothing_costs_what_it_took_unless_it_tells() -> None:
    assert price(reserved(seen=Seen(size=5000, whole=True), bodiless=True), 200, 1, reached=True) == 1
    assert price(reserved(seen=Seen(USED, whole=True), bodiless=True), 200, 1, reached=True) == 30


def used(state: Reserved, status: int | None = 200, *, reached: bool = True) -> list[list[int]]:
    found = list(charges(state, status, reached=reached))
    assert [each for each, _ in found] == list(state.takes)
    return [amounts for _, amounts in found]


def two(first: int, more: int, total: int) -> Reserved:
    takes = (taken(("requests", b"r", 1), ("tokens", b"a", first)), taken(("tokens", b"a", more)))
    return Reserved(takes, first + more, 10, seen=Seen(Usage(total, 0, total), whole=True))


@pytest.mark.parametrize(
    ("total", "expected"),
    [
        (150, [[1, 100], [50]]),
        (120, [[1, 100], [20]]),
        (100, [[1, 100], [0]]),
        (60, [[1, 60], [0]]),
        (500, [[1, 100], [400]]),
    ],
)
def test_of_two_questions_the_last_bears_the_difference(total: int, expected: list[list[int]]) -> None:
    assert used(two(100, 50, total)) == expected


def test_what_went_nowhere_costs_no_tokens_but_was_a_request() -> None:
    assert used(two(100, 50, 10), None, reached=False) == [[1, 0], [0]]


def test_each_limit_is_charged_by_what_it_could_take() -> None:
    state = Reserved((taken(("tokens", b"small", 10), ("tokens", b"large", 500)),), 500, 40)
    assert used(state) == [[40, 500]]
    assert used(Reserved(state.takes, 500, 40, seen=Seen(USED, whole=True))) == [[30, 30]]


COSTS = st.lists(
    st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.integers(1, 1000)),
    min_size=1,
    max_size=3,
    unique_by=lambda c: c[0],
)


@settings(max_examples=200, deadline=None)
@given(
    first=COSTS,
    more=COSTS,
    requests=st.booleans(),
    usage=st.none() | st.integers(1, 5000),
    size=st.integers(0, 5000),
    whole=st.booleans(),
    unreadable=st.booleans(),
    status=st.none() | st.sampled_from([200, 204, 301, 400, 429, 500]),
    reached=st.booleans(),
)
def test_every_limit_is_charged_its_price_once(
    first: list[tuple[bytes, int]],
    more: list[tuple[bytes, int]],
    requests: bool,
    usage: int | None,
    size: int,
    whole: bool,
    unreadable: bool,
    status: int | None,
    reached: bool,
) -> None:
    """Whatever was taken in one question or in two, the counters end up with the price."""
    counters = {counter for counter, _ in first}
    second = [(counter, cost) for counter, cost in more if counter in counters]
    seen = Seen(Usage(usage, 0, usage) if usage else None, unreadable and not usage, size, whole)
    begun = [("tokens", *each) for each in first] + ([("requests", b"r", 1)] if requests else [])
    takes = (taken(*begun), *([taken(*(("tokens", *each) for each in second))] if second else []))
    state = Reserved(takes, 700, 100, seen=seen)
    end: dict[bytes, int] = {}
    for each, amounts in charges(state, status, reached=reached):
        for what, amount in zip(each.demands, amounts, strict=True):
            assert amount >= 0
            end[what.counter] = end.get(what.counter, 0) + amount
    for counter in counters:
        took = sum(cost for which, cost in [*first, *second] if which == counter)
        assert end[counter] == model(seen, status, took, reached)
    assert end.get(b"r", 1) == 1


def model(seen: Seen, status: int | None, took: int, reached: bool) -> int:
    """DESIGN section 7, in its own words."""
    told = seen.usage.total if seen.usage else None
    if not reached:
        return 0  # refunded only if no upstream was reached
    if status and status >= 400 and told is None and not seen.unreadable:
        return 0  # or the answer is an error without usage
    if told is None or not seen.whole:  # absent or unreadable, or a client that left
        return max(took, 100 + seen.size, told or 0)
    return told


def test_more_is_taken_only_where_more_may_be_used() -> None:
    rules = (rule(tokens=50), rule(name="b", tokens=500), rule(name="r", requests=5), rule(name="c", tokens=1000))
    first = Taken(
        rules, tuple(demand(name, cost) for name, cost in [(b"a", 50), (b"b", 100), (b"r", 1), (b"c", 200)]), None
    )
    found, demands = more_of(first, 200)
    assert [(each.name, what.counter, what.cost) for each, what in zip(found, demands, strict=True)] == [
        ("b", b"b", 100)
    ]
    assert more_of(first, 100) == ((), ())


def test_no_cost_is_more_than_could_ever_be_had() -> None:
    peer = {"key": ["'x'"]}
    assert rule(tokens=50, **peer).demand(exchange(), 10**9).cost == 50
    assert rule(tokens=50, algorithm="token-bucket", burst=20, **peer).demand(exchange(), 30).cost == 20
    assert rule(tokens=50, algorithm="token-bucket", burst=200, **peer).demand(exchange(), 100).cost == 100
    assert rule(tokens=50, **peer).demand(exchange(), 7).cost == 7
    assert rule(requests=50, **peer).demand(exchange(), 7).cost == 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [("0", 0), ("12", 12), ("", None), ("-1", None), ("1.5", None), ("٣", None), ("9" * 18, None), ("1, 1", None)],
)
def test_content_length(value: str, expected: int | None) -> None:
    assert length_of(Headers([("content-length", value.encode())])) == expected
    assert length_of(Headers()) is None


@pytest.mark.parametrize(
    ("method", "headers", "expected"),
    [
        ("GET", {}, True),
        ("DELETE", {}, True),
        ("GET", {"content-length": "5"}, False),
        ("GET", {"transfer-encoding": "chunked"}, False),
        ("POST", {}, False),
        ("POST", {"content-length": "0"}, True),
        ("get", {}, False),
    ],
)
def test_requests_without_a_body(method: str, headers: dict[str, str], expected: bool) -> None:
    assert is_bodiless(exchange(method=method, headers=headers).request) == expected


WATCH, STREAM, NOTHING = Reading.WATCH, Reading.STREAM, Reading.NOTHING


@pytest.mark.parametrize(
    ("status", "headers", "rewrites", "expected"),
    [
        (200, {"content-type": "application/json"}, True, WATCH),
        (200, {"content-type": "application/problem+json; charset=utf-8"}, False, WATCH),
        (500, {"content-type": "application/json"}, False, WATCH),
        (200, {"content-type": "Text/Event-Stream; charset=utf-8"}, True, STREAM),
        (200, {"content-type": "text/event-stream"}, False, WATCH),
        (200, {"content-type": "text/event-stream", "content-encoding": "br"}, True, STREAM),
        (200, {"content-type": "text/event-stream", "content-encoding": "zstd"}, True, WATCH),
        (200, {"content-type": "text/plain"}, True, WATCH),
        (200, {"content-type": "application/x-ndjson"}, True, WATCH),
        (200, {}, True, WATCH),
        (200, {"content-type": "audio/mpeg"}, True, NOTHING),
        (200, {"content-type": "application/json", "content-length": "0"}, False, NOTHING),
        (204, {}, False, NOTHING),
        (304, {"content-type": "application/json"}, False, NOTHING),
    ],
)
def test_how_much_of_an_answer_is_needed(
    status: int, headers: dict[str, str], rewrites: bool, expected: Reading
) -> None:
    fields = Headers((name, value.encode()) for name, value in headers.items())
    response = Response(status, fields)
    assert answer_reading(exchange().request, response, rewrites=rewrites) is expected
    assert answer_reading(exchange(method="HEAD").request, response, rewrites=rewrites) is NOTHING
