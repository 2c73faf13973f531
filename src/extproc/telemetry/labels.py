"""Values of labels, bounded in length and number. Prometheus keeps every series that it ever saw for hours, so whoever can make
up names must not make series without end.
"""

from typing import Final

OTHER: Final = "other"
"""What a label reads once there are too many values of its kind, or where its value cannot be shown."""

LONGEST: Final = 256
"""Bytes of a label's value."""


def is_plain(value: str) -> bool:
    """Whether it can be shown: with half of a surrogate pair, say, nobody could read any metric any more."""
    try:
        return len(value.encode()) <= LONGEST
    except UnicodeEncodeError:
        return False


class Cap:
    """Lets the first `most` different values pass that it is given; any other becomes OTHER."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()

    def __call__(self, value: str) -> str:
        if value in self._known:
            return value
        if len(self._known) >= self._most or not is_plain(value):
            return OTHER
        self._known.add(value)
        return value
