"""One process that serves: the engine behind its listeners, and its admin port; until it is told to end."""

import asyncio
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from prometheus_client import CollectorRegistry

from extproc.admin import Admin, Health
from extproc.compose import CATALOG, engine, listeners
from extproc.policy.describe import catalog, status
from extproc.policy.resolved import Resolved
from extproc.telemetry import Metrics, Telemetry
from extproc.telemetry.exposition import expose
from extproc.watch import Watch
from extproc.wire.grpcio import Server
from extproc.workers import shared_key

log = structlog.get_logger("extproc.serve")

INTERRUPTED: Final = 130
"""Exit code after SIGINT, as shells have it."""


@dataclass(slots=True)
class Process:
    """A worker: worker `index` of those that the configuration asks for. `admin` is where its admin port listens."""

    resolved: Resolved
    index: int
    admin: str
    _ready: bool = False
    _started: bool = False
    _told: dict[signal.Signals, asyncio.Event] = field(init=False)
    _watch: Watch = field(init=False)

    async def run(self, on_ready: Callable[[], None]) -> int:
        """Serve until SIGTERM (drain, then 0) or SIGINT (at once, 130).

        Raises:
            ConfigError: a listener cannot be had.
        """
        registry = CollectorRegistry()
        metrics = Metrics(registry)
        shared = engine(self.resolved, Telemetry(metrics).tell, shared_key())
        outside = self.resolved.outside
        dependencies = outside.dependencies if outside else {}
        self._watch = Watch(dependencies, self.resolved.required, metrics.dependency)
        needs = self.resolved.needs
        server = Server(
            lambda: shared, listeners(self.resolved, self.index), 2 * needs.max_body_bytes, lambda: self._ready
        )
        admin = Admin(
            self.admin,
            health=self._health,
            metrics=lambda: expose(registry),
            status=self._status,
            catalog=lambda: catalog(CATALOG),
        )
        loop = asyncio.get_running_loop()
        self._told = {number: asyncio.Event() for number in (signal.SIGTERM, signal.SIGINT)}
        for number, told in self._told.items():
            loop.add_signal_handler(number, told.set)
        await server.start()
        watching = asyncio.ensure_future(self._watch.run())
        try:
            await admin.start()
            self._ready = self._started = True
            on_ready()
            log.info(
                "serving",
                gateway=self.resolved.gateway,
                listen=[each.address for each in listeners(self.resolved, self.index)],
            )
            return await self._until_asked(server)
        finally:
            watching.cancel()
            await server.stop()
            await admin.stop()
            if outside is not None:
                await outside.close()

    async def _until_asked(self, server: Server) -> int:
        """A second SIGTERM changes nothing: only SIGINT cuts a drain short."""
        ending = asyncio.ensure_future(self._told[signal.SIGTERM].wait())
        interrupted = asyncio.ensure_future(self._told[signal.SIGINT].wait())
        await asyncio.wait((ending, interrupted), return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        self._ready = False
        draining = asyncio.ensure_future(self._drain(server))
        await asyncio.wait((draining, interrupted), return_when=asyncio.FIRST_COMPLETED)
        if interrupted.done():
            draining.cancel()
            return INTERRUPTED
        interrupted.cancel()
        draining.result()
        return 0

    async def _drain(self, server: Server) -> None:
        seconds = self.resolved.settings.drain_seconds
        log.info("draining", seconds=seconds)
        await server.drain(seconds)

    def _health(self) -> Health:
        """Envoy is told by gRPC whether this process serves at all; here it is also told whether all of it can."""
        problems = self._watch.problems()
        return Health(live=True, ready=self._ready and not problems, started=self._started, problems=problems)

    def _status(self) -> Mapping[str, Any]:
        return {"ready": self._health().ready, "dependencies": self._watch.status(), **status(self.resolved)}
