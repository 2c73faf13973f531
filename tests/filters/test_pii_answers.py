"""PIIDetector in response-body: what an answer holds does not reach the client; and in request-headers."""

import gzip
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc import Continue, Phase, Respond
from extproc.core.event import BodyMode
from extproc.core.filter import Reading
from extproc.core.message import Response
from extproc.core.secret import seal
from extproc.core.verdict import deny
from extproc.errors import ConfigError
from extproc.testing import (
    Conversation,
    chain,
    exchange,
    go_on,
    headers,
    immediate,
    link,
    play,
    response,
    response_body,
    run,
)
from extproc_filters.pii.screening import HOLD
from tests.filters.pii.echo import DIALECTS, TEXT, TOOL, heard
from tests.filters.pii.samples import CARD, EMAIL, JWT, ORDINARY, PEM
from tests.filters.test_pii_detector import HASH_KEY, detector

JSON = {"content-type": "application/json"}
SSE = {"content-type": "text/event-stream"}
ANSWER = {
    "id": "chatcmpl-4111111111111111",
    "created": 1700000000,
    "model": "gpt",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": f"Write to {EMAIL}"}, "finish_reason": "stop"}
    ],
}


def answering(fail_open: bool = False, **config: Any) -> Conversation:
    filter_ = detector(fail_open=fail_open, phase=Phase.RESPONSE_BODY, **config)
    talk = Conversation(chain(link(filter_, "pii", phase=Phase.RESPONSE_BODY)))
    talk.say(headers(end=True))
    return talk


def left(talk: Conversation, *chunks: bytes, fields: Any = SSE) -> bytes:
    answers = talk.stream(
        response(200, fields), *(response_body(each, end=False) for each in chunks), response_body(b"")
    )
    return b"".join(answer.body or b"" for answer in answers)  # type: ignore[union-attr]


def test_a_whole_answer() -> None:
    talk = answering()
    assert talk.say(response(200, JSON)).outcome.modes.response_body is BodyMode.BUFFERED  # type: ignore[union-attr]
    redacted = json.loads(talk.say(response_body(json.dumps(ANSWER).encode())).body or b"")  # type: ignore[union-attr]
    assert redacted["choices"][0]["message"]["content"] == "Write to [EMAIL_ADDRESS]"
    assert {**redacted, "choices": 0} == {**ANSWER, "choices": 0}
    record = talk.end()
    assert record is not None
    assert record.reports["pii"] == {"EMAIL_ADDRESS": 1}


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"redactionStyle": "delete"}, ""),
        ({"redactionStyle": "hash", "hashKey": HASH_KEY}, "[EMAIL_ADDRESS:"),
        ({"mode": "detect"}, EMAIL),
    ],
)
def test_other_styles(config: dict[str, Any], word: str) -> None:
    for fields, sent in (
        (JSON, json.dumps(ANSWER).encode()),
        (SSE, DIALECTS["chat"].delta(0, TEXT, f"Write to {EMAIL}")),
    ):
        talk = answering(**config)
        answers = talk.stream(response(200, fields), response_body(sent))
        whole = b"".join(answer.body or b"" for answer in answers) or sent  # type: ignore[union-attr]
        assert (EMAIL.encode() in whole) is (word == EMAIL)
        assert f"Write to {word}".encode() in whole
        record = talk.end()
        assert record is not None
        assert record.reports["pii"] == {"EMAIL_ADDRESS": 1}


def test_blocking() -> None:
    talk = answering(redactionStyle="block")
    assert talk.stream(response(200, JSON), response_body(json.dumps(ANSWER).encode()))[-1] == immediate(
        403, "pii_blocked"
    )
    talk = answering(redactionStyle="block")
    words = [f"word{number} " for number in range(200)]
    events = DIALECTS["chat"].say((0, TEXT, piece) for piece in [*words, EMAIL, " ", *words])
    whole = left(talk, *events)
    assert EMAIL.encode() not in whole
    assert whole.endswith(b"\n\n")
    error = json.loads(whole.rstrip().rpartition(b"data: ")[2])["error"]
    assert (error["type"], error["code"]) == ("egress_denied", "pii_blocked")
    short = DIALECTS["chat"].say((0, TEXT, piece) for piece in ["a ", EMAIL])
    assert b"pii_blocked" in left(answering(redactionStyle="block"), *short)


def test_media_types() -> None:
    png = {"content-type": "image/png"}
    assert answering().stream(response(200, png), response_body(b"x"))[-1] == immediate(502, "response_unprocessable")
    assert answering().stream(response(204, png, end=True)) == [go_on()]
    passing = answering(unknownBody="pass")
    assert passing.stream(response(200, png), response_body(b"x")) == [go_on(), go_on()]
    for fields in ({**JSON, "content-encoding": "zstd"}, {"content-type": "text/html; charset=latin1"}):
        assert answering().stream(response(200, fields), response_body(b"x"))[-1] == immediate(502)
    assert answering().stream(response(200, {**SSE, "content-encoding": "zstd"}))[-1] == immediate(502)
    assert answering().stream(response(200, SSE), response_body(b"data: \xff\n\n"))[-1] == immediate(502)


def test_a_part_of_an_answer_is_not_judged() -> None:
    fields = {"content-type": "text/plain", "content-range": "bytes 0-5/20"}
    for style in ("mask", "block"):
        talk = answering(redactionStyle=style)
        assert talk.stream(response(206, fields), response_body(b"jane.r"))[-1] == immediate(
            502, "response_unprocessable"
        )
    assert answering(mode="detect").stream(response(206, fields), response_body(b"jane.r")) == [go_on(), go_on()]


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_a_value_that_is_split_over_events(name: str) -> None:
    said = f"Write to {EMAIL} or pay with {CARD}, please. " + "Nothing else here. " * 40
    events = DIALECTS[name].say((0, TEXT, character) for character in said)
    talk = answering()
    pieces = [talk.stream(response(200, SSE))]
    pieces += [talk.stream(response_body(each, end=False)) for each in events]
    early = b"".join(answer.body or b"" for given in pieces[: len(said) - 10] for answer in given)  # type: ignore[union-attr]
    assert len(heard(early)[TEXT]) > len(said) - HOLD - 200
    pieces.append(talk.stream(response_body(b"")))
    whole = b"".join(answer.body or b"" for given in pieces for answer in given)  # type: ignore[union-attr]
    assert heard(whole)[TEXT] == said.replace(EMAIL, "[EMAIL_ADDRESS]").replace(CARD, "[CREDIT_CARD]")


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_arguments_of_a_tool_leave_when_they_are_whole(name: str) -> None:
    said = json.dumps({"to": EMAIL, "card": 4111111111111111, "body": json.dumps({"ssn": "123-45-6789"}), "n": 5})
    kind = TEXT if name in ("gemini", "completions") else TOOL
    events = DIALECTS[name].say((0, kind, character) for character in said)
    found = heard(left(answering(), *events))
    document = json.loads(found[TEXT if kind == TEXT else f"{TOOL}0"])
    inner = json.loads(document.pop("body"))
    assert document == {"to": "[EMAIL_ADDRESS]", "card": "[CREDIT_CARD]", "n": 5}
    assert inner == {"ssn": "[US_SSN]"}


@pytest.mark.parametrize("value", [JWT, PEM, EMAIL, CARD, "https://user:pa55word@host.example/x"])
def test_long_values_are_held_back_whole(value: str) -> None:
    said = f"It is this:\n{value}\n" + "and that is all. " * 60
    events = DIALECTS["chat"].say((0, TEXT, said[at : at + 5]) for at in range(0, len(said), 5))
    for chunks in (events, [b"".join(events)]):
        text = heard(left(answering(), *chunks))[TEXT]
        assert value not in text
        assert not any(value[at : at + 24] in text for at in range(0, len(value) - 24, 8) if "host" not in value)
        assert text.startswith("It is this:\n")
        assert text.endswith("and that is all. ")


def test_everything_else_in_events_is_scanned_as_well() -> None:
    for event in (
        b'data: {"type":"response.completed","response":{"output":[{"content":[{"text":"%s"}]}]}}\n\n',
        b'data: {"choices":[{"index":0,"delta":{"content":""}}],"note":"%s"}\n\n',
        b"data: %s\n\n",
        b'data: {"unknown":"%s\n\n',
        b"event: x\ndata: one\ndata: %s\n\n",
        b'data: {"%s":1}\n\n',
        b'data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":"%s"}}\n\n',
    ):
        whole = left(answering(), event % EMAIL.encode())
        assert whole == event % b"[EMAIL_ADDRESS]"


def test_an_encoded_stream() -> None:
    sent = b"".join(DIALECTS["anthropic"].say([(0, TEXT, EMAIL)]))
    talk = answering()
    answers = talk.stream(response(200, {**SSE, "content-encoding": "gzip"}), response_body(gzip.compress(sent)))
    assert answers[0].removed == {"content-encoding"}  # type: ignore[union-attr]
    assert heard(b"".join(answer.body or b"" for answer in answers)) == {TEXT: "[EMAIL_ADDRESS]"}  # type: ignore[union-attr]


PLANTED = [EMAIL, CARD, "123-45-6789", "DE89 3704 0044 0532 0130 00"]
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    [*ORDINARY, *PLANTED, "x " * 150]
)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(WORDS, max_size=8).map("  ".join),
    st.lists(st.integers(0, 3000), max_size=10),
    st.lists(st.integers(0, 9000), max_size=6),
    st.sampled_from(sorted(DIALECTS)),
)
def test_no_value_leaves_however_it_is_cut(text: str, deltas: list[int], chunks: list[int], name: str) -> None:
    transformer = SCREEN.transformer(Phase.RESPONSE_BODY, STREAMED)
    assert transformer is not None
    events = b"".join(DIALECTS[name].say((0, TEXT, piece) for piece in _cut(text, deltas)))
    out = b"".join([*(transformer.feed(chunk) for chunk in _cut(events, chunks)), *transformer.finish()])
    said = heard(out).get(TEXT, "")
    assert not any(value in said for value in PLANTED)
    verdict = transformer.conclude()
    assert isinstance(verdict, Continue)
    if not verdict.report:
        assert said == text


def _cut(data: Any, at: list[int]) -> list[Any]:
    places = sorted({place % (len(data) + 1) for place in at})
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


SCREEN = detector(phase=Phase.RESPONSE_BODY)
STREAMED = exchange(response=Response(200, exchange(headers=SSE).request.headers))


# request-headers


def at_headers(**config: Any) -> Any:
    return link(detector(phase=Phase.REQUEST_HEADERS, **config), "pii", phase=Phase.REQUEST_HEADERS)


def test_headers_are_scanned() -> None:
    assert play(chain(at_headers()), headers({"x-note": f"from {EMAIL}"})) == [immediate(403, "pii_blocked")]
    assert play(chain(at_headers()), headers({"x-note": "nothing"})) == [go_on()]
    assert play(chain(at_headers(scan=["path"])), headers({"x-note": EMAIL}, path="/a?b=c")) == [go_on()]
    assert play(chain(at_headers(scan=["path"])), headers(path=f"/users/{EMAIL}")) == [immediate(403, "pii_blocked")]
    both = link(detector(scan=["body", "headers"]), phase=Phase.REQUEST_BODY)
    assert play(chain(both), headers({"x-note": EMAIL}, end=True)) == [immediate(403, "pii_blocked")]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("referer", f"https://a.example/?m={EMAIL}"), ("cookie", f"user={EMAIL}"), ("from", EMAIL),
        ("x-user", "jane.roe%40example.org"),
        ("x-forwarded-email", EMAIL), ("content-disposition", f'inline; filename="{EMAIL}.txt"'),
        ("content-location", f"/users/{EMAIL}"),
        ("x-ssn", "123-45-6789"), ("x-a", f"é {EMAIL}"), ("x-a", b"\xff " + EMAIL.encode()), ("x-two", ["a", EMAIL]),
    ],
)  # fmt: skip
def test_what_is_found_in_headers(name: str, value: Any) -> None:
    verdict = run(detector(phase=Phase.REQUEST_HEADERS).decide(Phase.REQUEST_HEADERS, exchange(headers={name: value})))
    assert isinstance(verdict, Respond)
    assert EMAIL not in repr(verdict)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("user-agent", "OpenAI/Python 1.2.3.4"), ("x-forwarded-for", "192.0.2.7"), ("forwarded", "for=192.0.2.7"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), ("x-request-id", "4111-1111-1111-1111"),
        ("x-stainless-runtime-version", "10.11.12.13"), ("content-digest", "sha-256=:4111111111111111:"),
        ("authorization", "Bearer sk-ant-api03-" + "aB3" * 31), ("date", "Tue, 15 Nov 1994 08:12:31 GMT"),
    ],
)  # fmt: skip
def test_headers_that_are_no_personal_data(name: str, value: str) -> None:
    assert play(chain(at_headers()), headers({name: value})) == [go_on()]


def test_what_the_platform_sets_is_not_read() -> None:
    seen = exchange(headers=[("x-key", seal(EMAIL.encode()))])
    assert run(detector(phase=Phase.REQUEST_HEADERS).decide(Phase.REQUEST_HEADERS, seen)) == Continue()


def test_detecting_reports_and_denies_nothing() -> None:
    watching = detector(phase=Phase.REQUEST_HEADERS, mode="detect", scan=["query", "path", "headers"])
    seen = exchange(headers={"x-a": EMAIL}, path=f"/{EMAIL}?a={EMAIL}&b={CARD.replace(' ', '+')}")
    verdict = run(watching.decide(Phase.REQUEST_HEADERS, seen))
    assert verdict == Continue(report={"target.CREDIT_CARD": 1, "target.EMAIL_ADDRESS": 3})


@pytest.mark.parametrize(
    ("phase", "config", "place", "message"),
    [
        (Phase.REQUEST_HEADERS, {"scan": ["body"]}, "config.scan", "there is no body"),
        (Phase.REQUEST_HEADERS, {"scan": []}, "config.scan", "it names nothing"),
        (Phase.RESPONSE_BODY, {"scan": ["body", "query"]}, "config.scan", "nothing to scan but the body"),
        (Phase.RESPONSE_BODY, {"scan": ["query"]}, "config.scan", "body is missing"),
        (Phase.RESPONSE_BODY, {"redactionStyle": "placeholder"}, "config.redactionStyle", "is for requests"),
        (Phase.RESPONSE_BODY, {"redactionStyle": "placeholder", "restore": True}, "config.restore", "request-body"),
        (Phase.REQUEST_HEADERS, {"redactionStyle": "placeholder", "restore": True}, "config.restore", "request-body"),
    ],
)
def test_configurations_that_are_refused(phase: Phase, config: dict[str, Any], place: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        detector(phase=phase, **config)
    assert caught.value.place.field == place
    assert message in caught.value.message


def test_readings_of_answers() -> None:
    ask = Phase.RESPONSE_BODY
    assert SCREEN.reading(ask, STREAMED) is Reading.STREAM
    assert SCREEN.reading(ask, exchange()) is Reading.WHOLE
    assert SCREEN.follow_ups == frozenset()
    assert deny("pii_blocked").status == 403


def test_the_event_that_brings_the_rest_is_scanned_as_well() -> None:
    """What stood beside a text in its last event goes with the event that is made for the end of that text."""
    event = {"object": f"I am {EMAIL}", "id": CARD, "choices": [{"index": 0, "text": "hello"}]}
    whole = left(answering(), b"data: " + json.dumps(event).encode() + b"\n\n", b"data: [DONE]\n\n")
    assert whole.count(b"data: ") == 3
    assert heard(whole) == {TEXT: "hello"}
    assert EMAIL.encode() not in whole
    assert CARD.encode() not in whole
