"""What happened in an exchange, in the order in which it happened: for logs, metrics and dynamic metadata."""

from dataclasses import dataclass, field
from typing import NamedTuple

from extproc.core.phase import Direction, Phase
from extproc.core.trace import Trace
from extproc.errors import Cause


class Decision(NamedTuple):
    """An extension that decided: `continue`, or the code of its denial; the seconds of work that it took, and from when to when
    (as `Pace.now` tells; 0: nobody knows). Where a body passes piece by piece the work is little of that time.
    """

    extension: str
    phase: Phase
    word: str
    seconds: float = 0.0
    began: float = 0.0
    ended: float = 0.0


class Skip(NamedTuple):
    """An extension that failed, and was passed over because its failOpen covers the cause, or because all was over. Times as
    those of a decision.
    """

    extension: str
    phase: Phase
    cause: Cause
    reason: str = ""
    seconds: float = 0.0
    began: float = 0.0
    ended: float = 0.0


@dataclass(slots=True)
class Journal:
    """Append-only, one for each exchange. Undoing a change does not undo that it was tried. `unsettled` are extensions that
    could not settle what they took when the exchange was over. `began` and `trace` are known only where traces are wanted;
    `request_bytes` and `response_bytes` are of the bodies that came.
    """

    decisions: list[Decision] = field(default_factory=list)
    skips: list[Skip] = field(default_factory=list)
    unsettled: list[Skip] = field(default_factory=list)
    began: float = 0.0
    trace: Trace | None = None
    request_bytes: int = 0
    response_bytes: int = 0

    def __len__(self) -> int:
        return len(self.decisions) + len(self.skips)

    def decided(
        self,
        extension: str,
        phase: Phase,
        seconds: float,
        word: str = "continue",
        began: float = 0.0,
        ended: float = 0.0,
    ) -> None:
        self.decisions.append(Decision(extension, phase, word, seconds, began, ended or began + seconds))

    def skipped(
        self,
        extension: str,
        phase: Phase,
        cause: Cause,
        reason: str,
        seconds: float = 0.0,
        began: float = 0.0,
        ended: float = 0.0,
    ) -> None:
        self.skips.append(Skip(extension, phase, cause, reason, seconds, began, ended or began + seconds))

    def came(self, direction: Direction, size: int) -> None:
        """So many bytes of a body."""
        if direction is Direction.REQUEST:
            self.request_bytes += size
        else:
            self.response_bytes += size
