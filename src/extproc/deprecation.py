"""How a public name is taken back: for at least one minor version it still works, and says so (docs/filters.md)."""

import warnings
from typing import Final

_TOLD: Final[set[str]] = set()


def deprecated(name: str, *, since: str, until: str, instead: str) -> None:
    """Tell once in this process that `name` is deprecated `since` a version, gone in the version `until`, and what to write
    `instead`. What is deprecated calls this itself: the warning stands at its caller.
    """
    if name in _TOLD:
        return
    _TOLD.add(name)
    message = f"{name} is deprecated since extproc {since}, and is gone in {until}: use {instead}"
    warnings.warn(message, DeprecationWarning, stacklevel=3)
