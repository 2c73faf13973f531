"""The model's name as a header: where it is read, and what two readers could read differently."""

import gzip
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.errors import Cause, TooLarge
from extproc.testing import body, chain, context, exchange, go_on, headers, immediate, link, play, run
from extproc_filters.header_name import header_name
from extproc_filters.model_router import ModelRouter, ModelRouterConfig

JSON = {"content-type": "application/json"}
NAME = "x-gateway-model-name"


def router(**config: Any) -> ModelRouter:
    return ModelRouter(ModelRouterConfig.model_validate(config), context())


def asked(
    sent: bytes, *, path: str = "/v1/chat/completions", fields: dict[str, str] | None = None, **config: Any
) -> Any:
    """The answer to the body."""
    return play(chain(router(**config)), headers(JSON if fields is None else fields, path=path), body(sent))[-1]


@pytest.mark.parametrize(
    ("sent", "model"),
    [
        (b'{"model": "gpt-4o-mini", "messages": [{"model": "inner"}]}', "gpt-4o-mini"),
        (b' {"max_tokens": 1, "model":"claude-3-5-sonnet@20240620"}', "claude-3-5-sonnet@20240620"),
        (b'{"mod\\u0065l": "escaped"}', "escaped"),
        (b'{"Model": "in-go"}', "in-go"),
    ],
)
def test_the_model_of_a_body(sent: bytes, model: str) -> None:
    assert asked(sent) == go_on(set={NAME: model}, reroute=True)
    assert asked(sent, fields={"content-type": "text/plain"}) == go_on(set={NAME: model}, reroute=True)


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/v1beta/models/gemini-2.0-flash:streamGenerateContent?alt=sse", "gemini-2.0-flash"),
        ("/v1/projects/p/locations/l/publishers/google/models/gemini-pro:generateContent", "gemini-pro"),
        ("/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21", "gpt-4o"),
        ("/openai/Deployments/gpt-4o/embeddings", "gpt-4o"),
        ("/model/anthropic.claude-3-haiku-20240307-v1%3A0/invoke", "anthropic.claude-3-haiku-20240307-v1:0"),
        ("/model/amazon.nova-lite-v1:0/converse-stream", "amazon.nova-lite-v1:0"),
    ],
)
def test_the_model_of_a_path(path: str, model: str) -> None:
    for sent in (b"{}", b"", b'{"model": "%b"}' % model.encode(), b'{"model": "models/%b"}' % model.encode()):
        assert asked(sent, path=path) == go_on(set={NAME: model}, reroute=True)


@pytest.mark.parametrize(
    "path", ["/v1/deployments/big", "/v1/model/big/x", "/v1/my-model/big/invoke", "/v1/models/big"]
)
def test_what_only_looks_like_one_is_none(path: str) -> None:
    assert asked(b'{"model": "small"}', path=path) == go_on(set={NAME: "small"}, reroute=True)


def test_a_colon_may_be_an_escape() -> None:
    assert asked(b"{}", path="/v1/models/big%3AgenerateContent") == go_on(set={NAME: "big"}, reroute=True)
    assert asked(b"{}", path="/v1/models/big%3a1:generateContent") == go_on(set={NAME: "big:1"}, reroute=True)


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/v1/chat/completions/models/small:x", b'{"model": "big"}'),
        ("/v1/models/small:x", b'{"Model": "models/big"}'),
        ("/v1/models/small:x", b'{"model": 5}'),
        ("/v1/models/small:x/models/big:x", b"{}"),
        ("/v1/models/sm%20all:x", b"{}"),
        ("/openai/deployments/big/chat/completions", b'{"model": "small"}'),
        ("/openai/deployments/small/models/big:generateContent", b'{"model": "small"}'),
    ],
)
def test_a_path_and_a_body_that_disagree_are_refused(path: str, sent: bytes) -> None:
    assert asked(sent, path=path) == immediate(400, "body_malformed")


@pytest.mark.parametrize(
    "coding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
def test_json_in_disguise_does_not_pass_as_something_else(coding: str) -> None:
    sent = ' {"model": "big"}'.encode(coding)
    for fields in ({"content-type": "text/plain"}, {"content-type": "application/octet-stream"}, {}, JSON):
        assert asked(sent, fields=fields) == immediate(400, "body_malformed")


@pytest.mark.parametrize("sent", [b"", b"   ", b'{"messages": []}', b'{"model": null}'])
def test_no_model_is_no_header(sent: bytes) -> None:
    assert asked(sent) == go_on()


def test_what_a_caller_sent_counts_for_nothing() -> None:
    spoofed = headers(JSON, x_gateway_model_name="big")
    assert play(chain(router()), spoofed, body(b"{}")) == [go_on(removed={NAME}, reroute=True), go_on()]
    ended = headers(x_gateway_model_name="big", method="GET", end=True)
    assert play(chain(router()), ended) == [go_on(removed={NAME}, reroute=True)]


def test_where_the_route_stays_a_callers_header_goes_too() -> None:
    stays = chain(router(clearRouteCache=False, header="X-Model"))
    assert play(stays, headers(JSON, x_model="big"), body(b"{}"))[1] == go_on(removed={"x-model"})
    assert play(stays, headers(JSON, x_model="big"), body(b'{"model": "m"}'))[1] == go_on(set={"x-model": "m"})


@pytest.mark.parametrize(
    "sent",
    [
        b'{"model": "a", "model": "a"}', b'{"model": "a", "MODEL": "b"}', b'{"model": ["a"]}', b'{"model": {"a": 1}}',
        b'{"model": 5}', b'{"model": ""}', b'{"model": "a b"}', b'{"model": "a\\r\\nx: y"}', b'{"model": "caf\\u00e9"}',
        b'{"model": "\\ud800"}', b'{"model": "\xff"}', b'{"model": "' + b"x" * 257 + b'"}', b'{"model": "a"',
        b'{"model": "a"} {"model": "b"}', b"[]", b"5", b"{" + b"[" * 100_000,
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_malformed(sent: bytes) -> None:
    assert asked(sent) == immediate(400, "body_malformed")


def test_what_does_not_say_json_is_no_concern() -> None:
    assert asked(b"--boundary\r\n", fields={"content-type": "multipart/form-data"}) == go_on()


def test_an_encoded_body_is_read_up_to_its_limit() -> None:
    fields = {**JSON, "content-encoding": "gzip"}
    assert asked(gzip.compress(b'{"model": "m"}'), fields=fields) == go_on(set={NAME: "m"}, reroute=True)
    bomb = gzip.compress(b'{"x": "' + b"a" * 3_000_000 + b'"}')
    assert asked(bomb, fields=fields) == immediate(413, "body_too_large")
    assert asked(b"no gzip", fields=fields) == immediate(400, "body_malformed")
    assert asked(gzip.compress(b'{"model": "m"}')[:-4], fields=fields) == immediate(400, "body_malformed")
    assert asked(b"{}", fields={**JSON, "content-encoding": "zstd"}) == immediate(400, "body_malformed")


def test_a_large_body_is_too_large() -> None:
    with pytest.raises(TooLarge):
        run(router(maxBodyBytes=10).decide(None, exchange(body=b'{"model": "m"}', headers=JSON)))  # type: ignore[arg-type]


def test_a_failure_that_is_open_leaves_no_header() -> None:
    opened = link(router(), fail_open=[Cause.MALFORMED])
    answers = play(chain(opened), headers(JSON, x_gateway_model_name="big"), body(b'{"model": 5}'))
    assert answers == [go_on(removed={NAME}, reroute=True), go_on()]


@pytest.mark.parametrize("name", ["Host", "x-envoy-a", "x-extproc-a", "a b", ":path", ""])
def test_headers_that_no_filter_sets(name: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        header_name(name)


@given(st.binary(max_size=60))
def test_any_body_is_answered(sent: bytes) -> None:
    answer = asked(b'{"model":' + sent)
    assert answer == immediate(400, "body_malformed") or getattr(answer, "body", None) is None
