"""One process that serves inside Envoy: what Envoy's dynamic module imports as `extproc.hosted:app`. Its environment says what
it is (extproc.envoy.python).

Everything is made when the application starts, in the event loop that it has from then on; after that Envoy opens its
listeners.
"""

import asyncio
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from extproc.compose import listeners
from extproc.envoy.inner import where
from extproc.envoy.keep import DRAIN, DRAINED
from extproc.envoy.probe import accepts
from extproc.envoy.python import ADMIN, CONFIG, CONTROL, INPROCESS, WORKER, WORKERS
from extproc.errors import ConfigError, Refused
from extproc.reload.following import Follower, Obedient, following
from extproc.reload.source import Loaded, Source
from extproc.telemetry import configure_logging
from extproc.tether import Tether, tether
from extproc.wire.asgi import Application
from extproc.wire.call import Event, Receive, Send
from extproc.wire.listener import SOCKET_MODE
from extproc.wire.pace import settled
from extproc.worker import Worker
from extproc.workers import REFUSED

log = structlog.get_logger("extproc.serve")

RELOAD: Final = b"reload\n"
"""What one says on the control socket to have the configuration read now."""

GRACE: Final = 25.0
"""Seconds that exchanges which are open may take to end: Kubernetes kills after 30."""

SETTLING: Final = 2.0
"""Seconds that exchanges which have ended may take to settle what they took, at the very end."""

POLL: Final = 0.02
"""Seconds between two questions whether Envoy has opened its listeners."""


@dataclass(slots=True)
class Process:
    """Worker `index` of those that the configuration asks for, which begins with `loaded`. `control` is the socket on which it
    is told to drain; `inside` says that it is in the gateway's own Envoy, and has no listeners.
    """

    loaded: Loaded
    index: int
    control: Path | None
    inside: bool
    tied: Tether | None
    worker: Worker = field(init=False)
    application: Application = field(init=False)
    _follower: Follower | Obedient = field(init=False)
    _follows: asyncio.Task[None] | None = None
    _control: asyncio.Server | None = None
    _opening: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        """Raises: ConfigError."""
        admin = self.loaded.resolved.settings.admin
        worker = self.worker = Worker(self.loaded, admin, lambda: self.application.streams)
        self._follower = following(worker, self.tied)
        self.application = Application(lambda: worker.engine, worker.largest, lambda: worker.ready)

    async def start(self) -> None:
        """Raises: ConfigError, if the admin port cannot be had."""
        await self.worker.start()
        if self.control:
            self._control = await asyncio.start_unix_server(self._told, self.control)
        self._opening = asyncio.create_task(self._open())

    async def stop(self) -> None:
        """Envoy ends: whatever is open has been cut off already."""
        if self._follows:
            self._follows.cancel()
        if self._opening:
            self._opening.cancel()
        if self._control:
            self._control.close()
        await settled(SETTLING)
        await self.worker.stop()

    async def _open(self) -> None:
        """Ready once Envoy listens."""
        own = [] if self.inside else listeners(self.loaded.resolved, self.index)
        for listener in own:
            while not await accepts(where(listener)):  # noqa: ASYNC110 - Envoy tells of it in no other way
                await asyncio.sleep(POLL)
        self.worker.serves()
        self._follows = asyncio.create_task(self._follower.run())
        self.application.standing.notify()
        if self.tied:
            self.tied.ready()
        log.info("serving", gateway=self.loaded.resolved.gateway, listen=[listener.address for listener in own])

    async def _told(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The parent wants an end: let what is open end before it comes. Or somebody wants the configuration read. Whatever is
        said else changes nothing: a word that was misspelt ends no gateway.
        """
        with suppress(ConnectionError, ValueError):  # ValueError: a line without an end
            said = (await reader.readline()).strip()
            if said == RELOAD.strip():  # where there is a parent, it reads for all its workers
                self._read_now()
            elif said == DRAIN.strip():
                await self._drain()
                writer.write(DRAINED)
                await writer.drain()
        writer.close()

    def _read_now(self) -> None:
        if isinstance(self._follower, Follower):
            self._follower.changes.asked.set()

    async def _drain(self) -> None:
        seconds = self.worker.resolved.settings.drain_seconds
        log.info("draining", seconds=seconds)
        self.worker.ready = False
        self.application.drain()
        await asyncio.sleep(seconds)
        await self.application.close(GRACE)
        await settled(SETTLING)


class Hosted:
    """The ASGI application: nothing until it is started, then the process of this configuration."""

    def __init__(self) -> None:
        self._process: Process | None = None

    async def __call__(self, scope: Event, receive: Receive, send: Send) -> None:
        """One call, or the life of the application."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http" and self._process:
            await self._process.application(scope, receive, send)
        else:
            raise RuntimeError(f"a scope that is not served: {scope['type']}")

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        process = self._process = await _started(os.environ)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await process.stop()
        await send({"type": "lifespan.shutdown.complete"})


async def _started(environ: Mapping[str, str]) -> Process:
    """The process of this environment. A configuration that is refused ends it, Envoy included: this is code 2 to whoever keeps
    it, and starting it again would not help.
    """
    sys.path[:] = [path for path in sys.path if os.path.isabs(path)]  # noqa: PTH117 - the module puts `.` first
    _take_a_timeout(asyncio.get_running_loop())
    configure_logging()
    try:
        process = _process(environ)
        await process.start()
    except (Refused, ConfigError) as error:
        for each in error.errors if isinstance(error, Refused) else (error,):
            sys.stderr.write(f"error: {each}\n")
        sys.stderr.flush()
        os._exit(REFUSED)
    return process


def _take_a_timeout(loop: asyncio.AbstractEventLoop) -> None:
    """The module hands `shutdown_default_executor` the timeout that it has since Python 3.12, and panics where it has none."""
    if sys.version_info >= (3, 12):
        return
    shutdown = loop.shutdown_default_executor

    async def within(timeout: float | None = None) -> None:  # noqa: ARG001, ASYNC109 - the signature of Python 3.12
        await shutdown()

    loop.shutdown_default_executor = within  # type: ignore[method-assign]


def _process(environ: Mapping[str, str]) -> Process:
    """Raises: Refused, ConfigError."""
    if CONFIG not in environ:
        raise ConfigError(f"{CONFIG} names no configuration: set it to the path of one, in the environment of Envoy")
    inside = bool(environ.get(INPROCESS))
    workers = 1 if inside else int(environ.get(WORKERS, "1"))
    loaded = Source(Path(environ[CONFIG]), admin=environ.get(ADMIN), workers=workers).start()
    if not inside:
        os.umask(0o777 & ~SOCKET_MODE)  # Envoy's sockets are never open to more, not even for a moment
    control = environ.get(CONTROL)
    return Process(loaded, int(environ.get(WORKER, "0")), Path(control) if control else None, inside, tether())


app: Final = Hosted()
