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
from extproc.wire.grpcio import Server

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
    _asked: "asyncio.Future[signal.Signals]" = field(init=False)

    async def run(self, on_ready: Callable[[], None]) -> int:
        """Serve until SIGTERM (drain, then 0) or SIGINT (at once, 130).

        Raises:
            ConfigError: a listener cannot be had.
        """
        registry = CollectorRegistry()
        shared = engine(self.resolved, Telemetry(Metrics(registry)).tell)
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
        self._asked = loop.create_future()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ask, number)
        await server.start()
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
            await server.stop()
            await admin.stop()

    async def _until_asked(self, server: Server) -> int:
        if await self._asked is signal.SIGINT:
            return INTERRUPTED
        self._ready = False
        self._asked = asyncio.get_running_loop().create_future()
        log.info("draining", seconds=self.resolved.settings.drain_seconds)
        draining = asyncio.ensure_future(server.drain(self.resolved.settings.drain_seconds))
        await asyncio.wait((draining, self._asked), return_when=asyncio.FIRST_COMPLETED)
        if not draining.done():
            draining.cancel()
            return INTERRUPTED
        draining.result()
        return 0

    def _ask(self, number: signal.Signals) -> None:
        if not self._asked.done():
            self._asked.set_result(number)

    def _health(self) -> Health:
        return Health(live=True, ready=self._ready, started=self._started)

    def _status(self) -> Mapping[str, Any]:
        return {"ready": self._ready, **status(self.resolved)}
