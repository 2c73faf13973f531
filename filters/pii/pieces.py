"""What an event of a stream brings of texts: which piece of which text, and where in the event it stands."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from extproc_filters.pii.paths import Path

Stream = tuple[str | int, ...]
"""Which text of the answer: the dialect's own numbers and names. One that begins another holds it."""

MOST_DELTAS: Final = 256
"""Pieces of texts that one event may bring, and objects in a list of it that are looked at."""

LONGEST_NAME: Final = 256
"""Characters of a name or an id by which texts are told apart."""

SCALARS: Final = (str, int, float, bool, type(None))

DOCUMENTS: Final = frozenset({"arguments", "partial_json"})
"""What has these names is JSON."""

ALL: Final = ((),)
"""Every text."""

OTHER: Final = "other"
"""What a `Stream` begins with that is of no dialect: in a list that is there as a whole it may be anything."""


class Delta(NamedTuple):
    """A piece of a text: where it stands in the event, and of which text it is one. `document`: that text is JSON."""

    place: Path
    stream: Stream
    document: bool


class Said(NamedTuple):
    """What an event brings, and which texts have ended with it (or before it, where it brings nothing of them)."""

    deltas: tuple[Delta, ...] = ()
    ended: tuple[Stream, ...] = ()
    repeats: bool = False
    """Whether its texts are there as a whole: none goes on in another event."""

    @property
    def whole(self) -> bool:
        """Whether nothing but its deltas goes on in another event: in one that we do not know much may."""
        known = 0 < len(self.deltas) < MOST_DELTAS and all(delta.stream[0] != OTHER for delta in self.deltas)
        return self.repeats or known


class Crowded(Exception):
    """A list has more objects than are looked at."""


def text_at(event: Any, place: Path) -> str:
    """The string at `place`, of which it is known that it is there."""
    for step in place:
        event = event[step]
    return str(event)


def is_short(value: object) -> bool:
    return isinstance(value, SCALARS) and not (isinstance(value, str) and len(value) > LONGEST_NAME)


def strings(
    found: Mapping[str, Any],
    place: Path,
    stream: Stream,
    names: tuple[str, ...],
    *,
    document: bool = False,
    add: bool = True,
) -> Iterator[Delta]:
    for name in names:
        if isinstance(found.get(name), str) and len(name) <= LONGEST_NAME:
            yield Delta((*place, name), (*stream, name) if add else stream, document or name in DOCUMENTS)


def objects(found: object) -> list[tuple[int, Mapping[str, Any]]]:
    """Those of a list, and where they are in it; none of anything else. Raises: Crowded."""
    looked_at: list[tuple[int, Mapping[str, Any]]] = [
        (at, each) for at, each in enumerate(found if isinstance(found, list) else []) if isinstance(each, dict)
    ]
    if len(looked_at) > MOST_DELTAS:
        raise Crowded
    return looked_at


def index_of(found: Mapping[str, Any], otherwise: int) -> int:
    """The number by which its reader tells texts apart. Some take `"0"` and `0.0` for 0."""
    index = found.get("index")
    if isinstance(index, str) and len(index) < LONGEST_NAME and index.isdecimal():
        return int(index)
    return int(index) if isinstance(index, int | float) and index == index // 1 else otherwise


def name_of(found: Mapping[str, Any], name: str) -> str | int:
    value = found.get(name)
    return value if isinstance(value, str | int) and is_short(value) else ""
