"""Numbers under other names: which, and nothing else."""

from dataclasses import replace
from typing import Any

import pytest

from extproc.core.admission import Admission
from extproc.core.engine import Engine, Selection
from extproc.core.event import Outcome
from extproc.core.filter import Reading
from extproc.core.phase import Direction, Part, Phase
from extproc.core.publish import SHARED, Publishing, TokenLimit, published
from extproc.core.session import Session
from extproc.core.verdict import Continue
from extproc.testing import FixedPolicy, chain, headers, response, response_body, run
from extproc.testing.conversation import pace
from extproc.wire.codec import encode, serialize
from extproc.wire.pb.external_processor_pb2 import CommonResponse
from tests.core.driving import Says, link, state

NAMES = Publishing("io.example", {"input_tokens": "in", "total_tokens": "all"})


class Tells(Says):
    max_body_bytes = 1000

    def reading(self, phase: Phase, exchange: object) -> Reading:
        return Reading.WHOLE

    def transformer(self, phase: Phase, exchange: object) -> None:
        return None


def test_only_what_is_named_and_only_numbers() -> None:
    told = {
        "a": {"input_tokens": 3, "total_tokens": 5, "secret": "s"},
        "b": {"input_tokens": 4, "total_tokens": "many"},
    }
    begun = replace(state(), reports=told)
    assert published(NAMES, begun) == {"io.example": {"in": 4, "all": 5}}
    assert published(NAMES, state()) == published(NAMES, None) == {}


@pytest.mark.parametrize(
    ("limit", "told"),
    [
        (TokenLimit(100, 3600.0), {"requests_per_unit": 100, "unit": "HOUR"}),
        (TokenLimit(2**40, 1.0), {"requests_per_unit": 2**32 - 1, "unit": "SECOND"}),
        (TokenLimit(100, 90.0), None),
    ],
)
def test_a_limit_is_told_in_envoys_units(limit: TokenLimit, told: object) -> None:
    begun = replace(state(), facts={TokenLimit: limit})
    named = Publishing("io.example", {}, "limit")
    assert published(named, begun) == ({"io.example": {"limit": told}} if told else {})
    assert published(NAMES, begun) == {}


def played(**engine: Any) -> list[Outcome]:
    tells = link("usage", Tells(Continue(report={"total_tokens": 7, "word": "w"})), Phase.RESPONSE_BODY)
    policy = FixedPolicy(Selection(chain(tells)))
    session = Session(Engine(policy, pace(), Admission(), lambda found, _: found, lambda _: None, **engine))
    configured: Any = ("BUFFERED", "BUFFERED")
    events = replace(headers(end=True), configured=configured), response(200), response_body(b"x")
    return [outcome for event in events for outcome in run(session.step(event))]


def test_it_is_told_with_the_answer_that_it_is_of_and_beside_ours() -> None:
    *_, last = played(publishing=NAMES)
    assert last.metadata is not None
    assert last.metadata[SHARED] == {"io.example": {"all": 7}}
    told = encode(last).dynamic_metadata
    assert {name: dict(told[name]) for name in told if name != "extproc"} == {"io.example": {"all": 7}}
    assert SHARED not in dict(told["extproc"])
    assert told["extproc"]["reports"]["usage"]["word"] == "w"


def test_without_names_nothing_is_beside_ours() -> None:
    *_, last = played()
    assert list(encode(last).dynamic_metadata) == ["extproc"]


def test_a_route_that_is_chosen_anew_is_told_to_envoy() -> None:
    answer = encode(Outcome(Direction.REQUEST, Part.BODY, reroute=True))
    assert answer.request_body.response == CommonResponse(clear_route_cache=True)
    assert b"\x28\x01" in serialize(Outcome(Direction.REQUEST, Part.HEADERS, reroute=True))
    assert not encode(Outcome(Direction.REQUEST, Part.BODY)).request_body.response.clear_route_cache
