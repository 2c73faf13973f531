"""Headers by what a body says."""

from typing import Any

import pytest

from extproc.errors import Cause, ConfigError
from extproc.testing import body, chain, context, go_on, headers, immediate, link, play
from extproc_filters.payload_headers import PayloadHeaders, PayloadHeadersConfig

JSON = {"content-type": "application/json"}


def built(*pairs: tuple[str, str], **config: Any) -> PayloadHeaders:
    given = {"setHeaders": [{"name": name, "value": value} for name, value in pairs], **config}
    return PayloadHeaders(PayloadHeadersConfig.model_validate(given), context())


def asked(filter_: PayloadHeaders, sent: bytes, **fields: str) -> Any:
    return play(chain(filter_), headers(JSON, **fields), body(sent))[-1]


def test_members_texts_and_what_when_knows() -> None:
    several = built(
        ("X-Model", "json(request.body).model"),
        ("x-team", "json( request.body ).metadata.team"),
        ("x-n", "json(request.body).n"),
        ("x-b", "json(request.body).b"),
        ("x-host", "request.host"),
        ("x-text", '"my-value"'),
        removeHeaders=["x-gone"],
    )
    sent = b'{"model": "m", "metadata": {"team": "a", "other": [1]}, "n": 1.5, "b": true}'
    set_ = {
        "x-model": "m",
        "x-team": "a",
        "x-n": "1.5",
        "x-b": "true",
        "x-host": "api.openai.com",
        "x-text": "my-value",
    }
    assert asked(several, sent, x_gone="1") == go_on(set=set_, removed={"x-gone"})


@pytest.mark.parametrize(
    "sent",
    [b"{}", b"", b'{"model": null}', b'{"model": [1]}', b'{"model": "a", "model": "b"}', b'{"model": "a\\nb"}', b"{"],
)
def test_an_expression_without_a_value_fails_as_the_operator_says(sent: bytes) -> None:
    model = built(("x-model", "json(request.body).model"))
    assert asked(model, sent) == immediate(400, "body_malformed")
    opened = link(model, fail_open=[Cause.MALFORMED])
    assert play(chain(opened), headers(JSON), body(sent)) == [go_on(), go_on()]


@pytest.mark.parametrize(
    "sent",
    [
        b'{"a": {"model": "x"}, "A": {"model": "y"}}', b'{"a": {"model": "x", "MODEL": "y"}}', b'{"a": {"model": "x"}, "a": 1}',
        b'{"a": {"model": "x"}, "a": {"b": 1}}', b'{"a": {"model": "x"}, "\\u0061": null}', b'{"a": 1, "a": {"model": "x"}}',
    ],
)  # fmt: skip
def test_what_two_readers_could_read_differently_has_no_value(sent: bytes) -> None:
    assert asked(built(("x-model", "json(request.body).a.model")), sent) == immediate(400, "body_malformed")


def test_a_name_counts_in_any_letter_case_and_wholly_escaped() -> None:
    longest = "maxTokens" + "s" * 22
    model = built(("x-model", f"json(request.body).{longest}"))
    escaped = b"".join(b"\\u%04x" % byte for byte in longest.encode())
    assert asked(model, b'{"%b": "a"}' % escaped) == go_on(set={"x-model": "a"})
    assert asked(model, b'{"%b": "a"}' % longest.upper().encode()) == go_on(set={"x-model": "a"})
    kelvin = b'{"maxTo\xe2\x84\xaaen%b": "a", "%b": "b"}' % (b"s" * 23, longest.encode())
    assert asked(model, kelvin) == immediate(400, "body_malformed")
    with pytest.raises(ConfigError, match="at most 31 characters"):
        built(("x-model", f"json(request.body).{longest}s"))


def test_a_header_that_is_absent_has_no_value() -> None:
    assert asked(built(("x-a", 'request.headers["x-b"]')), b"{}") == immediate(400, "body_malformed")


def test_only_with_a_cleared_route_a_callers_header_is_gone_before_anybody_looks() -> None:
    echo = ("x-model", 'request.headers["x-caller"]')
    assert asked(built(echo), b"{}", x_caller="c", x_model="spoofed") == go_on(set={"x-model": "c"})
    clears = built(("x-model", "json(request.body).m"), removeHeaders=["x-old"], clearRouteCache=True)
    assert clears.reroutes == {"x-model", "x-old"}
    answers = play(chain(clears), headers(JSON, x_model="spoofed", x_old="1"), body(b'{"m": "n"}'))
    assert answers == [go_on(removed={"x-model", "x-old"}, reroute=True), go_on(set={"x-model": "n"}, reroute=True)]


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("json(request.body)", "only `json"),
        ('json(request.body)["a"]', "only `json"),
        ("size(request.body) > 1", "only `json"),
        ("((", "no CEL expression"),
    ],
)
def test_what_is_not_served_is_refused(value: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as caught:
        built(("x-a", value))
    assert caught.value.place.field == "setHeaders[0].value"


def test_a_member_and_a_part_of_it_cannot_both_be_read() -> None:
    with pytest.raises(ConfigError, match="and so is a part of it"):
        built(("x-a", "json(request.body).a"), ("x-b", "json(request.body).a.b"))


@pytest.mark.parametrize(
    "config",
    [{}, {"setHeaders": [{"name": "a", "value": "1"}], "removeHeaders": ["A"]}, {"removeHeaders": ["content-length"]}],
)
def test_a_configuration_that_means_nothing(config: Any) -> None:
    with pytest.raises(ValueError, match=r"empty|twice|framing|cannot"):
        PayloadHeadersConfig.model_validate(config)
