"""PIIDetector with `mode: detect`: it reports, changes nothing, and denies nothing, whatever comes."""

import gzip
from typing import Any

import pytest

from extproc import Phase
from extproc.testing import Conversation, body, chain, go_on, headers, link, response, response_body
from tests.filters.pii.samples import EMAIL
from tests.filters.test_pii_detector import HASH_KEY, JSON, SENT, detector


@pytest.mark.parametrize(
    ("fields", "sent", "report"),
    [
        (JSON, SENT, {"EMAIL_ADDRESS": 1}),
        ({**JSON, "content-encoding": "gzip"}, gzip.compress(SENT), {"EMAIL_ADDRESS": 1}),
        ({**JSON, "content-encoding": "zstd"}, SENT, {"unread": 1}),
        (JSON, SENT[:-1], {"unread": 1}),
        (JSON, b'"' + b"x" * 5000 + b'"', {"unread": 1}),
        ({"content-type": "text/event-stream"}, b"data: " + EMAIL.encode(), {"EMAIL_ADDRESS": 1}),
        ({"content-type": "multipart/form-data; boundary=x"}, SENT, None),
        ({"content-type": "application/json; charset=latin1"}, SENT, None),
        ({}, SENT, None),
    ],
)
@pytest.mark.parametrize("config", [{"redactionStyle": "block"}, {"redactionStyle": "placeholder", "restore": True}])
def test_detecting_leaves_everything_as_it_is(config: Any, fields: Any, sent: bytes, report: Any) -> None:
    """Whoever tries it out first breaks nothing: not what cannot be read, not what is encoded, not what is large."""
    for phase in (Phase.REQUEST_BODY, Phase.RESPONSE_BODY):
        given = config if phase is Phase.REQUEST_BODY else {"redactionStyle": "block"}
        watching = detector(phase=phase, mode="detect", unknownBody="deny", maxBodyBytes=4000, **given)
        talk = Conversation(chain(link(watching, "pii", phase=phase)))
        begun = (
            [headers({**fields, "accept-encoding": "zstd"}), body(sent[:9], end=False), body(sent[9:]), response(200)]
            if phase is Phase.REQUEST_BODY
            else [headers(end=True), response(200, fields), response_body(sent[:9], end=False), response_body(sent[9:])]
        )
        assert talk.stream(*begun) == [go_on()] * 4
        record = talk.end()
        assert record is not None
        assert record.reports.get("pii") == report


def test_detecting_in_an_event_stream() -> None:
    watching = detector(phase=Phase.RESPONSE_BODY, mode="detect")
    talk = Conversation(chain(link(watching, "pii", phase=Phase.RESPONSE_BODY)))
    pieces = [f'data: {{"choices":[{{"index":0,"delta":{{"content":"{each}"}}}}]}}\n\n'.encode() for each in EMAIL]
    sent = [*(response_body(each, end=False) for each in pieces), response_body(b"")]
    answers = talk.stream(headers(end=True), response(200, {"content-type": "text/event-stream"}), *sent)
    assert answers == [go_on()] * (len(sent) + 2)
    record = talk.end()
    assert record is not None
    assert record.reports["pii"] == {"EMAIL_ADDRESS": 1}


def test_detecting_needs_no_key_and_counts_what_is_outside_the_body_too() -> None:
    watching = detector(mode="detect", redactionStyle="hash", hashKey={**HASH_KEY, "path": "nothing/there"})
    talk = Conversation(chain(link(watching, "pii", phase=Phase.REQUEST_BODY)))
    assert talk.stream(headers(JSON, path=f"/?q={EMAIL}"), body(SENT)) == [go_on(), go_on()]
    record = talk.end()
    assert record is not None
    assert record.reports["pii"] == {"target.EMAIL_ADDRESS": 1, "EMAIL_ADDRESS": 1}
