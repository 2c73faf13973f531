"""What one process takes on at once: exchanges per peer, and bytes of bodies in memory (DESIGN section 6)."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Admission:
    """Two gauges with a ceiling each. Shared by all exchanges of a process; a refused entry takes nothing."""

    per_peer: int = 100
    body_bytes: int = 256 * 1024 * 1024
    _peers: Counter[str] = field(default_factory=Counter)
    _held: int = 0

    def enter(self, peer: str) -> bool:
        if self._peers[peer] >= self.per_peer:
            return False
        self._peers[peer] += 1
        return True

    def leave(self, peer: str) -> None:
        self._peers[peer] -= 1
        if self._peers[peer] <= 0:
            del self._peers[peer]

    def hold(self, size: int) -> bool:
        if self._held + size > self.body_bytes:
            return False
        self._held += size
        return True

    def let_go(self, size: int) -> None:
        self._held -= size
