"""The filter in a chain, as it will run."""

import pytest
from extproc import ConfigError, Peer
from extproc.testing import Answer, body, caller, chain, context, go_on, headers, immediate, link, play

from acme_models import ModelAllowList, ModelAllowListConfig

CONFIG = ModelAllowListConfig.model_validate(
    {"models": {"ai": ["gpt-4o-mini", "text-embedding-*"], "*": ["gpt-4o-mini"]}, "maxOutputTokens": 100}
)
AI = Peer("system:serviceaccount:ai:default", namespace="ai", service_account="default")
OTHER = Peer("system:serviceaccount:web:default", namespace="web", service_account="default")


def answer(sent: bytes, peer: Peer = AI, *, fail_open: bool = False) -> Answer:
    """What the body is answered."""
    extension = link(ModelAllowList(CONFIG, context()), fail_open=fail_open)
    return play(chain(caller(peer), extension), headers(content_type="application/json"), body(sent))[-1]


@pytest.mark.parametrize("model", [b"gpt-4o-mini", b"text-embedding-3-small"])
def test_a_listed_model_passes_untouched(model: bytes) -> None:
    assert answer(b'{"model": "%b", "max_tokens": 100}' % model) == go_on()


@pytest.mark.parametrize("sent", [b'{"model": "o9"}', b'{"model": "text-embed"}', b'{"model": 5}', b"{}"])
def test_any_other_is_denied(sent: bytes) -> None:
    assert answer(sent) == immediate(403, "model_forbidden")


def test_each_namespace_has_its_own() -> None:
    embedding = b'{"model": "text-embedding-3-small", "max_tokens": 1}'
    assert answer(embedding, OTHER) == immediate(403, "model_forbidden")
    assert answer(b'{"model": "gpt-4o-mini", "max_tokens": 1}', OTHER) == go_on()


@pytest.mark.parametrize(
    "limit", [b"", b', "max_tokens": 101', b', "max_tokens": 1, "max_output_tokens": 101', b', "max_tokens": null']
)
def test_an_answer_is_limited(limit: bytes) -> None:
    assert answer(b'{"model": "gpt-4o-mini"%b}' % limit) == immediate(403, "answer_too_long")


@pytest.mark.parametrize(
    "sent",
    [
        b"{",
        b"[]",
        b"\xff",
        b'{"model": "gpt-4o-mini", "model": "o9"}',
        b'{"model": "gpt-4o-mini", "Model": "o9"}',
        b'{"model": "gpt-4o-mini", "max_tokens": "1"}',
        b'{"a": ' + b"[" * 100_000,
    ],
)
def test_what_cannot_be_read_does_not_pass(sent: bytes) -> None:
    assert answer(sent) == immediate(400, "body_malformed")
    assert answer(sent, fail_open=True) == immediate(400, "body_malformed")  # which failOpenOn would have to name


def test_a_large_body_is_not_read() -> None:
    assert answer(b" " * (ModelAllowList.max_body_bytes + 1)) == immediate(413, "body_too_large")


@pytest.mark.parametrize("model", ["", "a*b", "*-mini"])
def test_a_name_that_means_nothing_is_refused_at_its_place(model: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ModelAllowList(ModelAllowListConfig(models={"ai": [model]}), context())
    assert caught.value.place.field == 'models["ai"][0]'
