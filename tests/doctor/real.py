"""A real Envoy on a configuration, and what its admin port says to the doctor."""

import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from extproc.doctor.ask import ask_json
from extproc.doctor.dump import Dump, read
from extproc.doctor.examine import STATS
from extproc.doctor.tree import Json
from extproc.envoy.binary import command, find_envoy
from extproc.policy.names import Address
from tests.e2e.processes import Process, envoy_live


class Told(NamedTuple):
    dump: Dump
    stats: Json
    raw: Json


@contextmanager
def running(config: Any, directory: Path, name: str = "envoy") -> Iterator[Path]:
    """Start it on `config`, end it: its admin socket."""
    admin = directory / f"{name}.sock"
    file = directory / f"{name}.json"
    own = {"admin": {"address": {"pipe": {"path": str(admin), "mode": 0o600}}}, **config}
    file.write_text(json.dumps(own))
    process = Process(command(find_envoy(os.environ), file, concurrency=1), directory / f"{name}.log")
    try:
        process.wait_until(lambda: envoy_live(admin))
        yield admin
    finally:
        process.stop()


def told(admin: Path) -> Told:
    """By the Envoy of this admin socket."""
    address = Address(path=admin)

    async def all_of_it() -> Told:
        raw = await ask_json(address, "/config_dump")
        return Told(read(raw, await ask_json(address, "/clusters?format=json")), await ask_json(address, STATS), raw)

    return asyncio.run(all_of_it())
