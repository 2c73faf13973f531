"""What is true of a configuration that loads and is still worth a word: `check` and the status show it, nothing hides it."""

from dataclasses import dataclass, field
from enum import StrEnum

from extproc.errors import Place


class FindingKind(StrEnum):
    """The conditions of DESIGN section 3, and what belongs to another Gateway."""

    CONFLICTED = "Conflicted"
    DEGRADED = "Degraded"
    NOT_SERVED_HERE = "NotServedHere"


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence, its place, and a word for programs (`reason`)."""

    kind: FindingKind
    reason: str
    message: str
    place: Place

    def __str__(self) -> str:
        return f"{self.place}: {self.kind} ({self.reason}): {self.message}"


@dataclass(slots=True)
class Findings:
    """Collected; the same one is kept once."""

    found: dict[Finding, None] = field(default_factory=dict)

    def conflicted(self, message: str, place: Place, reason: str = "Conflicted") -> None:
        self.found[Finding(FindingKind.CONFLICTED, reason, message, place)] = None

    def degraded(self, message: str, place: Place, reason: str) -> None:
        self.found[Finding(FindingKind.DEGRADED, reason, message, place)] = None

    def not_served(self, message: str, place: Place) -> None:
        self.found[Finding(FindingKind.NOT_SERVED_HERE, "OtherGateway", message, place)] = None

    def sorted(self) -> tuple[Finding, ...]:
        """In the order of their places."""
        return tuple(sorted(self.found, key=lambda one: (one.place.file, one.place.line, one.place.field, one.message)))
