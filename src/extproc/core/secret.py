"""A value nobody may see.

A `Secret` is a reference: its bytes lie in a table of this module and only the codec asks for them (`unseal`), while it
writes the answer to Envoy. So no repr, log, traceback, pickle, `vars()` or later extension can show them.
"""

import hmac
from collections.abc import Callable
from hashlib import sha256
from typing import Final, NoReturn
from weakref import WeakKeyDictionary


class Secret:
    """An opaque reference to bytes that go onto the wire and nowhere else. Compared by identity."""

    __slots__ = ("__weakref__",)

    def __repr__(self) -> str:
        return "***"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Secret cannot be pickled or copied")


_BYTES: Final[WeakKeyDictionary[Secret, tuple[bytes, bytes]]] = WeakKeyDictionary()
_BACKENDS: Final[WeakKeyDictionary[Secret, frozenset[str]]] = WeakKeyDictionary()


def seal(value: bytes, backends: frozenset[str] | None = None) -> Secret:
    """Hide `value` behind a reference. The bytes live as long as the reference does. `backends` (namespace/name) are the
    only ones that it may go to, whoever sets it; None: its source names none.
    """
    secret = Secret()
    _BYTES[secret] = value, value
    if backends is not None:
        _BACKENDS[secret] = backends
    return secret


def wrap(secret: Secret, template: str) -> Secret:
    """A new reference to `template` with each `{value}` replaced by what `secret` hides."""
    core = _BYTES[secret][1]
    wrapped = Secret()
    _BYTES[wrapped] = template.encode("latin-1").replace(b"{value}", core), core
    if secret in _BACKENDS:
        _BACKENDS[wrapped] = _BACKENDS[secret]
    return wrapped


def may_reach(secret: Secret, backend: str) -> bool:
    """Whether the source of `secret` releases it to that Backend (namespace/name)."""
    return secret not in _BACKENDS or backend in _BACKENDS[secret]


def unseal(secret: Secret) -> bytes:
    """The bytes. For the codec alone (`tests/core/test_secret.py` holds everybody else to that)."""
    return _BYTES[secret][0]


def unseal_core(secret: Secret) -> bytes:
    """The bytes without the template around them: what an answer must not echo. For the codec alone."""
    return _BYTES[secret][1]


def mac_key(secret: Secret, purpose: bytes) -> Callable[[bytes], bytes]:
    """HMAC-SHA-256 under a key derived from `secret` for `purpose`: what a filter may do with a key it cannot read."""
    derived = hmac.digest(_BYTES[secret][1], purpose, sha256)
    return lambda message: hmac.digest(derived, message, sha256)
