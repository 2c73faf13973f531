"""What a file of requirements/ fixes, read back: `name==version ; marker`, and the hashes below it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging.markers import Marker
from packaging.utils import NormalizedName, canonicalize_name

PIN: Final = re.compile(
    r"(?m)^([A-Za-z0-9._-]+)==(\S+?)(?: ; (.+?))? \\\n((?: +--hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)"
)
OTHERS: Final = re.compile(r"(?:\s*#.*)?")
"""Lines that fix nothing."""


@dataclass(frozen=True)
class Pin:
    """One package at one version, where `marker` says so."""

    name: NormalizedName
    version: str
    marker: Marker | None
    hashes: int

    @property
    def here(self) -> bool:
        """Whether it is for this platform and Python."""
        return self.marker is None or self.marker.evaluate()


def pins(path: Path) -> Iterator[Pin]:
    """Raises: ValueError, for a line that is no pin with its hashes: an address, an option, a version that is not fixed."""
    text = path.read_text()
    for line in PIN.sub("", text).splitlines():
        if not OTHERS.fullmatch(line):
            raise ValueError(f"{path}: {line!r} fixes nothing; `make lock` writes this file")
    for name, version, marker, hashes in PIN.findall(text):
        yield Pin(canonicalize_name(name), version, Marker(marker) if marker else None, hashes.count("--hash="))
