"""The patterns of `matches`, kept small: the library's engine is linear in the text, but compiles at each evaluation."""

import re
from dataclasses import dataclass, field
from typing import Final

from extproc.errors import ConfigError

LONGEST: Final = 256
"""Characters of all patterns of an expression."""
MOST_REPEATS: Final = 100
"""The product of all counted repetitions of a pattern."""
MOST_CLASSES: Final = 10
"""Of Unicode: each takes 0.25 ms to compile."""
MOST_ROUNDS: Final = 100
"""Of a macro: as many headers as Envoy takes."""

REPEAT: Final = re.compile(r"\{(\d+)(?:,(\d*))?\}")
CLASS: Final = re.compile(r"\\[wWdDsSpPbB]|\(\?[a-zA-Z]*i")
CODED: Final = re.compile(r"\\[xXuU0-7]")


@dataclass(slots=True)
class Patterns:
    """Those of one expression, as they are written there."""

    literals: list[str] = field(default_factory=list)
    _classes: int = 0

    def add(self, literal: str, *, in_macro: bool) -> None:
        """Raises: ConfigError, if it is one too many."""
        if literal[0] not in "rR" and CODED.search(literal.replace(r"\\", "")):
            raise ConfigError(
                "the pattern of `matches` has a coded character: write it plainly, or the literal as r'...'"
            )
        repeats = _repeats(literal)
        self.literals.append(literal)
        self._classes += len(CLASS.findall(literal)) * repeats * (MOST_ROUNDS if in_macro else 1)
        if repeats > MOST_REPEATS or sum(map(len, self.literals)) > LONGEST:
            raise ConfigError(
                f"the patterns of `matches` are too large: at most {LONGEST} characters,"
                f" and counted repetitions of at most {MOST_REPEATS} multiplied"
            )
        if self._classes > MOST_CLASSES:
            raise ConfigError(
                f"the patterns of `matches` have more than {MOST_CLASSES} classes such as \\w or (?i), times the counted"
                f" repetitions of the pattern, and times {MOST_ROUNDS} in a macro: write [A-Za-z0-9_]"
            )


def _repeats(pattern: str) -> int:
    product = 1
    for low, high in REPEAT.findall(pattern):
        product *= max(int(low[:9]), int(high[:9] or 0), 1)
    return product
