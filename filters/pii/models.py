"""Recognizers of other people's that `modelRef` names: found by the entry-point group `extproc.recognizers`.

A model is asked synchronously, so it holds the event loop for as long as it thinks. It never gets more than WINDOW
characters at once, and the loop breathes between two windows.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from itertools import islice
from math import isfinite
from typing import Any, Final, Protocol, runtime_checkable

from extproc.errors import ConfigError, Defect
from extproc_filters.pii.findings import Finding
from extproc_filters.pii.work import Work

GROUP: Final = "extproc.recognizers"
NAME: Final = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
"""What an entity may be called: it is written into texts, `[PERSON]`, and into reports."""

WINDOW: Final = 16 * 1024
OVERLAP: Final = 512
"""Characters that a model gets at once, and how many of them are the last of the window before: what is longer than that and
lies across the border of two windows may be found in part only."""

MOST: Final = 10_000
"""Findings that a model may have in one window."""


class Found(Protocol):
    """What a model tells of one finding: from `start` to `end` in characters, with a score from 0 to 1."""

    @property
    def entity(self) -> str: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def score(self) -> float: ...


@runtime_checkable
class Model(Protocol):
    """A recognizer. An entry point names its class, or any function without arguments that makes one."""

    def find(self, text: str) -> Iterable[Found]:
        """What is in `text`, in any order. It is called for many texts, from one thread."""
        ...


@dataclass(frozen=True, slots=True)
class NamedModel:
    """A model as it is asked here; what it tells is not believed before it was looked at."""

    name: str
    model: Model

    def find(self, text: str) -> Work[list[Finding]]:
        """What the model finds in `text`.

        Raises:
            Defect: it failed, or told of what cannot be.
        """
        found: list[Finding] = []
        for start in _windows(len(text)):
            if start:
                yield
            window = text[start : start + WINDOW]
            found += [each._replace(start=start + each.start, end=start + each.end) for each in self._asked(window)]
        return found

    def _asked(self, window: str) -> Iterator[Finding]:
        """What the model says of one window. Its error may quote the text, so only the kind of it is told."""
        try:
            told = [
                (each.entity, each.start, each.end, each.score) for each in islice(self.model.find(window), MOST + 1)
            ]
        except Exception as error:  # noqa: BLE001 - somebody else's code, whatever it raises
            raise Defect(f"the model {self.name} failed: {type(error).__name__}") from None
        if len(told) > MOST:
            raise Defect(f"the model {self.name} found more than {MOST} things in {WINDOW} characters")
        for each in told:
            yield self._checked(*each, size=len(window))

    def _checked(self, entity: Any, start: Any, end: Any, score: Any, *, size: int) -> Finding:
        """Raises: Defect, without a word of the text."""
        if not isinstance(entity, str) or NAME.fullmatch(entity) is None:
            raise Defect(f"the model {self.name} gave an entity whose name is not like {NAME.pattern}")
        if not (_whole(start) and _whole(end)):
            raise Defect(f"the model {self.name} gave a position of {entity} that is no int")
        if not 0 <= start < end <= size:
            raise Defect(f"the model {self.name} found {entity} from {start} to {end} in a text of {size} characters")
        if not isinstance(score, int | float) or not isfinite(score) or not 0 <= score <= 1:
            raise Defect(f"the model {self.name} gave {entity} a score that is not between 0 and 1")
        return Finding(entity, start, end, float(score))


def load(name: str) -> NamedModel:
    """The model that is installed under `name`.

    Raises:
        ConfigError: there is none, or several, or it cannot be made, or it is no model.
    """
    point = _point(name)
    try:
        model = point.load()()
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"the model {name!r} ({point.value}) cannot be made: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(model, Model) or not callable(model.find):
        raise ConfigError(f"{name!r} ({point.value}) is no model: it has no method `find(text)` that gives findings")
    return NamedModel(name, model)


def _point(name: str) -> EntryPoint:
    """Raises: ConfigError."""
    points = entry_points(group=GROUP)
    found = {point.value: point for point in points if point.name == name}
    if len(found) > 1:
        raise ConfigError(
            f"several packages are installed for the model {name!r} ({', '.join(sorted(found))}): keep one"
        )
    if not found:
        known = sorted({point.name for point in points})
        close = get_close_matches(name, known, 1)
        hint = (
            f"did you mean {close[0]!r}?"
            if close
            else f"known are {', '.join(known)}"
            if known
            else "none is installed"
        )
        raise ConfigError(f"there is no model {name!r} in the entry-point group {GROUP}: {hint}")
    return next(iter(found.values()))


def _whole(position: object) -> bool:
    return isinstance(position, int) and not isinstance(position, bool)


def _windows(size: int) -> Iterator[int]:
    """Where each window begins; the last one reaches the end."""
    start = 0
    while size:
        yield start
        if start + WINDOW >= size:
            return
        start += WINDOW - OVERLAP
