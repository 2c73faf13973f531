"""The programs that the bench needs beside Python's, and what is said if one is not there."""

import os
import shutil
from pathlib import Path

GHZ = "ghz-v0.121.0"
BASELINE = "baseline"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "extproc-bench"
"""Where `bench/setup.sh` puts what it builds."""

PACKAGES = {"wrk": "wrk", "h2load": "nghttp2-client", "redis-server": "redis-server"}
"""Programs on the PATH, and the Debian packages that they are in."""


def built(name: str) -> Path:
    """A program that `bench/setup.sh` builds."""
    return CACHE / name


def missing(*programs: str) -> str | None:
    """What is not here of `programs` (default: all), as a sentence with what would help."""
    wanted = programs or (*PACKAGES, GHZ, BASELINE)
    lacking = [name for name in wanted if not (shutil.which(name) if name in PACKAGES else built(name).exists())]
    if not lacking:
        return None
    names = [f"`{name}` (Debian's package {PACKAGES[name]})" if name in PACKAGES else f"`{name}`" for name in lacking]
    return f"not installed: {', '.join(names)}; `make bench-setup` installs what is missing"
