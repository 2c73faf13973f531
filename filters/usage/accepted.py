"""The content encodings that an upstream may answer in: those that we can read."""

import re
from typing import Final

from extproc_filters.pii.media import CODINGS

READ: Final = frozenset(CODINGS) | {"identity"}
ITEM: Final = re.compile(r"[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*(;[ \t]*q=[0-9.]{1,5}[ \t]*)?", re.IGNORECASE)
"""RFC 9110 section 12.5.3."""


def accepted(header: str | None) -> str | None:
    """What `accept-encoding` must become, or None if it may stay as it is. `*` would be anything."""
    items = [item for item in (header or "").split(",") if item.strip()]
    kept = [item.strip() for item in items if (match := ITEM.fullmatch(item)) and match[1].lower() in READ]
    return None if len(kept) == len(items) else ", ".join(kept) or "identity"
