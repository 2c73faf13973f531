"""What happened in an exchange, in the order in which it happened: for logs, metrics and dynamic metadata."""

from dataclasses import dataclass, field
from typing import NamedTuple

from extproc.core.phase import Phase
from extproc.errors import Cause


class Decision(NamedTuple):
    """An extension that decided: `continue`, or the code of its denial; and the seconds that it took."""

    extension: str
    phase: Phase
    word: str
    seconds: float = 0.0


class Skip(NamedTuple):
    """An extension that failed, and was passed over because its failOpen covers the cause, or because all was over."""

    extension: str
    phase: Phase
    cause: Cause
    reason: str = ""
    seconds: float = 0.0


@dataclass(slots=True)
class Journal:
    """Append-only, one for each exchange. Undoing a change does not undo that it was tried. `unsettled` are extensions that
    could not settle what they took when the exchange was over.
    """

    decisions: list[Decision] = field(default_factory=list)
    skips: list[Skip] = field(default_factory=list)
    unsettled: list[Skip] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.decisions) + len(self.skips)

    def decided(self, extension: str, phase: Phase, seconds: float, word: str = "continue") -> None:
        self.decisions.append(Decision(extension, phase, word, seconds))

    def skipped(self, extension: str, phase: Phase, cause: Cause, reason: str, seconds: float = 0.0) -> None:
        self.skips.append(Skip(extension, phase, cause, reason, seconds))
