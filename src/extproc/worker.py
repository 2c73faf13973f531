"""What a process that serves has beside its transport: the engine, the state of the dependencies, and the admin port."""

import asyncio
import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry

from extproc.admin import Admin, Health
from extproc.compose import CATALOG, engine
from extproc.core.engine import Engine
from extproc.policy.describe import catalog, status
from extproc.policy.resolved import Resolved
from extproc.telemetry import Metrics, Telemetry
from extproc.telemetry.exposition import expose
from extproc.watch import Watch
from extproc.workers import shared_key


@dataclass(slots=True)
class Worker:
    """The parts of one process. `admin` is where its admin port listens; `streams` tells how many are open; `ready` says that
    it takes exchanges now.
    """

    resolved: Resolved
    admin: str
    streams: Callable[[], int]
    ready: bool = False
    engine: Engine = field(init=False)
    _started: bool = False
    _watch: Watch = field(init=False)
    _admin: Admin = field(init=False)
    _watching: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        """Raises: ConfigError, if `admin` is no address."""
        registry = CollectorRegistry()
        metrics = Metrics(registry)
        self.engine = engine(self.resolved, Telemetry(metrics).tell, shared_key())
        outside = self.resolved.outside
        dependencies = outside.dependencies if outside else {}
        self._watch = Watch(dependencies, self.resolved.required, metrics.dependency)
        self._admin = Admin(
            self.admin,
            health=self._health,
            metrics=lambda: expose(registry),
            status=self._status,
            catalog=lambda: catalog(CATALOG),
        )

    @property
    def largest(self) -> int:
        """Bytes of the largest body in one message: one that grew to twice its size."""
        return 2 * self.resolved.needs.max_body_bytes

    async def start(self) -> None:
        """Raises: ConfigError, if the admin port cannot be had."""
        await self._admin.start()
        self._watching = asyncio.create_task(self._watch.run())

    def serves(self) -> None:
        """From now on it takes exchanges. What is there by now stays: were it looked through in each full collection, the loop
        would stand still for 60 ms every few hundred exchanges.
        """
        gc.collect()
        gc.freeze()
        self.ready = self._started = True

    async def stop(self) -> None:
        """Close everything but the transport."""
        gc.unfreeze()
        if self._watching:
            self._watching.cancel()
        await self._admin.stop()
        if outside := self.resolved.outside:
            await outside.close()

    def _health(self) -> Health:
        """Envoy is told by gRPC whether this process serves at all; here it is also told whether all of it can."""
        problems = self._watch.problems()
        return Health(live=True, ready=self.ready and not problems, started=self._started, problems=problems)

    def _status(self) -> Mapping[str, Any]:
        own = {"ready": self._health().ready, "streams": self.streams(), "dependencies": self._watch.status()}
        return {**own, **status(self.resolved)}
