"""The packages `openai` and `anthropic` as callers of a gateway, and the prompt that they send."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import anthropic
import openai

from tests.e2e.gateway import INJECT, KEY, PII, TOKEN, Gateway
from tests.e2e.processes import Stub

ADDRESS, CARD = "jane.roe@example.com", "4111 1111 1111 1111"
SAID = f'Write to {ADDRESS} about {CARD}, "soon"; and again to {ADDRESS}.'
ASKED: Any = [{"role": "user", "content": SAID}]

HEADERS = {"authorization": "Bearer {value}", "x-api-key": "{value}"}
INJECT_BOTH = {**INJECT, "config": {**INJECT["config"], "headers": HEADERS}}
RESTORE = {**PII, "config": {"redactionStyle": "placeholder", "restore": True}}


def openai_at(gate: Gateway, **options: Any) -> openai.OpenAI:
    """It calls with the workload's token, and tries once."""
    return openai.OpenAI(base_url=f"http://localhost:{gate.port}/v1", **{"api_key": TOKEN, "max_retries": 0, **options})


def anthropic_at(gate: Gateway, **options: Any) -> anthropic.Anthropic:
    """The same. The token is what its users call ANTHROPIC_AUTH_TOKEN."""
    url = f"http://localhost:{gate.port}"
    return anthropic.Anthropic(base_url=url, **{"auth_token": TOKEN, "max_retries": 0, **options})


@contextmanager
def nothing_leaves(stub: Stub) -> Iterator[None]:
    """Whatever is asked: no address, no card and no token of ours reaches the upstream, and the key does."""
    before = len(stub.recorder.requests)
    yield
    for request in list(stub.recorder.requests)[before:]:
        sent = b"\n".join([request.body, *(f"{name}: {value}".encode() for name, value in request.headers)])
        assert not [hidden for hidden in (ADDRESS, CARD, TOKEN) if hidden.encode() in sent]
        assert (request.values("authorization"), request.values("x-api-key")) == ([f"Bearer {KEY}"], [KEY])


def contents(chunks: Iterable[Any], choice: int = 0) -> str:
    """The text of one choice of a streamed chat."""
    deltas = (one.delta.content for chunk in chunks for one in chunk.choices if one.index == choice)
    return "".join(delta or "" for delta in deltas)
