"""PIIDetector: what it denies, what it lets pass, and what leaves in the place of what it found."""

import gzip
import json
import logging
import traceback
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from extproc import Continue, Phase, Respond
from extproc.core.filter import BodyFilter, Filter, Streaming
from extproc.core.link import Link
from extproc.core.peer import Peer
from extproc.errors import Cause, ConfigError, Malformed, TooLarge, Unavailable
from extproc.testing import body, caller, chain, context, exchange, go_on, headers, immediate, link, play, run
from extproc_filters.pii_detector import PIIDetector, redact_text, scan_text
from tests.filters.pii.samples import CARD, EMAIL, ORDINARY

JSON = {"content-type": "application/json"}
SENT = json.dumps({"model": "m", "messages": [{"role": "user", "content": f"I am {EMAIL}."}]}).encode()
LEAVES = SENT.replace(EMAIL.encode(), b"[EMAIL_ADDRESS]")
HASH_KEY = {"source": "keys", "path": "hash/pii", "field": "key"}
SECRETS = {"keys": {"hash/pii/key": "a key for hashing", "hash/other/key": "another one"}}
PEER = Peer("system:serviceaccount:ai:default", namespace="ai", service_account="default")


def detector(fail_open: bool = False, phase: Phase = Phase.REQUEST_BODY, **config: Any) -> PIIDetector:
    outside = context(phase=phase, fail_open=fail_open, secrets=SECRETS)
    return PIIDetector(PIIDetector.Config.model_validate(config), outside)


def at_body(*given: Any, **config: Any) -> Link:
    return link(detector(*given, **config), phase=Phase.REQUEST_BODY)


def ask(sent: bytes, fields: Any = JSON, filter: PIIDetector | None = None, **given: Any) -> tuple[Any, bytes]:  # noqa: A002
    """The verdict and the body that leaves."""
    found = filter or detector()
    seen = exchange(headers=fields, body=sent, **given)
    verdict = run(found.decide(Phase.REQUEST_BODY, seen))
    transformer = found.transformer(Phase.REQUEST_BODY, seen)
    if isinstance(verdict, Respond) or transformer is None:
        return verdict, sent
    out = [transformer.feed(sent[at : at + 65536]) for at in range(0, len(sent), 65536)]
    out += transformer.finish()
    return transformer.conclude(), b"".join(out)


def test_is_a_body_filter_of_the_request_body() -> None:
    assert isinstance(detector(), BodyFilter)
    assert isinstance(detector(), Filter)
    assert isinstance(detector(), Streaming)
    assert PIIDetector.phases == {Phase.REQUEST_HEADERS, Phase.REQUEST_BODY, Phase.RESPONSE_BODY}
    assert detector().follow_ups == frozenset()
    assert detector(redactionStyle="placeholder", restore=True).follow_ups == {Phase.RESPONSE_BODY}
    assert detector(maxBodyBytes=5).max_body_bytes == 5


def test_a_conversation() -> None:
    events = headers({**JSON, "content-length": str(len(SENT))}), body(SENT)
    assert play(chain(at_body()), *events) == [go_on(), go_on(body=LEAVES, set={"content-length": str(len(LEAVES))})]
    assert play(chain(at_body(redactionStyle="block")), *events) == [go_on(), immediate(403, "pii_blocked")]
    nothing = body(b'{"a":"b"}')
    assert play(chain(at_body()), headers(JSON), nothing) == [go_on(), go_on()]


def test_it_reports_numbers_and_no_values() -> None:
    verdict, left = ask(json.dumps([EMAIL, "jane@example.org", CARD]).encode())
    assert left == b'["[EMAIL_ADDRESS]", "[EMAIL_ADDRESS]", "[CREDIT_CARD]"]'
    assert isinstance(verdict, Continue)
    assert verdict.report == {"EMAIL_ADDRESS": 2, "CREDIT_CARD": 1}


def test_blocking_names_entities_and_no_values() -> None:
    verdict, _ = ask(json.dumps([EMAIL, CARD]).encode(), filter=detector(redactionStyle="block"))
    assert isinstance(verdict, Respond)
    assert (verdict.code, verdict.reason) == ("pii_blocked", "the body holds CREDIT_CARD, EMAIL_ADDRESS")


def test_deleting() -> None:
    assert ask(SENT, filter=detector(redactionStyle="delete"))[1] == SENT.replace(EMAIL.encode(), b"")


def test_detecting_changes_and_denies_nothing() -> None:
    for style in ("mask", "block"):
        watching = detector(mode="detect", redactionStyle=style)
        verdict, left = ask(SENT, filter=watching)
        assert (left, verdict.report) == (SENT, {"EMAIL_ADDRESS": 1})
        seen = exchange(headers=JSON, body=SENT, path=f"/?q={EMAIL}")
        verdict = run(watching.decide(Phase.REQUEST_BODY, seen))
        assert isinstance(verdict, Continue)
        assert verdict.report == {"target.EMAIL_ADDRESS": 1}


def hashed(**given: Any) -> str:
    filter_ = detector(redactionStyle="hash", hashKey={**HASH_KEY, **given.pop("key", {})})
    return json.loads(ask(given.pop("sent", json.dumps([EMAIL]).encode()), filter=filter_, **given)[1])[0]


def test_hashing() -> None:
    known = hashed(peer=PEER)
    assert known.startswith("[EMAIL_ADDRESS:")
    assert len(known) == len("[EMAIL_ADDRESS:]") + 16
    assert int(known[15:-1], 16) >= 0
    assert hashed(peer=PEER, sent=b'["' + EMAIL.replace("@", r"\u0040").encode() + b'"]') == known
    assert hashed(peer=PEER, sent=b'["' + EMAIL.replace("@", "%40").encode() + b'"]') == known
    others = [
        hashed(),
        hashed(peer=Peer("x", namespace="other")),
        hashed(peer=PEER, key={"path": "hash/other"}),
        hashed(peer=PEER, sent=b'["another@example.org"]'),
    ]
    assert len({known, *others}) == 5


def test_hashing_needs_its_key() -> None:
    with pytest.raises(ConfigError, match=r"config\.hashKey: redactionStyle hash needs a key"):
        detector(redactionStyle="hash")
    with pytest.raises(ConfigError, match="nowhere"):
        detector(redactionStyle="hash", hashKey={**HASH_KEY, "source": "nowhere"})
    with pytest.raises(Unavailable):
        ask(SENT, filter=detector(redactionStyle="hash", hashKey={**HASH_KEY, "field": "none"}))


@pytest.mark.parametrize("path", ["/v1/x?q=jane.roe%40example.org", "/?a=1&card=4111+1111+1111+1111", f"/x?{EMAIL}"])
def test_a_finding_in_the_query_blocks(path: str) -> None:
    for sent in (b"", SENT):
        verdict, _ = ask(sent, path=path)
        assert isinstance(verdict, Respond)
        assert verdict.code == "pii_blocked"
        assert EMAIL not in verdict.reason
    assert isinstance(ask(SENT, path=path, filter=detector(scan=["body"]))[0], Continue)


def test_the_path_is_scanned_if_asked_for() -> None:
    path = "/users/jane.roe@example.org"
    assert isinstance(ask(SENT, path=path)[0], Continue)
    assert isinstance(ask(SENT, path=path, filter=detector(scan=["body", "path"]))[0], Respond)


@pytest.mark.parametrize(
    "fields", [{}, {"content-type": "multipart/form-data; boundary=x"}, {"content-type": "image/png"}]
)
def test_bodies_of_an_unknown_type(fields: dict[str, str]) -> None:
    assert ask(SENT, fields)[0].code == "body_unsupported"
    assert ask(SENT, fields, detector(unknownBody="pass")) == (Continue(), SENT)
    assert ask(SENT, fields, detector(fail_open=True)) == (Continue(), SENT)
    assert ask(SENT, fields, detector(fail_open=True, unknownBody="deny"))[0].status == 415


def test_an_empty_body_is_fine_whatever_its_type() -> None:
    for fields in ({}, JSON, {"content-type": "image/png"}, {**JSON, "content-encoding": "zstd"}):
        assert ask(b"", fields) == (Continue(), b"")
    assert play(chain(at_body()), headers(method="GET", end=True)) == [go_on()]


@pytest.mark.parametrize(
    "fields",
    [
        [("content-type", "application/json"), ("content-type", "text/plain")],
        {"content-type": "application/json; charset=iso-8859-1"},
        {**JSON, "content-encoding": "gzip, br"},
        {**JSON, "content-encoding": "zstd"},
        {**JSON, "content-encoding": "gzip"},
    ],
)
def test_what_cannot_be_read_as_what_it_says_it_is(fields: Any) -> None:
    with pytest.raises(Malformed):
        ask(SENT, fields)


@pytest.mark.parametrize(
    ("kind", "sent"),
    [
        ("application/json", b"jane.roe@example.org"),
        ("application/json", b'{"a":1,"a":"jane.roe@example.org"}'),
        ("application/json", '"jane"'.encode("utf-16")),
        ("application/json", b'"\xff"'),
        ("text/plain", b"\xff\xfej\x00a\x00n\x00e\x00"),
        ("application/x-www-form-urlencoded", b"a=%ff"),
        ("application/x-www-form-urlencoded", b' {"a":"jane.roe@example.org"}'),
    ],
)
def test_a_body_that_contradicts_its_type(kind: str, sent: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        ask(sent, {"content-type": kind})
    assert "jane" not in "".join(traceback.format_exception(caught.value, chain=True))


def test_too_much() -> None:
    small = detector(maxBodyBytes=len(SENT))
    assert ask(SENT, filter=small)[1] == LEAVES
    with pytest.raises(TooLarge):
        ask(SENT + b" ", filter=small)
    with pytest.raises(TooLarge):
        ask(gzip.compress(bytes(10_000_000)), {**JSON, "content-encoding": "gzip"}, small)
    with pytest.raises(TooLarge):
        ask(b"[" * 65 + b"]" * 65)


def test_failures_are_the_engine_s_to_answer() -> None:
    deep, broken = b"[" * 65 + b"]" * 65, b"{"
    assert play(chain(at_body()), headers(JSON), body(deep))[1] == immediate(413, "body_too_large")
    assert play(chain(at_body()), headers(JSON), body(broken))[1] == immediate(400, "body_malformed")
    lenient = chain(link(detector(fail_open=True), phase=Phase.REQUEST_BODY, fail_open=[Cause.MALFORMED]))
    assert play(lenient, headers(JSON), body(broken))[1] == go_on()


def test_an_encoded_body_goes_on_decoded() -> None:
    fields = {**JSON, "content-encoding": "gzip", "etag": '"x"', "content-digest": "sha-256=:x:"}
    gone = {"content-encoding", "etag", "content-digest"}
    for sent, leaves in ((SENT, LEAVES), (b'{"a":1}', b'{"a":1}')):
        answers = play(chain(at_body()), headers(fields), body(gzip.compress(sent)))
        assert answers[1] == go_on(body=leaves, removed=gone)
    assert play(chain(at_body()), headers({**JSON, "etag": '"x"'}), body(b'{"a":1}'))[1] == go_on()


def test_a_byte_order_mark_stays() -> None:
    for kind in ("application/json", "text/plain"):
        sent = b"\xef\xbb\xbf" + SENT
        assert ask(sent, {"content-type": kind})[1] == b"\xef\xbb\xbf" + LEAVES


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([*ORDINARY, EMAIL, CARD, "é", "\u200b", "\n"]), max_size=6).map("  ".join),
    st.integers(1, 40),
    st.sampled_from([("text/plain", ""), ("application/json", ""), ("application/json", "gzip")]),
)
def test_any_chunking_gives_the_same(text: str, size: int, kind: tuple[str, str]) -> None:
    sent = json.dumps([text]).encode() if "json" in kind[0] else text.encode()
    sent = gzip.compress(sent) if kind[1] else sent
    seen = exchange(headers={"content-type": kind[0], "content-encoding": kind[1]}, body=sent or b" ")
    results = []
    for step in (size, len(sent) + 1):
        transformer = DETECTOR.transformer(Phase.REQUEST_BODY, seen)
        assert transformer is not None
        out = [transformer.feed(sent[at : at + step]) for at in range(0, len(sent), step)]
        results.append((b"".join([*out, *transformer.finish()]), transformer.conclude()))
    assert results[0] == results[1]
    assert EMAIL.encode() not in results[0][0]


DETECTOR = detector()


def test_work_comes_in_slices() -> None:
    sent = json.dumps({"a": "x " * 1_000_000 + EMAIL}).encode()
    seen = exchange(headers=JSON, body=sent)
    transformer = detector(maxBodyBytes=4_000_000).transformer(Phase.REQUEST_BODY, seen)
    assert transformer is not None
    assert transformer.feed(sent) == b""
    slices = list(transformer.finish())
    assert max(map(len, slices)) <= 65536
    assert slices.count(b"") >= len(sent) // 65536
    assert b"".join(slices) == sent.replace(EMAIL.encode(), b"[EMAIL_ADDRESS]")


def test_work_that_is_given_up_leaves_no_trace() -> None:
    sent = json.dumps({"a": "x " * 200_000 + EMAIL}).encode()
    seen = exchange(headers=JSON, body=sent)
    for steps in range(8):
        transformer = DETECTOR.transformer(Phase.REQUEST_BODY, seen)
        assert transformer is not None
        transformer.feed(sent)
        work = iter(transformer.finish())
        for _ in range(steps):
            next(work)
        work.close()  # type: ignore[attr-defined]
    assert ask(sent, filter=DETECTOR)[1] == sent.replace(EMAIL.encode(), b"[EMAIL_ADDRESS]")


def test_two_exchanges_at_once_do_not_see_each_other() -> None:
    bodies = [json.dumps({"a": f"{'x ' * 100_000} user{number}@example.org"}).encode() for number in range(3)]
    works = []
    for sent in bodies:
        transformer = DETECTOR.transformer(Phase.REQUEST_BODY, exchange(headers=JSON, body=sent))
        assert transformer is not None
        transformer.feed(sent)
        works.append((iter(transformer.finish()), []))
    for _ in range(200):
        for work, out in works:
            out.append(next(work, b""))
    for (_, out), number in zip(works, range(3), strict=True):
        assert b"".join(out) == bodies[number].replace(b"user%d@example.org" % number, b"[EMAIL_ADDRESS]")


@pytest.mark.parametrize(
    ("config", "place", "message"),
    [
        ({"restore": True}, "config.restore", "what mask has replaced cannot be put back"),
        ({"restore": True, "redactionStyle": "hash", "hashKey": HASH_KEY}, "config.restore", "cannot be put back"),
        ({"modelRef": "x"}, "config.modelRef", "there is no model 'x'"),
        ({"scan": ["query"]}, "config.scan", "always scanned"),
        ({"entities": ["EMAIL_ADRESS"]}, "config.entities", "did you mean EMAIL_ADDRESS?"),
        ({"entities": ["FOO"]}, "config.entities", "known are"),
        ({"entities": []}, "config.entities", "nothing would be looked for"),
        (
            {"patterns": [{"name": "X", "regex": r"(a)\1"}]},
            "config.patterns[0].regex",
            "Back-references are unsupported",
        ),
        ({"patterns": [{"name": "US_SSN", "regex": "a"}]}, "config.patterns[0].name", "built-in"),
        ({"fields": ["$..a"]}, "config.fields", "cannot be read"),
    ],
)
def test_configurations_that_are_refused(config: dict[str, Any], place: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        detector(**config)
    assert caught.value.place.field == place
    assert message in caught.value.message


@pytest.mark.parametrize(
    "config",
    [
        {"redactionStyle": "blur"},
        {"confidenceThreshold": 1.5},
        {"maxBodyBytes": 0},
        {"maxBodyBytes": "1048576"},
        {"patterns": [{"name": "a b", "regex": "a"}]},
        {"patterns": [{"name": "X]", "regex": "a"}]},
        {"redaction_style": "mask"},
        {"entity": []},
        {"hashKey": "keys/path"},
    ],
)
def test_configurations_that_the_schema_refuses(config: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        detector(**config)


def test_the_configuration_reaches_the_scanner() -> None:
    sent = json.dumps({"a": f"{EMAIL} {CARD} EMP-123456 help@example.org", "b": EMAIL}).encode()
    narrow = detector(
        entities=["EMAIL_ADDRESS"],
        patterns=[{"name": "EMPLOYEE", "regex": r"EMP-\d+"}],
        allowList=["help@example.org"],
        fields=["$.a"],
    )
    left = json.loads(ask(sent, filter=narrow)[1])
    assert left == {"a": f"[EMAIL_ADDRESS] {CARD} [EMPLOYEE] help@example.org", "b": EMAIL}
    assert ask(sent, filter=detector(confidenceThreshold=1.0))[1] == sent
    own = detector(entities=[], patterns=[{"name": "EMPLOYEE", "regex": r"EMP-\d+"}])
    assert ask(sent, filter=own)[1] == sent.replace(b"EMP-123456", b"[EMPLOYEE]")


def test_nothing_found_is_ever_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        found = detector(redactionStyle="hash", hashKey=HASH_KEY)
        seen = exchange(headers=JSON, body=SENT, peer=PEER)
        run(found.decide(Phase.REQUEST_BODY, seen))
        transformer = found.transformer(Phase.REQUEST_BODY, seen)
        assert transformer is not None
        transformer.feed(SENT)
        list(transformer.finish())
    assert EMAIL not in caplog.text
    assert EMAIL not in repr(transformer)
    assert EMAIL not in repr(transformer.conclude())


def test_with_a_peer_in_a_chain() -> None:
    hashing = at_body(redactionStyle="hash", hashKey=HASH_KEY)
    answers = play(chain(caller(PEER), hashing, authentication=True), headers(JSON), body(SENT))
    assert b"[EMAIL_ADDRESS:" in (answers[1].body or b"")  # type: ignore[union-attr]


def test_scanning_a_text() -> None:
    text = f"é {EMAIL}, {CARD}"
    found = scan_text(text)
    assert [(each.entity, text[each.start : each.end]) for each in found] == [
        ("EMAIL_ADDRESS", EMAIL),
        ("CREDIT_CARD", CARD),
    ]
    assert all(0.6 <= each.score <= 1 for each in found)
    only = PIIDetector.Config.model_validate({"entities": ["CREDIT_CARD"]})
    assert [each.entity for each in scan_text(text, only)] == ["CREDIT_CARD"]


def test_redacting_a_text() -> None:
    text = f"é {EMAIL}, {CARD}"
    assert redact_text(text) == "é [EMAIL_ADDRESS], [CREDIT_CARD]"
    assert redact_text(text, "delete") == "é , "
    assert (
        redact_text(text, "hash", mac=lambda _: bytes(32)) == f"é [EMAIL_ADDRESS:{'0' * 16}], [CREDIT_CARD:{'0' * 16}]"
    )
    for style in ("hash", "block", "x"):
        with pytest.raises(ConfigError, match="choose one of mask, delete"):
            redact_text(text, style)
