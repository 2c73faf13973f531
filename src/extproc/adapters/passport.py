"""Tokens of the upstream pass: sealed with AES-256-GCM, under keys that only the processes of one gateway can derive.

A token is a salt, a number, and what is sealed. Each process has a salt of its own, a key derived from it, and counts: so no
nonce is ever used twice, however many processes share the key and however long they run (NIST SP 800-38D section 8.2.1).
"""

import hmac
import os
import time
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256
from itertools import count
from typing import Any, Final

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from extproc.core.headers import Headers
from extproc.core.message import Request
from extproc.core.passport import Papers, Places
from extproc.core.peer import Peer, Route
from extproc.errors import TooLarge

KEY_BYTES: Final = 32
SALT_BYTES: Final = 16
NONCE_BYTES: Final = 12

LIFETIME: Final = 3600.0
"""Seconds for which a token is good: from the answer to the request's headers until its last try begins."""

LONGEST: Final = 320 * 1024
"""Characters of a token. Envoy takes 60 KiB of headers, which JSON (twice) and base64 can make almost three times as long."""

FORMAT: Final = b"extproc passport 2"


class SealedPassports:
    """Implements `Passports`. `key` are 32 random bytes, shared by the processes of `gateway`; `now` gives Unix seconds."""

    def __init__(self, gateway: str, key: bytes, now: Callable[[], float] = time.time) -> None:
        """Raises: ValueError, for a key of another length."""
        if len(key) != KEY_BYTES:
            raise ValueError(f"a key has {KEY_BYTES} bytes")
        self._bound_to = FORMAT + b"\0" + gateway.encode()
        self._now = now
        self._salt = os.urandom(SALT_BYTES)
        self._numbers = count()
        self._cipher = lru_cache(maxsize=256)(_deriving(key))

    def issue(self, papers: Papers) -> str:
        """Raises: TooLarge."""
        number = next(self._numbers).to_bytes(NONCE_BYTES, "big")
        plain = orjson.dumps({"expires": self._now() + LIFETIME, **_written(papers)})
        sealed = self._cipher(self._salt).encrypt(number, plain, self._bound_to)
        token = _text(self._salt + number + sealed)
        if len(token) > LONGEST:
            raise TooLarge("the request's headers are larger than the upstream pass can be told of")
        return token

    def read(self, token: str) -> Papers | None:
        if len(token) > LONGEST or not token.isascii():
            return None
        try:
            raw = a2b_base64(token, strict_mode=True)
        except ValueError:
            return None
        if _text(raw) != token:  # the last bits of base64 may be any: one token, one spelling
            return None
        salt, number, sealed = raw[:SALT_BYTES], raw[SALT_BYTES:][:NONCE_BYTES], raw[SALT_BYTES + NONCE_BYTES :]
        try:
            found = orjson.loads(self._cipher(salt).decrypt(number, sealed, self._bound_to))
        except (InvalidTag, ValueError):
            return None
        return _read(found) if self._now() < found["expires"] else None


def _text(token: bytes) -> str:
    return b2a_base64(token, newline=False).decode("ascii")


def _deriving(key: bytes) -> Callable[[bytes], AESGCM]:
    return lambda salt: AESGCM(hmac.digest(key, FORMAT + b"\0" + salt, sha256))


def _written(papers: Papers) -> dict[str, Any]:
    """Papers as JSON. Header values are any bytes, which Latin-1 maps to text and back."""
    request, peer, route = papers.arrived, papers.peer, papers.route
    fields = [[name, value.decode("latin-1")] for name, value in request.headers if isinstance(value, bytes)]
    return {
        "route": [route.namespace, route.name] if route else None,
        "backends": sorted(papers.backends),
        "peer": [peer.username, peer.uid, peer.groups, peer.namespace, peer.service_account, peer.pod]
        if peer
        else None,
        "request": [request.method, request.scheme, request.authority, request.host, request.path, fields],
        "source": papers.source,
        "id": papers.request_id,
        "held": [sorted(papers.held.headers), sorted(papers.held.query)],
        "generation": papers.generation,
    }


def _read(found: dict[str, Any]) -> Papers:
    """The papers again: what is here was sealed by a process of the same version, or its FORMAT is another."""
    method, scheme, authority, host, path, fields = found["request"]
    headers = Headers([(name, value.encode("latin-1")) for name, value in fields])
    return Papers(
        Route(*found["route"]) if found["route"] else None,
        frozenset(found["backends"]),
        _peer(*found["peer"]) if found["peer"] else None,
        Request(method, scheme, authority, host, path, headers),
        found["source"],
        found["id"],
        Places(*map(frozenset, found["held"])),
        found["generation"],
    )


def _peer(username: str, uid: str, groups: list[str], *rest: str) -> Peer:
    return Peer(username, uid, tuple(groups), *rest)
