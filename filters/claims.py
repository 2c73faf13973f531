"""What a JWT says of itself, unverified: reason enough to refuse a token, never to accept one."""

import math
from base64 import urlsafe_b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import orjson


@dataclass(frozen=True, slots=True)
class Claims:
    """`expires` is Unix seconds. None: the token does not say, or is no JWT."""

    expires: float | None = None
    audiences: frozenset[str] | None = None

    def refuse(self, audiences: Sequence[str], now: float) -> bool:
        """Whether a reviewer need not even be asked."""
        expired = self.expires is not None and self.expires <= now
        meant_for_others = bool(audiences) and self.audiences is not None and self.audiences.isdisjoint(audiences)
        return expired or meant_for_others


NONE: Final = Claims()


def unverified(token: str) -> Claims:
    """The claims of a token in JWS compact form (RFC 7515 section 3.1); NONE if it is none."""
    parts = token.split(".")
    if len(parts) != 3:
        return NONE
    try:
        payload = orjson.loads(urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:  # neither base64 nor JSON
        return NONE
    if not isinstance(payload, dict):
        return NONE
    return Claims(_time(payload.get("exp")), _audiences(payload.get("aud")))


def _time(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _audiences(value: object) -> frozenset[str] | None:
    """One audience may stand there alone (RFC 7519 section 4.1.3)."""
    if isinstance(value, str):
        return frozenset({value})
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return frozenset(value)
    return None
