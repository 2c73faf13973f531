"""Python inside Envoy: the dynamic module of pyvoy, and the environment in which Envoy finds an interpreter for it."""

import importlib.util
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import orjson

from extproc.envoy.plan import Json
from extproc.envoy.shape import extension, typed
from extproc.errors import ConfigError

APP: Final = "extproc.hosted:app"
"""What the module imports and serves."""

LOOP: Final = "asyncio"
"""Its loop, as in every process of ours. uvloop's leaves a socket, whose TLS connection is reset at once, with a descriptor
that it has closed: the socket, collected, closes whatever has that number by then, as a connection of Envoy's. With it 8 of 9
runs of tests/faults under load failed, with such sockets put right none of 11 (https://github.com/MagicStack/uvloop/issues/738
is another case of the same).
"""

CONFIG: Final = "EXTPROC_CONFIG"
WORKERS: Final = "EXTPROC_WORKERS"
WORKER: Final = "EXTPROC_WORKER"
ADMIN: Final = "EXTPROC_ADMIN"
CONTROL: Final = "EXTPROC_CONTROL"
INPROCESS: Final = "EXTPROC_INPROCESS"
"""Environment of an Envoy that serves: the path of the configuration (absolute); the number of workers, which of them this one
is, and where its admin port listens, if not as the configuration says; the socket on which it is told to drain; and `1` if it
is the gateway's own Envoy.
"""

MISSING: Final = "Envoy cannot run Python: install pyvoy (pip install 'extproc[envoy]'), or write --transport http2"


def module() -> Path:
    """The dynamic module. Raises: ConfigError, where pyvoy is not installed."""
    found = importlib.util.find_spec("pyvoy")
    for folder in (found.submodule_search_locations or ()) if found else ():
        for path in sorted(Path(folder).glob("_pyvoy.*")):
            return path
    raise ConfigError(MISSING)


def module_filter() -> Json:
    """The terminal HTTP filter that is our application. Each one in a configuration would have an event loop and an engine of
    its own, so there is one at most. Raises: ConfigError.
    """
    settings = {"app": APP, "interface": "asgi", "lifespan": True, "loop": LOOP, "worker_threads": 1}
    return extension(
        "extproc",
        "envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
        dynamic_module_config={"module": {"local": {"filename": str(module())}}},
        filter_name="pyvoy",
        terminal_filter=True,
        filter_config=typed("google.protobuf.StringValue", value=orjson.dumps(settings).decode()),
    )


def interpreter() -> dict[str, str]:
    """The environment in which Envoy has this very Python: its modules, and its library, to which the module is not linked.

    Raises:
        ConfigError: this Python has no shared library.
    """
    paths = [path for path in sys.path if os.path.isabs(path)]  # noqa: PTH117 - sys.path is text
    environment = {"PYTHONPATH": os.pathsep.join(paths), "PYTHONHOME": f"{sys.prefix}{os.pathsep}{sys.exec_prefix}"}
    return {**environment, **({"LD_PRELOAD": str(_library())} if sys.platform == "linux" else {})}


def started_with(environment: Mapping[str, str], argv: Sequence[str]) -> tuple[str, ...]:
    """`argv` in an environment that has these too (env(1) makes place for it: the process is the same)."""
    return ("env", *(f"{name}={value}" for name, value in environment.items()), *argv)


def shell(environment: Mapping[str, str]) -> str:
    """`environment` as one writes it before a command in a shell."""
    return " ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items())


def _library() -> Path:
    try:
        from find_libpython import candidate_paths
    except ImportError:
        raise ConfigError(MISSING) from None
    for path in map(Path, candidate_paths()):
        if path.name.startswith("libpython") and path.exists():
            return path
    raise ConfigError(
        "Envoy cannot run this Python: it has no shared library (libpython); take one that was built with it"
    )
