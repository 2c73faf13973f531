"""Budgets of tokens with clients as they are: what an exchange is charged in the end, and what its caller sees of that."""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import anthropic
import openai
import orjson
import pytest

from tests.e2e.gateway import AUTHN, INJECT, Gateway, backend, gateway, policy, quota
from tests.e2e.llm import ASKED, RESTORE, SAID, anthropic_at, openai_at
from tests.e2e.processes import Stub, wait_until
from tests.e2e.speaking import SPEECHES, Speech, Stream, Talk, wishes

pytestmark = pytest.mark.e2e

BUDGET = 10_000
USED = "100/20"
BUCKETS = count()
CHAT = SPEECHES["chat"].path

speeches = pytest.mark.parametrize("speech", SPEECHES.values(), ids=SPEECHES)


def tokens(**config: Any) -> dict[str, Any]:
    """A budget for each value of x-bucket."""
    limited = quota(1, key=['request.headers["x-bucket"]'])
    del limited["config"]["limits"][0]["requests"]
    limited["config"]["limits"][0]["tokens"] = BUDGET
    return {**limited, "config": {**limited["config"], **config}}


@pytest.fixture(scope="module")
def gate(stub: Stub) -> Iterator[Gateway]:
    with gateway(policy(AUTHN, tokens()), backend(stub.port, INJECT, RESTORE)) as running:
        yield running


@pytest.fixture(scope="module")
def cutting(stub: Stub) -> Iterator[Gateway]:
    with gateway(policy(AUTHN, tokens(cutAfter=1.5)), backend(stub.port, INJECT)) as running:
        yield running


@pytest.fixture
def bucket() -> str:
    return f"budget-{next(BUCKETS)}"


@pytest.fixture
def talk(gate: Gateway, stub: Stub, bucket: str) -> Iterator[Talk]:
    talk = Talk(gate, stub, {"x-bucket": bucket})
    yield talk
    talk.close()


def left(gate: Gateway, bucket: str) -> int:
    """What is left of a budget, as a request is told that asks for all of it. One that gets it has found it whole."""
    headers = [("content-type", "application/json"), ("x-bucket", bucket), *wishes(usage="0/0").items()]
    body = orjson.dumps({"model": "e", "input": "x" * 4 * BUDGET})
    answer = gate.send("POST", "/v1/embeddings", headers=headers, body=body)
    return BUDGET if answer.status == 200 else int(answer.values("x-ratelimit-remaining-tokens")[0])


def used(gate: Gateway, bucket: str, right: Callable[[int], bool]) -> None:
    """Wait until what was used is as it is to be: it is settled after the answer's end."""
    wait_until(lambda: right(BUDGET - left(gate, bucket)))


@speeches
def test_a_stream_is_charged_what_it_says(talk: Talk, gate: Gateway, bucket: str, speech: Speech) -> None:
    talk.ask(speech, SAID, usage=USED, delta="3")
    used(gate, bucket, lambda spent: spent == 120)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br"])
def test_an_encoded_stream_is_read(talk: Talk, gate: Gateway, bucket: str, coding: str) -> None:
    talk.ask(SPEECHES["messages"], SAID, usage=USED, coding=coding)
    used(gate, bucket, lambda spent: spent == 120)


WHOLE = [
    ("/v1/chat/completions", {"messages": ASKED}, 120),
    ("/v1/completions", {"prompt": SAID}, 120),
    ("/v1/responses", {"input": SAID}, 120),
    ("/v1/embeddings", {"input": SAID}, 100),
    ("/v1/messages", {"messages": ASKED, "max_tokens": 100}, 120),
    ("/v1beta/models/echo:generateContent", {"contents": [{"parts": [{"text": SAID}]}]}, 120),
    ("/v1beta/models/echo:streamGenerateContent", {"contents": [{"parts": [{"text": SAID}]}]}, 120),
]


@pytest.mark.parametrize(("path", "asked", "spent"), WHOLE)
def test_a_whole_answer_is_charged_what_it_says(
    gate: Gateway, bucket: str, path: str, asked: dict[str, Any], spent: int
) -> None:
    with gate.client() as client:
        headers = {"x-bucket": bucket, **wishes(usage=USED)}
        client.post(path, json={"model": "echo", **asked}, headers=headers).raise_for_status()
    used(gate, bucket, lambda found: found == spent)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("claim", ["none", "-1/5", '"few"/null', "1e99/1", "0/0", "1.5/2", "true/false"])
def test_what_makes_no_sense_costs_what_was_reserved(gate: Gateway, bucket: str, claim: str, stream: bool) -> None:
    asked = {"model": "echo", "messages": ASKED, "max_tokens": 5000, "stream": stream}
    with gate.client() as client:
        client.post(CHAT, json=asked, headers={"x-bucket": bucket, **wishes(usage=claim)}).raise_for_status()
    used(gate, bucket, lambda spent: 5000 < spent < 5200)


def test_what_is_more_than_was_reserved_is_charged_too(talk: Talk, gate: Gateway, bucket: str) -> None:
    talk.ask(SPEECHES["chat"], SAID, usage="9000/900")
    used(gate, bucket, lambda spent: spent == 9900)


def test_an_error_costs_nothing(gate: Gateway, bucket: str) -> None:
    with gate.client() as client:
        headers = {"x-bucket": bucket, **wishes(status="503")}
        assert client.post(CHAT, json={"model": "echo", "messages": ASKED}, headers=headers).status_code == 503
    used(gate, bucket, lambda spent: spent == 0)


def test_a_caller_that_leaves_pays_what_was_reserved(talk: Talk, gate: Gateway, bucket: str) -> None:
    speech = SPEECHES["messages"]
    with gate.client() as client, talk.open(client, speech, SAID, gate=bucket) as response:
        talk.release(bucket, 4)
        Stream(response).says(speech, 1)
    used(gate, bucket, lambda spent: 4096 < spent < 4300)  # what it asks for, and its prompt


def test_a_prompt_that_asks_for_more_than_is_left(gate: Gateway, bucket: str, stub: Stub) -> None:
    """It is told so before anything leaves; and having asked costs nothing."""
    headers = {"x-bucket": bucket}
    before = len(stub.recorder.requests)
    with openai_at(gate) as client:
        client.chat.completions.create(
            model="echo", messages=ASKED, max_tokens=10, extra_headers={**headers, **wishes(usage="9000/0")}
        )
        used(gate, bucket, lambda spent: spent == 9000)
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(model="echo", messages=ASKED, max_tokens=1000, extra_headers=headers)
        assert caught.value.code == "rate_limited"
        assert "tokens" in caught.value.response.headers["ratelimit-policy"]
        used(gate, bucket, lambda spent: spent == 9000)
        client.chat.completions.create(model="echo", messages=ASKED, max_tokens=500, extra_headers=headers)
    assert len(stub.recorder.requests) == before + 2


# include_usage


@pytest.mark.parametrize("name", ["chat", "chat tools", "completions"])
@pytest.mark.parametrize("delta", ["1", "7", "1000"])
def test_the_usage_is_asked_for_and_taken_out_again(talk: Talk, stub: Stub, name: str, delta: str) -> None:
    """What the caller did not ask for it does not get; every other byte is the upstream's."""
    speech = SPEECHES[name]
    asked = {key: value for key, value in speech.ask("nothing here").items() if key != "stream_options"}
    bare = Speech(speech.path, lambda _: asked, speech.text)
    events = talk.events(bare, "", delta=delta)
    assert orjson.loads(stub.recorder.last.body)["stream_options"] == {"include_usage": True}
    extra = [event for event in events if b'"choices":[]' in event]
    assert len(extra) == 1
    assert talk.ask(bare, "", delta=delta) == b"".join(event for event in events if event not in extra)


def test_a_caller_that_asks_for_the_usage_gets_it(talk: Talk) -> None:
    events = talk.events(SPEECHES["chat"], "nothing here")
    assert talk.ask(SPEECHES["chat"], "nothing here") == b"".join(events)
    assert any(b'"choices":[]' in event for event in events)


def test_originals_and_budgets_together(talk: Talk, gate: Gateway, bucket: str) -> None:
    """Two extensions rewrite the same stream: one takes an event out, the other puts originals back."""
    with openai_at(gate) as client:
        headers = {"x-bucket": bucket, **wishes(delta="2", usage=USED)}
        stream = client.chat.completions.create(model="echo", messages=ASKED, stream=True, extra_headers=headers)
        chunks = list(stream)
    assert all(chunk.choices for chunk in chunks)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == SAID
    used(gate, bucket, lambda spent: spent == 120)


# cutAfter


LONG = "word " * 2000


@pytest.fixture
def asked(bucket: str) -> dict[str, Any]:
    return {"model": "echo", "stream": True, "extra_headers": {"x-bucket": bucket, **wishes(delta="4")}}


def test_openai_is_told_that_a_stream_outran_its_reservation(cutting: Gateway, asked: dict[str, Any]) -> None:
    """As an error, after what had been said until then."""
    with openai_at(cutting) as client:
        messages: Any = [{"role": "user", "content": LONG}]
        chat = client.chat.completions.create(messages=messages, max_completion_tokens=10, **asked)
        heard: list[Any] = []
        with pytest.raises(openai.APIError) as caught:
            heard.extend(chat)
        assert caught.value.code == "rate_limited"
        assert len(heard) > 10
        with pytest.raises(openai.APIError) as caught:
            list(client.responses.create(input=LONG, max_output_tokens=10, **asked))
        assert caught.value.code == "rate_limited"


def test_anthropic_is_told_that_a_stream_outran_its_reservation(cutting: Gateway, asked: dict[str, Any]) -> None:
    with anthropic_at(cutting) as client:
        messages: Any = [{"role": "user", "content": LONG}]
        stream = client.messages.create(messages=messages, max_tokens=10, **asked)
        heard: list[Any] = []
        with pytest.raises(anthropic.APIStatusError) as caught:
            heard.extend(stream)
    assert caught.value.body["error"]["code"] == "rate_limited"
    assert len(heard) > 10


def test_a_stream_within_its_reservation_is_whole(cutting: Gateway, asked: dict[str, Any]) -> None:
    with openai_at(cutting) as client:
        messages: Any = [{"role": "user", "content": LONG}]
        chat = client.chat.completions.create(messages=messages, max_completion_tokens=3000, **asked)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chat) == LONG
