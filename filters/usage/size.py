"""Tokens by the number of bytes, for want of better."""

from typing import Final

BYTES: Final = 4
"""Bytes of a token, about, in English."""

COMMON: Final = 512
"""Bytes that events of one kind have in common, at most."""

KINDS: Final = 32
"""Kinds of events that are told apart."""


def tokens_of(size: int) -> int:
    """Tokens of a text of so many bytes."""
    return -(-size // BYTES)


class Deltas:
    """The tokens of a stream. Each event carries at least one; but most of its bytes say the same in every event (the id, the
    model, the names of the members). So the shortest event of a kind so far is taken to be what they have in common.
    """

    def __init__(self) -> None:
        self.tokens = 0
        self._common: dict[str, int] = {}

    def add(self, size: int, kind: str) -> None:
        """One more event with so many bytes of data."""
        if kind not in self._common and len(self._common) >= KINDS:
            kind = ""
        common = self._common[kind] = min(size, self._common.get(kind, COMMON))
        self.tokens += max(1, tokens_of(size - common))
