"""A gateway of two workers with one of everything, and callers of all kinds: what a dashboard has to show."""

import json
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import yaml

from tests.adapters.redis_server import RedisServer, redis_server
from tests.e2e.gateway import AUTHN, INJECT, PII, Gateway, backend, gateway, policy
from tests.e2e.processes import Stub

TEAMS = ("search", "support", "assistant")
ALLOWED = {**AUTHN, "config": {**AUTHN["config"], "allow": {"namespaces": list(TEAMS)}}}
INJECT_EACH = {**INJECT, "phase": "backend-request"}

LIMITED = {
    "name": "quota",
    "type": "QoSController:v1",
    "phase": "request-headers",
    "priority": 10,
    "failOpen": True,
    "config": {
        "store": "redis",
        "limits": [{"name": "each", "requests": 120, "window": "10s", "algorithm": "sliding-window"}],
    },
}
TOKENS = {
    "name": "tokens",
    "type": "QoSController:v1",
    "phase": "request-headers",
    "priority": 15,
    "when": "request.path == '/v1/chat/completions'",
    "config": {"store": "redis", "limits": [{"name": "tokens", "tokens": 10_000_000, "window": "1h"}]},
}
LENIENT = {
    **PII,
    "name": "pii-lenient",
    "priority": 25,
    "when": "request.path == '/lenient'",
    "failOpen": True,
    "failOpenOn": ["malformed"],
}
STRICT = {**PII, "when": "request.path != '/lenient'"}

SAID = ("Write to jane.roe@example.com", "My card is 4111 1111 1111 1111", "Call +1 212 555 0123", "How are you?")
JSON = ("content-type", "application/json")


def people() -> str:
    """A token for a workload of each team, and for one of nobody's."""
    entries = [
        {
            "token": f"token-of-{namespace}",
            "username": f"system:serviceaccount:{namespace}:default",
            "uid": f"uid-{namespace}",
            "groups": ["system:serviceaccounts"],
            "audiences": ["egress"],
        }
        for namespace in (*TEAMS, "stranger")
    ]
    return yaml.dump({"tokens": entries})


def chat(said: str) -> bytes:
    return json.dumps({"model": "stub-1", "messages": [{"role": "user", "content": said}]}).encode()


@dataclass(frozen=True)
class Mixed:
    """A running one."""

    gate: Gateway
    redis: RedisServer

    def call(self, kind: str, team: str = "search", said: str = SAID[0]) -> int:
        """One exchange of this kind; its status."""
        send: dict[str, tuple[str, str, str | None, bytes]] = {
            "chat": ("POST", "/v1/chat/completions", f"token-of-{team}", chat(said)),
            "get": ("GET", "/v1/models", f"token-of-{team}", b""),
            "stranger": ("GET", "/x", "token-of-stranger", b""),
            "nobody": ("GET", "/x", None, b""),
            "broken": ("POST", "/x", f"token-of-{team}", b'{"messages": ['),
            "lenient": ("POST", "/lenient", f"token-of-{team}", b'{"messages": ['),
        }
        method, path, token, body = send[kind]
        return self.gate.send(method, path, token=token, headers=[JSON] if body else [], body=body).status

    def each(self) -> dict[str, int]:
        """One of each kind."""
        return {kind: self.call(kind) for kind in KINDS}

    def any(self, choice: random.Random) -> int:
        """One, as callers are."""
        kind = choice.choices(list(KINDS), list(KINDS.values()))[0]
        return self.call(kind, choice.choices(TEAMS, (6, 3, 1))[0], choice.choice(SAID))


KINDS = {"chat": 60, "get": 30, "stranger": 3, "nobody": 3, "broken": 2, "lenient": 2}
"""How often each comes, of 100."""


@contextmanager
def mixed(stub: Stub, environ: Mapping[str, str] | None = None) -> Iterator[Mixed]:
    """Start it, and end it."""
    documents: list[Mapping[str, Any]] = [
        policy(ALLOWED, LIMITED),
        backend(stub.port, STRICT, LENIENT, TOKENS, INJECT_EACH),
    ]
    secrets = {f"secrets/{team}/default/api_key": "sk-of-the-provider" for team in TEAMS}
    with (
        redis_server() as redis,
        gateway(
            *documents,
            files={"tokens": people(), **secrets},
            environ=environ,
            workers=2,
            upstreamPass=True,
            connections={"redis": {"url": redis.url, "timeout": "50ms"}},
        ) as gate,
    ):
        yield Mixed(gate, redis)
