"""PIIDetector with `restore: true`: the destination sees placeholders, the client gets its own values back."""

import gzip
import json
from typing import Any

import pytest

from extproc import Continue, Phase
from extproc.core.event import BodyMode
from extproc.core.filter import Reading
from extproc.core.link import Link
from extproc.core.message import Response
from extproc.errors import Cause, Malformed, TooLarge
from extproc.testing import (
    Conversation,
    body,
    chain,
    exchange,
    go_on,
    headers,
    immediate,
    link,
    response,
    response_body,
)
from extproc.testing import run as run_
from extproc_filters.pii.answers import Assigned
from tests.filters.pii.echo import DIALECTS, TEXT, heard
from tests.filters.pii.samples import CARD, EMAIL
from tests.filters.test_pii_detector import detector

JSON = {"content-type": "application/json"}
SSE = {"content-type": "text/event-stream; charset=utf-8"}
HISTORY = [{"role": "user", "content": f"I am {EMAIL}, my card is {CARD}."}]
SENT = json.dumps({"model": "m", "messages": HISTORY}).encode()
LEAVES = SENT.replace(EMAIL.encode(), b"[EMAIL_ADDRESS_1]").replace(CARD.encode(), b"[CREDIT_CARD_1]")
DUPLEX, BUFFERED, NONE = BodyMode.FULL_DUPLEX_STREAMED, BodyMode.BUFFERED, BodyMode.NONE


def restoring(**config: Any) -> Link:
    filter_ = detector(**{"redactionStyle": "placeholder", "restore": True, **config})
    return link(filter_, "pii", phase=Phase.REQUEST_BODY)


def begun(sent: bytes = SENT, fields: Any = JSON, path: str = "/v1/chat/completions", **config: Any) -> Conversation:
    """A conversation up to the request's body."""
    talk = Conversation(chain(restoring(**config)))
    talk.say(headers(fields, path=path))
    talk.say(body(sent))
    return talk


def answered(talk: Conversation, fields: Any, whole: bytes) -> bytes:
    """What leaves in the place of the answer, or nothing if it leaves as it came."""
    answers = talk.stream(response(200, fields), response_body(whole))
    return b"".join(answer.body or b"" for answer in answers)  # type: ignore[union-attr]


def test_a_whole_answer() -> None:
    talk = Conversation(chain(restoring()))
    assert talk.say(headers(JSON)) == go_on()
    assert talk.say(body(SENT)).body == LEAVES  # type: ignore[union-attr]
    answer = json.dumps(
        {"choices": [{"message": {"content": "Hello [EMAIL_ADDRESS_1] ([CREDIT_CARD_1], [US_SSN_1])"}}]}
    )
    assert talk.say(response(200, JSON)).outcome.modes.response_body is BUFFERED  # type: ignore[union-attr]
    restored = answer.replace("[EMAIL_ADDRESS_1]", EMAIL).replace("[CREDIT_CARD_1]", CARD).encode()
    assert talk.say(response_body(answer.encode())).body == restored  # type: ignore[union-attr]
    record = talk.end()
    assert record is not None
    assert record.reports["pii"] == {"EMAIL_ADDRESS": 1, "CREDIT_CARD": 1, "restored": 2}


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_a_streamed_answer(name: str) -> None:
    talk = begun()
    said = "Hello [EMAIL_ADDRESS_1], your card [CREDIT_CARD_1] is fine."
    events = DIALECTS[name].say((0, TEXT, character) for character in said)
    answers = talk.stream(response(200, {**SSE, "content-length": "5", "etag": '"x"'}))
    assert answers[0].outcome.modes.response_body is DUPLEX  # type: ignore[union-attr]
    assert answers[0] == go_on(removed={"content-length", "etag"})
    left = [talk.stream(response_body(each, end=False)) for each in events]
    left.append(talk.stream(response_body(b"")))
    assert left[0] == [go_on(events[0], end=False)]
    whole = b"".join(answer.body or b"" for given in left for answer in given)  # type: ignore[union-attr]
    assert heard(whole) == {TEXT: f"Hello {EMAIL}, your card {CARD} is fine."}


def test_the_history_of_a_chat_keeps_its_numbers() -> None:
    later = [
        *HISTORY,
        {"role": "assistant", "content": f"Hello {EMAIL}"},
        {"role": "user", "content": f"Tell joe@example.org of \\{EMAIL.replace('@', '%40')}, {CARD.replace(' ', ' ')}"},
    ]
    talk = Conversation(chain(restoring()))
    talk.say(headers(JSON))
    left = json.loads(talk.say(body(json.dumps({"messages": later}).encode())).body or b"")  # type: ignore[union-attr]
    assert [message["content"] for message in left["messages"]] == [
        "I am [EMAIL_ADDRESS_1], my card is [CREDIT_CARD_1].",
        "Hello [EMAIL_ADDRESS_1]",
        "Tell [EMAIL_ADDRESS_2] of \\[EMAIL_ADDRESS_1], [CREDIT_CARD_1]",
    ]


FORMS = [
    "[EMAIL_ADDRESS_1]", r"\u005bEMAIL_ADDRESS_1]", "%5BEMAIL_ADDRESS_1%5D", "&#91;EMAIL_ADDRESS_1&#93;",
    "\uff3bEMAIL_ADDRESS_\uff11\uff3d", "[EMAIL_\u200bADDRESS_1]", "%255BEMAIL_ADDRESS_1%255D", r"\\u005bEMAIL_ADDRESS_1]",
    r"[EMAIL\\_ADDRESS\\_1]", r"\\[EMAIL\\_ADDRESS\\_1\\]",
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_what_the_request_held_already_is_never_given(form: str) -> None:
    sent = b'{"a": "%b", "b": "%b"}' % (form.encode(), EMAIL.encode())
    for fields, path in ((sent, "/x"), (b'{"a": "%b"}' % EMAIL.encode(), "/x?q=%5BEMAIL_ADDRESS_1%5D")):
        talk = begun(fields, path=path)
        answer = b'{"a": "[EMAIL_ADDRESS_1] [EMAIL_ADDRESS_2]"}'
        assert answered(talk, JSON, answer) == answer.replace(b"[EMAIL_ADDRESS_2]", EMAIL.encode())


def test_nothing_is_restored_that_was_not_replaced() -> None:
    answer = b'{"a": "[EMAIL_ADDRESS_1]"}'
    assert answered(begun(b'{"a": "[EMAIL_ADDRESS_1]"}'), JSON, answer) == b""
    detecting = begun(mode="detect")
    assert detecting.say(response(200, JSON)) == go_on()
    assert answered(begun(restore=False), JSON, answer) == b""


@pytest.mark.parametrize(
    "fields", [{"content-type": "image/png"}, {}, {"content-type": "application/x-www-form-urlencoded"},
               {"content-type": "application/json; charset=utf-16"}]
)  # fmt: skip
def test_answers_that_are_left_alone(fields: Any) -> None:
    talk = begun()
    assert talk.say(response(200, fields)).outcome.modes.response_body is NONE  # type: ignore[union-attr]


def test_requests_whose_answers_nobody_needs() -> None:
    for sent, fields, path in (
        (b'{"a": 1}', JSON, "/v1/chat/completions"),
        (b'{"input": "%b"}' % EMAIL.encode(), JSON, "/v1/embeddings"),
        (b'{"a": "%b"}' % EMAIL.encode(), JSON, "/v1beta/models/x:batchEmbedContents"),
        (b"\x00", {"content-type": "image/png"}, "/x"),
    ):
        talk = begun(sent, fields, path, unknownBody="pass")
        assert talk.say(response(200, JSON)) == go_on()
        assert talk.say(response_body(b'{"a": "[EMAIL_ADDRESS_1]"}')) == go_on()


@pytest.mark.parametrize("answer", [b'{"a": "[EMAIL_ADDRESS_1]"', b"[EMAIL_ADDRESS_1]\xff", b"\xff", b"hello"])
def test_what_says_that_it_is_json_and_is_none_is_left_alone(answer: bytes) -> None:
    assert answered(begun(), JSON, answer) == b""


def test_a_text_and_a_byte_order_mark() -> None:
    plain = {"content-type": "text/markdown"}
    assert answered(begun(), plain, "\ufeffé [EMAIL_ADDRESS_1]".encode()) == f"\ufeffé {EMAIL}".encode()
    assert answered(begun(), plain, b'{"a": "[EMAIL_ADDRESS_1]"}') == b'{"a": "%b"}' % EMAIL.encode()


def test_an_encoded_answer_goes_on_decoded() -> None:
    answer = b'{"a": "[EMAIL_ADDRESS_1]"}'
    for fields, sent, left in (
        (JSON, answer, b'{"a": "%b"}' % EMAIL.encode()),
        (SSE, b"data: " + answer + b"\n\n", b'data: {"a": "%b"}\n\n' % EMAIL.encode()),
    ):
        talk = begun()
        fields_ = {**fields, "content-encoding": "gzip"}
        answers = talk.stream(response(200, fields_), response_body(gzip.compress(sent)))
        assert b"".join(each.body or b"" for each in answers) == left  # type: ignore[union-attr]
        assert any("content-encoding" in each.removed for each in answers)  # type: ignore[union-attr]
    with pytest.raises(Malformed):
        run_(restoring().filter.decide(Phase.RESPONSE_BODY, _answer({**SSE, "content-encoding": "zstd"})))


def test_the_request_asks_for_no_other_encoding() -> None:
    for asked, cut in (("gzip, deflate, br, zstd", "gzip, deflate, br"), ("zstd", "identity"), ("*", "identity")):
        talk = Conversation(chain(restoring()))
        talk.say(headers({**JSON, "accept-encoding": asked}))
        assert talk.say(body(SENT)).set["accept-encoding"] == cut  # type: ignore[union-attr]
    talk = Conversation(chain(restoring()))
    talk.say(headers({**JSON, "accept-encoding": "gzip, br"}))
    assert "accept-encoding" not in talk.say(body(SENT)).set  # type: ignore[union-attr]
    talk = Conversation(chain(link(detector(redactionStyle="placeholder"), phase=Phase.REQUEST_BODY)))
    talk.say(headers({**JSON, "accept-encoding": "zstd"}))
    assert "accept-encoding" not in talk.say(body(SENT)).set  # type: ignore[union-attr]


def _answer(fields: Any, data: bytes | None = None, state: object = None) -> Any:
    message = exchange(headers=fields).request.headers
    made = Assigned(_placeholders(), {}) if state is None else state
    return exchange(headers=JSON, response=Response(200, message, data), state=made)


def _placeholders() -> Any:
    filter_ = restoring().filter
    seen = exchange(headers=JSON, body=SENT)
    transformer = filter_.transformer(Phase.REQUEST_BODY, seen)  # type: ignore[attr-defined]
    transformer.feed(SENT)
    list(transformer.finish())
    return transformer.conclude().state.placeholders


def test_what_is_left_for_the_answer_shows_nothing() -> None:
    filter_ = restoring().filter
    transformer = filter_.transformer(Phase.REQUEST_BODY, exchange(headers=JSON, body=SENT))  # type: ignore[attr-defined]
    transformer.feed(SENT)
    list(transformer.finish())
    verdict = transformer.conclude()
    assert isinstance(verdict, Continue)
    for shown in (verdict, transformer, verdict.state, _answer(SSE)):
        assert EMAIL not in repr(shown)
    assert "jane" not in str(vars(type(verdict.state)))


def test_growth_is_bounded() -> None:
    long = "L" * 3000
    config = {"patterns": [{"name": "LONG", "regex": "L{3000}"}], "maxBodyBytes": 8000}
    sent = json.dumps({"a": long}).encode()
    fine, much = b'["[LONG_1] [LONG_1]"]', json.dumps(["[LONG_1]"] * 4).encode()
    assert answered(begun(sent, **config), JSON, fine) == fine.replace(b"[LONG_1]", long.encode())
    assert begun(sent, **config).stream(response(200, JSON), response_body(much))[-1] == immediate(
        502, "response_unprocessable"
    )
    talk = begun(sent, **config)
    event = b'data: {"a":"[LONG_1]"}\n\n'
    talk.stream(response(200, SSE))
    answers = talk.stream(*(response_body(event, end=False) for _ in range(4)))
    assert [len(answer.body) for answer in answers[:2]] == [len(event) - 8 + 3000] * 2  # type: ignore[union-attr,arg-type]
    assert answers[2] == immediate(500, "policy_error")


def test_an_event_is_no_larger_than_a_body() -> None:
    talk = begun(maxBodyBytes=1000)
    answers = talk.stream(response(200, SSE), response_body(b"data: " + b"x" * 2000, end=False))
    assert answers[-1] == immediate(502, "response_unprocessable")
    small = begun(maxBodyBytes=1000)
    assert small.stream(response(200, JSON), response_body(b'"' + b"x" * 1000 + b'"'))[-1] == immediate(502)


def test_a_bomb_is_defused() -> None:
    """A few bytes that become very many, and not too few bytes that become very many little by little."""
    filter_ = restoring(maxBodyBytes=100_000).filter
    for unit in (b": \n\n", b"x", b'data: {"a": "[EMAIL_ADDRESS_1]"}\n\n'):
        bomb = gzip.compress(unit * 1_000_000)
        answer = _answer({**SSE, "content-encoding": "gzip"})
        transformer = filter_.transformer(Phase.RESPONSE_BODY, answer)  # type: ignore[attr-defined]
        with pytest.raises(TooLarge):
            _swallow(transformer, bomb)


def _swallow(transformer: Any, bomb: bytes) -> None:
    for start in range(0, len(bomb), 1024):
        assert len(transformer.feed(bomb[start : start + 1024])) < 2_000_000
    for out in transformer.finish():
        assert len(out) < 2_000_000


def test_where_it_fails_open_the_answer_passes_as_it_came() -> None:
    covers = [Cause.TOO_LARGE, Cause.MALFORMED]
    filter_ = detector(redactionStyle="placeholder", restore=True, maxBodyBytes=1000)
    talk = Conversation(chain(link(filter_, phase=Phase.REQUEST_BODY, fail_open=covers)))
    talk.say(headers(JSON))
    talk.say(body(SENT))
    answer = json.dumps(["[EMAIL_ADDRESS_1]", "x" * 2000]).encode()
    assert talk.stream(response(200, JSON), response_body(answer))[-1] == go_on()


def test_the_exchange_that_broke_off_reports_what_it_did() -> None:
    talk = begun()
    talk.stream(response(200, SSE), response_body(b'data: {"a":"[EMAIL_ADDRESS_1]"}\n\ndata: {"a":', end=False))
    record = talk.end()
    assert record is not None
    assert record.reports["pii"]["restored"] == 1


def test_readings() -> None:
    filter_ = detector(unknownBody="pass", redactionStyle="placeholder", restore=True)
    strict = detector()
    ask = Phase.REQUEST_BODY
    assert filter_.reading(ask, exchange(headers=JSON)) is Reading.WHOLE
    assert filter_.reading(ask, exchange(headers={"content-type": "image/png"})) is Reading.NOTHING
    assert filter_.reading(ask, exchange(headers={"content-type": "image/png"}, path="/?a=b")) is Reading.WATCH
    assert strict.reading(ask, exchange(headers={"content-type": "image/png"})) is Reading.WHOLE
    with pytest.raises(Malformed):
        filter_.reading(ask, exchange(headers={"content-type": "x"}))
    back = Phase.RESPONSE_BODY
    assert filter_.reading(back, exchange(headers=JSON)) is Reading.WHOLE
    assert filter_.reading(back, exchange()) is Reading.NOTHING
    assert filter_.reading(back, _answer(SSE)) is Reading.STREAM
    assert filter_.reading(back, _answer(JSON)) is Reading.WHOLE
    assert filter_.reading(back, _answer(JSON, state="something else")) is Reading.NOTHING


def test_a_query_of_a_request_whose_body_passes_is_scanned_all_the_same() -> None:
    talk = Conversation(chain(link(detector(unknownBody="pass"), phase=Phase.REQUEST_BODY)))
    assert talk.say(headers({"content-type": "image/png"}, path=f"/?q={EMAIL}")) == immediate(403, "pii_blocked")


def test_a_body_that_passes_is_not_waited_for() -> None:
    talk = Conversation(chain(link(detector(unknownBody="pass"), phase=Phase.REQUEST_BODY)))
    begun_ = talk.say(headers({"content-type": "image/png"}, path="/?q=x"))
    assert begun_.outcome.modes.request_body is BodyMode.STREAMED  # type: ignore[union-attr]
    assert talk.stream(body(b"\x89", end=False), body(b"PNG")) == [go_on(), go_on()]
    without = Conversation(chain(link(detector(unknownBody="pass", scan=["body"]), phase=Phase.REQUEST_BODY)))
    answer = without.say(headers({"content-type": "image/png"}, path="/?q=x"))
    assert answer.outcome.modes.request_body is NONE  # type: ignore[union-attr]
