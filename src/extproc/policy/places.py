"""Where a value stands in its file, so that every error can say it."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from extproc.errors import ConfigError, Place, Refused

Steps = tuple[str | int, ...]
"""The way from a document's root to a value: names of fields, and indices from 0."""

PLAIN: Final = re.compile(r"[A-Za-z_][\w-]*")
PARTS: Final = re.compile(r'\["([^"]*)"\]|\[(\d+)\]|([^.\[\]]+)')


@dataclass(frozen=True, slots=True)
class Origin:
    """One document: its file as given, its number in it (from 1), the directory that its relative paths start from, and
    the line of each of its values.
    """

    file: str
    document: int
    directory: Path
    lines: Mapping[Steps, int] = field(default_factory=dict, repr=False)
    renamed: Mapping[Steps, Steps] = field(default_factory=dict, repr=False)
    """Where it was written, of what became a document of another shape: the longest beginning counts."""

    def place(self, *steps: str | int) -> Place:
        """The place of a value. One that is not there (it is missing) has the line of what should hold it."""
        steps = self._written(steps)
        known: Steps = steps
        while known and known not in self.lines:
            known = known[:-1]
        return Place(self.file, self.lines.get(known, 0), self.document, dotted(steps))

    def known(self, steps: Steps) -> Steps:
        """As many of `steps` as lead to a value that is there."""
        steps = self._written(steps)
        while steps and steps not in self.lines:
            steps = steps[:-1]
        return steps

    def _written(self, steps: Steps) -> Steps:
        for length in range(len(steps), 0, -1) if self.renamed else ():
            if (there := self.renamed.get(steps[:length])) is not None:
                return (*there, *steps[length:])
        return steps


def dotted(steps: Steps) -> str:
    """`spec.extensions[0].config`; a name that is no plain word is quoted as in JSON, so that nothing in it is shown as
    anything else: `filters["a.b/C:v1"]`.
    """
    text = ""
    for step in steps:
        if isinstance(step, int):
            text += f"[{step}]"
        elif PLAIN.fullmatch(step):
            text += f".{step}" if text else step
        else:
            text += f"[{json.dumps(step)}]"
    return text


def undotted(text: str) -> Steps:
    """The steps of a field that a filter named: `limits[0].window` or `limits.0.window`."""
    steps: list[str | int] = []
    for match in PARTS.finditer(text):
        quoted, index, word = match.groups()
        if index is not None:
            steps.append(int(index))
        else:
            steps.append(int(word) if word and word.isascii() and word.isdigit() else (quoted or word or ""))
    return tuple(steps)


@dataclass(slots=True)
class Errors:
    """All that is wrong, collected: somebody who corrects a configuration wants to know it at once."""

    found: list[ConfigError] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)

    def add(self, message: str, place: Place, reason: str = "Invalid") -> None:
        error = ConfigError(message, place, reason)
        if str(error) not in self._seen:
            self._seen.add(str(error))
            self.found.append(error)

    def extend(self, errors: Iterable[ConfigError]) -> None:
        for error in errors:
            self.add(error.message, error.place, error.reason)

    def check(self) -> None:
        """Raises: Refused, if anything was found."""
        if self.found:
            raise Refused(sorted(self.found, key=_order))


def _order(error: ConfigError) -> tuple[str, int, int, str, str]:
    place = error.place
    return place.file, place.line, place.document, place.field, error.message
