"""The parent of Envoys that serve: it judges the configuration before anything opens, writes what they need into a folder that
only it can read, and keeps them running.
"""

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import orjson

from extproc.admin import Admin, Workers
from extproc.compose import CATALOG, listeners
from extproc.envoy.binary import command, find_envoy
from extproc.envoy.bootstrap import text
from extproc.envoy.gateway import check_free, check_places
from extproc.envoy.inner import secrets, server, where
from extproc.envoy.inprocess import inprocess
from extproc.envoy.keep import Keeper
from extproc.envoy.plan import Json, Plan
from extproc.envoy.probe import envoy_live
from extproc.envoy.process import POLL
from extproc.envoy.python import ADMIN, CONFIG, CONTROL, INPROCESS, WORKER, WORKERS, interpreter, started_with
from extproc.errors import ConfigError
from extproc.folder import check_sockets, own_folder
from extproc.policy.describe import catalog
from extproc.policy.names import Address
from extproc.reload.leading import led
from extproc.reload.source import Loaded
from extproc.wire.listener import Listener, claim, vacate
from extproc.workers import Patience, supervise

GRACE: Final = 30.0
"""Seconds beyond those of the configuration that a drain may take."""

THREADS: Final = 1
"""Of an Envoy that serves: its one event loop is busy long before a thread of Envoy is."""


@dataclass(frozen=True, slots=True)
class Host:
    """One Envoy: its bootstrap, and the environment of the application in it."""

    bootstrap: Json
    environment: Mapping[str, str]
    threads: int | None = THREADS


async def serve(loaded: Loaded) -> int:
    """Serve a configuration on its listeners, in one Envoy for each worker, until SIGTERM (drain, then 0) or
    SIGINT (at once, 130). With several the admin port is the parent's, else that of the only one.

    Raises:
        ConfigError: a listener cannot be had, or there is no Envoy, or no Python for it.
    """
    resolved, config = loaded.resolved, loaded.source.path
    count = resolved.settings.workers
    own = [listeners(resolved, index) for index in range(count)]
    for each in own:
        for listener in each:
            claim(listener)
            if not listener.socket:
                check_free(where(listener), "listen")
    with _folder() as folder, _removed(own):
        admins = {str(index): folder / f"admin-{index}.sock" for index in range(count)}
        hosts = [_server(each, folder, config, index, count, admins) for index, each in enumerate(own)]
        drain = resolved.settings.drain_seconds
        if count == 1:
            hosts = [replace(hosts[0], environment={**hosts[0].environment, ADMIN: resolved.settings.admin})]
            return await keep(hosts, folder, drain, loaded=loaded)
        told = Workers(admins)
        admin = Admin(
            resolved.settings.admin,
            health=told.health,
            metrics=told.metrics,
            status=told.status,
            catalog=lambda: catalog(CATALOG),
        )
        await admin.start()
        try:
            return await keep(hosts, folder, drain, loaded=loaded)
        finally:
            await admin.stop()


async def run(plan: Plan, loaded: Loaded, announce: Callable[[], None]) -> int:
    """Run the gateway of `plan` with the server of its configuration inside, until SIGTERM (drain, then 0) or
    SIGINT (at once, 130). `announce` is called whenever the gateway listens.

    Raises:
        ConfigError: its addresses cannot be had, or the plan cannot be served, or there is no Envoy, or no Python for it.
    """
    check_places(plan)
    waiting: set[asyncio.Task[None]] = set()

    def changed(ready: int) -> None:
        if ready:
            task = asyncio.create_task(_announced(plan.admin, announce))
            waiting.add(task)
            task.add_done_callback(waiting.discard)

    with _folder() as folder:
        host = Host(inprocess(plan), inside(loaded.source.path), None)
        return await keep([host], folder, loaded.resolved.settings.drain_seconds, changed, loaded)


async def keep(
    hosts: Sequence[Host],
    folder: Path,
    drain: float,
    on_change: Callable[[int], None] | None = None,
    loaded: Loaded | None = None,
) -> int:
    """Run `hosts`, with their files in `folder`, as the whole job of this process. `drain` are the seconds that each goes on
    taking what comes once it is told to end. They begin with `loaded`, and are led from there on. Gives the exit code.

    Raises:
        ConfigError: there is no Envoy, or no Python for it.
    """
    binary, python = find_envoy(os.environ).absolute(), interpreter()
    controls = [folder / f"control-{index}.sock" for index in range(len(hosts))]
    commands = []
    for index, host in enumerate(hosts):
        path = folder / f"envoy-{index}.yaml"
        path.write_text(text(host.bootstrap), encoding="utf-8")
        environment = {**python, **host.environment, CONTROL: str(controls[index])}
        commands.append(started_with(environment, command(binary, path, concurrency=host.threads)))
    os.chdir(folder)  # the module looks for Python's modules in the working directory: nobody else writes into this one
    patience = Patience(drain=drain + GRACE)
    keeper = Keeper(len(hosts), commands.__getitem__, patience, on_change=on_change, controls=tuple(controls))
    return await supervise(led(keeper, loaded, folder) if loaded else keeper)


def inside(config: Path) -> dict[str, str]:
    """The environment of the application in the gateway's own Envoy."""
    return {CONFIG: str(config.absolute()), INPROCESS: "1"}


async def _announced(admin: Address, announce: Callable[[], None]) -> None:
    """The application is there before Envoy opens its listeners."""
    while not await envoy_live(admin):  # noqa: ASYNC110 - Envoy tells of it in no other way
        await asyncio.sleep(POLL)
    announce()


def _server(
    own: Sequence[Listener], folder: Path, config: Path, index: int, count: int, admins: Mapping[str, Path]
) -> Host:
    """Worker `index`. Raises: ConfigError."""
    place = folder / f"worker-{index}"
    place.mkdir()
    for name, secret in secrets(own).items():
        (place / name).write_bytes(orjson.dumps(secret))
    environment = {CONFIG: str(config.absolute()), WORKERS: str(count), WORKER: str(index)}
    if count > 1:
        environment[ADMIN] = f"unix://{admins[str(index)]}"
    return Host(server(own, place), environment)


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder that nobody else can read. The working directory may be in it, so that is left before it goes."""
    before = Path.cwd()
    with own_folder() as folder:
        check_sockets(folder)
        try:
            yield folder
        finally:
            os.chdir(before)


@contextmanager
def _removed(own: Sequence[Sequence[Listener]]) -> Iterator[None]:
    """Envoy leaves its sockets behind. One where somebody listens is that of who came after."""
    try:
        yield
    finally:
        for listener in (listener for each in own for listener in each):
            if listener.socket:
                with suppress(ConfigError):
                    vacate(listener.socket)
