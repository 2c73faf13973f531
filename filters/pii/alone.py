"""An event that is made for the end of a text, in the shape of the last one that brought a piece of it."""

from collections.abc import Mapping
from itertools import islice
from typing import Any, Final

from extproc_filters.pii.paths import Path
from extproc_filters.pii.pieces import is_short

KEPT: Final = frozenset({"index", "type", "thought", "finish_reason", "logprobs", "jsonPath", "willContinue"})
"""What goes with a piece below the top of an event, besides what is on the way to it. An id or a name would be added to the one
that came before.
"""

NOT_REPEATED: Final = frozenset({"usage", "usageMetadata", "obfuscation"})

MOST_MEMBERS: Final = 64
"""Members at the top of an event that are repeated: what is kept of each text is small."""


def alone(event: Mapping[str, Any], place: Path, text: str) -> dict[str, Any]:
    """An event in the shape of `event` that brings nothing but `text`, at `place`."""
    short = (name for name, value in event.items() if is_short(name) and is_short(value) and name not in NOT_REPEATED)
    top = {name: event[name] for name in islice(short, MOST_MEMBERS)}
    if isinstance(event.get("logprobs"), list):
        top["logprobs"] = []
    return {**top, **_pruned(event, place, text)}


def place_alone(place: Path) -> Path:
    """Where the text stands in what `alone` makes: the lists on the way to it have one item left."""
    return tuple(0 if isinstance(step, int) else step for step in place)


def _pruned(event: Any, place: Path, text: str) -> Any:
    step, rest = place[0], place[1:]
    inner = _pruned(event[step], rest, text) if rest else text
    if isinstance(event, list):
        return [inner]
    kept = {name: event[name] for name in KEPT if name in event and is_short(event[name])}
    if "finish_reason" in kept:
        kept["finish_reason"] = None
    if step in ("function", "custom"):
        kept.pop("type", None)
    if step == "parts" and is_short(event.get("role", [])):
        kept["role"] = event["role"]
    return {**kept, str(step): inner}
