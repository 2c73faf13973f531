"""What a model says of what it was told comes back as it was said: restore(redact(x)) == x, however the answer is cut."""

import gzip
import json
import zlib
from collections.abc import Iterable
from typing import Any

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc import Continue
from extproc_filters.pii.answers import Assigned, Restoration, Return
from extproc_filters.pii.documents import read
from extproc_filters.pii.findings import merge
from extproc_filters.pii.media import Coding, Media
from extproc_filters.pii.placeholders import Placeholders, present
from extproc_filters.pii.restore import Restorer
from extproc_filters.pii.scanner import Pattern, Scanner
from extproc_filters.pii.streamed import Streamed
from extproc_filters.pii.work import done
from tests.filters.pii.echo import DIALECTS, TEXT, TOOL, heard
from tests.filters.pii.samples import CARD, EMAIL, ORDINARY, PEM

NASTY = '<<a"b\\c\nd\te\x01f\U0001f600g\u2028/é>>'
"""A value with everything that JSON has to escape."""

SCANNER = Scanner(patterns=[Pattern("NASTY", "<<[^<>]*>>", 0.9)])
PLANTED = [EMAIL, "joe@example.org", CARD, "123-45-6789", "DE89 3704 0044 0532 0130 00", NASTY, PEM]

WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/:.[]()=%&\\<>@"), max_size=8)
CHAT = st.lists(
    WORDS | st.sampled_from([*PLANTED, *ORDINARY, "[", "[EMAIL_ADDRESS_", "{", '{"', "[DONE]"]), max_size=6
).map("\n".join)
IN_DOCUMENTS = CHAT.filter(lambda text: "[\nhttps:" not in text)
"""Whoever shows a document as it stands sees no line's end in it: a bracket before an address goes on to the next one."""

TREES = st.recursive(
    IN_DOCUMENTS | st.integers(0, 9),
    lambda child: st.lists(child, max_size=3) | st.dictionaries(WORDS, child, max_size=3),
    max_leaves=6,
)


def redact(text: str, media: Media = Media.TEXT) -> tuple[str, Placeholders]:
    document = done(read(media, text))
    findings = done(merge(done(SCANNER.find(document.text, escaped=document.escaped))))
    placeholders = Placeholders(done(present(document.text, escaped=document.escaped)))
    return done(document.write(done(document.edits(findings, placeholders.write)))), placeholders


def cut(data: Any, at: Iterable[int]) -> list[Any]:
    places = sorted({place % (len(data) + 1) for place in at})
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


def streamed(chunks: Iterable[bytes], placeholders: Placeholders, coding: Coding | None = None) -> bytes:
    transformer = Streamed(Return(Assigned(placeholders, {})), coding, 1_000_000)
    out = [transformer.feed(chunk) for chunk in chunks]
    out += transformer.finish()
    assert isinstance(transformer.conclude(), Continue)
    return b"".join(out)


CUTS = st.lists(st.integers(0, 5000), max_size=12)


@settings(max_examples=200, deadline=None)
@given(CHAT)
def test_a_text(text: str) -> None:
    left, placeholders = redact(text)
    assert not any(value in left for value in PLANTED)
    assert done(Restorer(placeholders).whole(left)) == text


@settings(max_examples=200, deadline=None)
@given(TREES.filter(lambda tree: isinstance(tree, dict | list)), st.integers(0, 4), st.booleans())
def test_json_and_json_in_json(tree: object, depth: int, ascii_only: bool) -> None:
    sent: object = tree
    for _ in range(depth):
        sent = {"a": json.dumps(sent, ensure_ascii=ascii_only)}
    body = json.dumps(sent, ensure_ascii=ascii_only)
    left, placeholders = redact(body, Media.JSON)
    restoration = Restoration(Assigned(placeholders, {}), Media.JSON, None, 1_000_000)
    restoration.feed(left.encode())
    answer = json.loads(b"".join(restoration.finish()))
    for _ in range(depth):
        answer = json.loads(answer["a"])
    assert answer == tree


@settings(max_examples=150, deadline=None)
@given(CHAT, CUTS, CUTS, st.sampled_from(sorted(DIALECTS)))
def test_a_stream_cut_anywhere(text: str, deltas: list[int], chunks: list[int], name: str) -> None:
    left, placeholders = redact(text)
    stream = b"".join(DIALECTS[name].say((0, TEXT, piece) for piece in cut(left, deltas)))
    answer = streamed(cut(stream, chunks), placeholders)
    said = heard(answer).get(TEXT, "")
    begins_like_json = text.lstrip()[:1] in ("{", "[")
    assert said == text or begins_like_json
    if not len(placeholders):
        assert answer == stream


@settings(max_examples=150, deadline=None)
@given(
    TREES.filter(lambda tree: isinstance(tree, dict)), st.integers(0, 2), CUTS, CUTS, st.sampled_from(sorted(DIALECTS))
)
def test_arguments_of_a_tool(tree: object, depth: int, deltas: list[int], chunks: list[int], name: str) -> None:
    sent: object = tree
    for _ in range(depth):
        sent = {"a": json.dumps(sent)}
    left, placeholders = redact(json.dumps(sent, ensure_ascii=False), Media.JSON)
    stream = b"".join(DIALECTS[name].say((0, TOOL, piece) for piece in cut(left, deltas)))
    answer = json.loads(heard(streamed(cut(stream, chunks), placeholders))[f"{TOOL}0"])
    for _ in range(depth):
        answer = json.loads(answer["a"])
    assert answer == tree


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.sampled_from([TEXT, TOOL])), min_size=8, max_size=60))
def test_texts_that_are_written_at_once(turns: list[tuple[int, str]]) -> None:
    """Two tools and a text, each a few characters at a time."""
    left, placeholders = redact(json.dumps({"a": EMAIL, "b": CARD}), Media.JSON)
    rest = {(0, TEXT): left, (0, TOOL): left, (1, TOOL): left}
    said = []
    for index, kind in turns:
        which = (index if kind == TOOL else 0, kind)
        said.append((*which, rest[which][:7]))
        rest[which] = rest[which][7:]
    said += [(*which, text) for which, text in rest.items()]
    answer = heard(streamed([b"".join(DIALECTS["chat"].say(said))], placeholders))
    assert {json.dumps(json.loads(text)) for text in answer.values()} == {json.dumps({"a": EMAIL, "b": CARD})}
    assert len(answer) == 3


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_each_event_leaves_before_the_next_comes(name: str) -> None:
    left, placeholders = redact(f"hello {EMAIL}, how are you [today]? [EMAIL")
    events = DIALECTS[name].say((0, TEXT, character) for character in left)
    transformer = Streamed(Return(Assigned(placeholders, {})), None, 1_000_000)
    held = ""
    said = ""
    for event, character in zip(events, left, strict=False):
        out = transformer.feed(event)
        said += heard(out).get(TEXT, "")
        released = held != ""
        held = held + character if any(each.startswith(held + character) for each in placeholders) else ""
        if not held and not released:
            assert out == event
    assert f"hello {EMAIL}, how are you [today]? " in said


@pytest.mark.parametrize("coding", [None, *Coding])
def test_encoded_streams_are_decoded_as_they_come(coding: Coding | None) -> None:
    left, placeholders = redact(f"I am {EMAIL}. " * 50)
    events = DIALECTS["chat"].say((0, TEXT, piece) for piece in cut(left, range(0, 2000, 3)))
    stream = b"".join(events)
    for encoded in _encoded(stream, events, coding):
        assert heard(streamed(encoded, placeholders, coding))[TEXT] == f"I am {EMAIL}. " * 50


def _encoded(stream: bytes, events: list[bytes], coding: Coding | None) -> list[list[bytes]]:
    match coding:
        case None:
            return [[stream], events]
        case Coding.GZIP:
            return [[gzip.compress(stream)], [bytes([byte]) for byte in gzip.compress(stream)], _flushed(events, 31)]
        case Coding.DEFLATE:
            return [[zlib.compress(stream)], _flushed(events, 15), _flushed(events, -15)]
        case Coding.BROTLI:
            return [[brotli.compress(stream)], [bytes([byte]) for byte in brotli.compress(stream)]]


def _flushed(events: list[bytes], window: int) -> list[bytes]:
    engine = zlib.compressobj(wbits=window)
    return [*(engine.compress(event) + engine.flush(zlib.Z_SYNC_FLUSH) for event in events), engine.flush()]


def test_many_values() -> None:
    text = "\n".join(f"user{number}@example.org" for number in range(5000))
    left, placeholders = redact(text)
    assert len(placeholders) == 5000
    assert done(Restorer(placeholders).whole(left)) == text
