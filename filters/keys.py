"""Keys of caches and counters: hashes of several texts that no other texts share."""

from hashlib import sha256


class Keys:
    """SHA-256 over texts, each with its length before it, so that no two lists of texts read the same. What all keys begin
    with is hashed once.
    """

    __slots__ = ("_begun",)

    def __init__(self, *parts: str) -> None:
        self._begun = sha256(_framed(parts))

    def key(self, *parts: str) -> bytes:
        """32 bytes for what all keys begin with, and `parts`."""
        whole = self._begun.copy()
        whole.update(_framed(parts))
        return whole.digest()


def _framed(parts: tuple[str, ...]) -> bytes:
    encoded = [part.encode() for part in parts]
    return b"".join(b"%d:%b" % (len(part), part) for part in encoded)
