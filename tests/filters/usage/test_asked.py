"""What requests ask for, and the one thing that is added to them."""

import asyncio
import gzip
import json
import zlib
from typing import Any

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.testing import exchange, run
from extproc_filters.pii.media import Coding
from extproc_filters.usage.asked import CHECKED, MANY, NOTHING, PIECE, Asked, completes, decoded, makes_text, read_asked
from extproc_filters.usage.counts import MOST


async def never() -> None:
    raise AssertionError("a short body needs no pause")


def asks(body: Any) -> Asked:
    return run(read_asked(body if isinstance(body, bytes) else json.dumps(body).encode(), never))


def edited(body: bytes) -> bytes | None:
    edit = asks(body).include_usage
    return edit.apply(body) if edit else None


@pytest.mark.parametrize(
    ("body", "output", "times"),
    [
        ({"max_tokens": 100}, 100, 1),
        ({"max_completion_tokens": 100, "n": 3}, 100, 3),
        ({"max_output_tokens": 100}, 100, 1),
        ({"max_tokens": 5, "max_completion_tokens": 100}, 100, 1),
        ({"max_tokens": 7, "n": 2, "best_of": 5}, 7, 5),
        ({"generationConfig": {"maxOutputTokens": 20, "candidateCount": 2}}, 20, 2),
        ({"inferenceConfig": {"maxTokens": 20}}, 20, 1),
        ({"generation_config": {"max_output_tokens": 20, "candidate_count": 2}}, 20, 2),
        ({}, None, 1),
        ({"messages": [{"max_tokens": 5}], "metadata": {"max_tokens": 5}}, None, 1),
        ({"max_tokens": None, "n": None}, None, 1),
        ({"max_tokens": "100", "n": "2"}, 100, 2),
        (b'{"max_tokens":1e6}', 10**6, 1),
        (b'{"max_tokens":100.0,"n":2.5}', 100, 3),
        (b'{"max_tokens":0.001}', 1, 1),
        (b'{"max_tokens":"100}', None, 1),
        (b'{"max_tokens":%b}' % (b"9" * 5_000), MOST, 1),
        (b'{"max_tokens":NaN,"n":Infinity}', None, 1),
        (b'{"max_tokens":true,"n":[5]}', None, 1),
        ({"max_tokens": 0, "n": 0}, None, 1),
        ({"max_tokens": -5, "n": -5}, None, 1),
        ({"max_tokens": 1e300}, MOST, 1),
        ({"max_tokens": 10**15}, MOST, 1),
        ({"generationConfig": [5]}, None, 1),
        (b'{"max_tokens":5,"max_tokens":500}', 500, 1),
        (b'{"max_\\u0074okens":5}', 5, 1),
        (b'{"Max_Tokens":5,"N":3,"GENERATIONCONFIG":{"MaxOutputTokens":7}}', 7, 3),
        (b'\xef\xbb\xbf{"max_tokens":5}', 5, 1),
        (b'[{"max_tokens":5}]', None, 1),
        (b'{"max_tokens":5', None, 1),
        (b'{"max_tokens":5}}', None, 1),
        (b"", None, 1),
        (b"max_tokens", None, 1),
        (b'{"n":1%b}' % (b',"n":1' * MANY), None, 1),
    ],
)
def test_how_much_is_asked_for(body: Any, output: int | None, times: int) -> None:
    asked = asks(body)
    assert (asked.output, asked.times) == (output, times)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"stream":true}', b'{"stream_options":{"include_usage":true},"stream":true}'),
        (b' {\n "stream": true\n}', b' {"stream_options":{"include_usage":true},\n "stream": true\n}'),
        (b'{"stream":true,"stream_options":null}', b'{"stream":true,"stream_options":{"include_usage":true}}'),
        (b'{"stream_options":{ },"stream":true}', b'{"stream_options":{"include_usage":true },"stream":true}'),
        (
            b'{"stream_options":{"include_obfuscation":false},"stream":true}',
            b'{"stream_options":{"include_usage":true,"include_obfuscation":false},"stream":true}',
        ),
        (
            b'{"stream" : true, "stream_options": {"include_usage" : false}}',
            b'{"stream" : true, "stream_options": {"include_usage" : true}}',
        ),
        (
            b'{"stream":true,"stream_options":{"include_usage":null,"x":{"include_usage":false}}}',
            b'{"stream":true,"stream_options":{"include_usage":true,"x":{"include_usage":false}}}',
        ),
        (b'{"stream":true,"stream_options":{"include_usage":true}}', None),
        (
            b'{"stream":true,"stream_options":{"include_usage":"No"}}',
            b'{"stream":true,"stream_options":{"include_usage":true}}',
        ),
        (b'{"stream":true,"stream_options":{"include_usage":"true"}}', None),
        (b'{"stream":true,"stream_options":{"include_usage":"perhaps"}}', None),
        (
            b'{"Stream":true,"STREAM_OPTIONS":{"Include_Usage":0}}',
            b'{"Stream":true,"STREAM_OPTIONS":{"Include_Usage":true}}',
        ),
        (b'\xef\xbb\xbf{"stream":true}', b'\xef\xbb\xbf{"stream_options":{"include_usage":true},"stream":true}'),
        (b'{"stream":true,"stream_options":"none"}', None),
        (b'{"stream":true,"stream_options":[]}', None),
        (b'{"stream":false}', None),
        (b'{"stream":"false"}', None),
        (b'{"stream":5}', None),
        (b'{"stream":"true"}', b'{"stream_options":{"include_usage":true},"stream":"true"}'),
        (b'{"stream":1.0}', b'{"stream_options":{"include_usage":true},"stream":1.0}'),
        (b"{}", None),
        (b'{"x":{"stream":true}}', None),
        (b'[{"stream":true}]', None),
        (b'{"stream":true,"stream":true}', None),
        (b'{"stream":true,"stream":false}', None),
        (b'{"stream":true,"\\u0073tream":false}', None),
        (b'{"stream":true,"stream_options":{},"stream_options":{"include_usage":true}}', None),
        (b'{"stream":true,"stream_options":null,"stream_options":{}}', None),
        (b'{"stream":true,"stream_options":{"include_usage":false,"include_usage":true}}', None),
        (b'{"stream":true', None),
        (b'{"stream":true}x', None),
        (b'{"stream":true,"x":tru}', None),
        (b'{"stream":true,"x":"\xff"}', None),
        (b'{"stream":true,"x":%b' % (b"[" * 5000), None),
        (
            b'{"stream":true,"x":[NaN,1e999,"\\ud800"]}',
            b'{"stream_options":{"include_usage":true},"stream":true,"x":[NaN,1e999,"\\ud800"]}',
        ),
        (b'{"stream":true,"x":[1,]}', None),
        (b'{"stream":true,"x":[}}', None),
    ],
)
def test_include_usage_is_added_and_nothing_else(body: bytes, expected: bytes | None) -> None:
    assert edited(body) == expected
    if expected is not None:
        assert edited(expected) is None


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"stream":true,"stream":true}', True),
        (b'{"stream":false,"Stream":true}', True),
        (b'{"stream":true,"\\u0073tream":false}', True),
        (b'{"stream":true,"stream_options":{},"stream_options":{"include_usage":true}}', True),
        (b'{"stream":true,"stream_options":{"include_usage":false,"include_usage":true}}', True),
        ('{"stream":true}'.encode("utf-16"), True),
        ('{"stream":true}'.encode("utf-16-le"), True),
        ('{"stream":true}'.encode("utf-32"), True),
        (b'{"n":1%b,"stream":true}' % (b',"n":1' * MANY), True),
        (b'{"stream":false,"stream":false}', False),
        (b'{"max_tokens":5,"max_tokens":6,"stream":true}', False),
        (b'{"stream":true}', False),
        (b'{"stream":true', False),
        (b"no JSON", False),
    ],
)
def test_what_two_servers_could_read_in_two_ways(body: bytes, expected: bool) -> None:
    assert asks(body).ambiguous is expected
    assert not expected or edited(body) is None


OPTIONS = st.none() | st.dictionaries(
    st.sampled_from(["include_usage", "x"]), st.sampled_from([True, False, None, 5, {"include_usage": 1}])
)
BODIES = st.fixed_dictionaries(
    {"stream": st.sampled_from([True, False])},
    optional={
        "stream_options": OPTIONS,
        "messages": st.lists(st.dictionaries(st.text(max_size=3), st.text(max_size=5)), max_size=3),
    },
)


@settings(max_examples=200, deadline=None)
@given(BODIES, st.sampled_from([None, 0, 3]), st.booleans(), st.randoms(use_true_random=False))
def test_the_rest_of_the_request_is_equal(body: dict[str, Any], indent: int | None, escaped: bool, order: Any) -> None:
    members = list(body.items())
    order.shuffle(members)
    text = json.dumps(dict(members), indent=indent, ensure_ascii=escaped).encode()
    changed = edited(text)
    options = body.get("stream_options") or {}
    included = options.get("include_usage")
    assert (changed is not None) == (body["stream"] and (included is None or included is False))
    if changed is not None:
        assert json.loads(changed) == {**body, "stream_options": {**options, "include_usage": True}}
        assert len(changed) - len(text) <= len(b',"stream_options":{"include_usage":true}')


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=30), st.integers(0, 60))
def test_what_is_no_json_is_left_alone(noise: bytes, at: int) -> None:
    body = b'{"stream":true,"messages":[{"content":"hi"}]}'
    text = body[:at] + noise + body[at:]
    try:
        json.loads(text)
    except ValueError:
        assert edited(text) is None


async def test_a_long_body_is_read_with_pauses() -> None:
    pauses = 0

    async def pause() -> None:
        nonlocal pauses
        pauses += 1
        await asyncio.sleep(0)

    body = b'{"messages":["%b"],"stream":true,"max_tokens":5}' % (b"x" * (CHECKED + PIECE))
    asked = await read_asked(body, pause)
    assert asked.output == 5
    assert asked.include_usage is not None
    assert json.loads(asked.include_usage.apply(body)) == {
        **json.loads(body),
        "stream_options": {"include_usage": True},
    }
    assert pauses == len(body) // PIECE


@pytest.mark.parametrize(
    ("path", "text", "options"),
    [
        ("/v1/chat/completions", True, True),
        ("/v1/chat/completions?api-version=1", True, True),
        ("/v1/completions/", True, True),
        ("/openai/deployments/x/chat/completions", True, True),
        ("/v1/responses", True, False),
        ("/v1/messages", True, False),
        ("/v1/embeddings", False, False),
        ("/v1beta/models/x:embedContent", False, False),
        ("/v1beta/models/x:batchEmbedContents", False, False),
        ("/v1beta/models/x:generateContent", True, False),
        ("/v1/completions/embeddings/x", True, False),
    ],
)
def test_what_the_path_says(path: str, text: bool, options: bool) -> None:
    request = exchange(path=path).request
    assert (makes_text(request), completes(request)) == (text, options)


BODY = b'{"stream":true}' * 1000


@pytest.mark.parametrize(
    ("coding", "encoded"),
    [
        (None, BODY),
        (Coding.GZIP, gzip.compress(BODY)),
        (Coding.DEFLATE, zlib.compress(BODY)),
        (Coding.BROTLI, brotli.compress(BODY)),
    ],
)
async def test_encoded_bodies(coding: Coding | None, encoded: bytes) -> None:
    async def pause() -> None: ...

    assert await decoded(encoded, coding, len(BODY), pause) == BODY
    assert await decoded(encoded, coding, len(BODY) - 1, pause) is None
    if coding:
        assert await decoded(encoded[:-5], coding, len(BODY), pause) is None
        assert await decoded(b"nonsense", coding, len(BODY), pause) is None


async def test_a_bomb_is_not_unpacked() -> None:
    async def pause() -> None: ...

    assert await decoded(gzip.compress(b"\0" * 50_000_000), Coding.GZIP, 1_000_000, pause) is None


def test_nothing_is_asked_for_by_nothing() -> None:
    assert asks(b"null") == NOTHING
