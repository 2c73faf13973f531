"""The patterns of `matches`, kept small: the library's engine is linear in the text, but compiles at each evaluation."""

import re
from dataclasses import dataclass, field
from typing import Final

from extproc.errors import ConfigError

LONGEST: Final = 256
"""Characters of all patterns of an expression."""
MOST_WRITTEN_OUT: Final = 10_000
"""The same, each pattern times the product of its counted repetitions."""
MOST_CLASSES: Final = 10
"""Of Unicode: each takes 0.25 ms to compile."""
MOST_ROUNDS: Final = 100
"""Of a macro: as many headers as Envoy takes. Each compiles the pattern again, so it counts so often."""

BRACES: Final = re.compile(r"\{([^}]*)")
NUMBER: Final = re.compile(r"\d{1,9}")
VERBOSE: Final = re.compile(r"\(\?[a-zA-Z-]*x")
CLASS: Final = re.compile(r"\\[wWdDsSpPbB]|\(\?[a-zA-Z]*i")
CODED: Final = re.compile(r"\\[xXuU0-7]")


@dataclass(slots=True)
class Patterns:
    """Those of one expression, as they are written there."""

    literals: list[str] = field(default_factory=list)
    _written_out: int = 0
    _classes: int = 0

    def add(self, literal: str, *, in_macro: bool) -> None:
        """Raises: ConfigError, if it is one too many."""
        if literal[0] not in "rR" and CODED.search(literal.replace(r"\\", "")):
            raise ConfigError(
                "the pattern of `matches` has a coded character: write it plainly, or the literal as r'...'"
            )
        if VERBOSE.search(literal):
            raise ConfigError("the pattern of `matches` has the flag x, and so may have comments: write it without")
        times = _repeats(literal) * (MOST_ROUNDS if in_macro else 1)
        self.literals.append(literal)
        self._written_out += len(literal) * times
        self._classes += len(CLASS.findall(literal)) * times
        if sum(map(len, self.literals)) > LONGEST or self._written_out > MOST_WRITTEN_OUT:
            raise ConfigError(
                f"the patterns of `matches` are too large: at most {LONGEST} characters, and {MOST_WRITTEN_OUT} when each is"
                f" taken times its counted repetitions, and times {MOST_ROUNDS} in a macro"
            )
        if self._classes > MOST_CLASSES:
            raise ConfigError(
                f"the patterns of `matches` have more than {MOST_CLASSES} classes such as \\w or (?i), times the counted"
                f" repetitions of the pattern, and times {MOST_ROUNDS} in a macro: write [A-Za-z0-9_]"
            )


def _repeats(pattern: str) -> int:
    """The product of its counted repetitions, which may have white space: `{ 2 , 5 }`. Other braces with a number count too."""
    product = 1
    for inside in BRACES.findall(pattern):
        product *= max([1, *map(int, NUMBER.findall(inside))])
    return product
