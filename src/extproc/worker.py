"""What a process that serves has beside its transport: the engines, the state of the dependencies, and the admin port."""

import asyncio
import gc
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import structlog
from prometheus_client import CollectorRegistry

from extproc.adapters.passport import SealedPassports
from extproc.admin import Admin, Health
from extproc.compose import CATALOG, engine, listeners
from extproc.core.admission import Admission
from extproc.core.engine import Engine
from extproc.lookups import apart
from extproc.policy.describe import catalog, status
from extproc.policy.resolved import Resolved
from extproc.ports import Dependency
from extproc.reload.condition import Condition, Series
from extproc.reload.generations import Generation, Generations
from extproc.reload.source import Loaded
from extproc.telemetry import Metrics, Telemetry, connect
from extproc.telemetry.certificates import Certificates
from extproc.telemetry.exposition import expose
from extproc.tether import KEY_BYTES, shared_key
from extproc.watch import Watch

log = structlog.get_logger("extproc.reload")

SWEEP: float = 1.0
"""Seconds between two looks at configurations that are no longer in force."""


@dataclass(slots=True)
class Worker:
    """The parts of one process. `admin` is where its admin port listens; `streams` tells how many are open; `ready` says that
    it takes exchanges now.
    """

    first: Loaded
    admin: str
    streams: Callable[[], int]
    ready: bool = False
    condition: Condition = field(init=False)
    _generations: Generations = field(init=False)
    _telemetry: Telemetry = field(init=False)
    _passports: SealedPassports = field(init=False)
    _admission: Admission = field(init=False, default_factory=Admission)
    _started: bool = False
    _watch: Watch = field(init=False)
    _certificates: Certificates = field(init=False)
    _admin: Admin = field(init=False)
    _tasks: list[asyncio.Task[None]] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        """Raises: ConfigError, if `admin` is no address, or telemetry is wanted that cannot be had."""
        registry = CollectorRegistry()
        metrics = Metrics(registry)
        gateway = self.first.resolved.gateway
        self._telemetry = Telemetry(metrics, connect(os.environ, registry, gateway))
        self._passports = SealedPassports(gateway, shared_key() or os.urandom(KEY_BYTES))
        self._generations = Generations(self._generation(self.first), time.monotonic)
        self.condition = Condition(self.first, Series(registry))
        self.condition.series.generations.set_function(lambda: len(self._generations))
        self._watch = Watch(_dependencies(self.resolved), self.resolved.required, metrics.dependency)
        self._certificates = _certificates(self.resolved)
        registry.register(self._certificates)
        self._counted()
        metrics.standing(lambda: self._health().ready, self.streams)
        self._admin = Admin(
            self.admin,
            health=self._health,
            metrics=lambda: expose(registry),
            status=self._status,
            catalog=lambda: catalog(CATALOG),
        )

    @property
    def engine(self) -> Engine:
        """That of exchanges that begin now."""
        return self._generations.current.engine

    @property
    def loaded(self) -> Loaded:
        """The configuration in force."""
        return self._generations.current.loaded

    @property
    def resolved(self) -> Resolved:
        return self._generations.current.loaded.resolved

    @property
    def largest(self) -> int:
        """Bytes of the largest body in one message. Envoy's buffer holds one that grew to twice its size; of a body that is
        streamed all of that may come as one piece, with what was read once more before Envoy stopped reading.
        """
        return 4 * self.first.source.room

    async def start(self) -> None:
        """Raises: ConfigError, if the admin port cannot be had."""
        apart(asyncio.get_running_loop())
        await self._admin.start()
        self._telemetry.start()
        self._tasks = [asyncio.create_task(self._watch.run()), asyncio.create_task(self._sweep())]

    def serves(self) -> None:
        """From now on it takes exchanges. What is there by now stays: were it looked through in each full collection, the loop
        would stand still for 60 ms every few hundred exchanges. What later configurations make is not frozen: they go again.
        """
        gc.collect()
        gc.freeze()
        self.ready = self._started = True

    async def prepare(self, loaded: Loaded) -> None:
        """Make `loaded` ready to be the next: exchanges that began with it elsewhere may come, and what it reaches is asked.
        If that fails, there is none.
        """
        await self._generations.drop()
        try:
            self._generations.next = self._generation(loaded)
            await self._watch.meet(_dependencies(loaded.resolved))
        except Exception:
            self._generations.next = None
            await loaded.lease.end()
            raise

    def commit(self) -> None:
        """Exchanges that begin from now on are of the next configuration."""
        self._generations.commit()
        self.condition.accepted(self.loaded)
        self._watch.follow(_dependencies(self.resolved), self.resolved.required)
        try:
            self._counted()
        except Exception:  # a filter of somebody else's that cannot say what it remembers: it is in force all the same
            log.exception("caches_unknown")

    async def drop(self) -> None:
        """The next configuration is not wanted any more."""
        await self._generations.drop()

    async def stop(self) -> None:
        """Close everything but the transport."""
        gc.unfreeze()
        for task in self._tasks:
            task.cancel()
        await self._admin.stop()
        await self._generations.close()
        await self._telemetry.stop()

    def _generation(self, loaded: Loaded) -> Generation:
        """Its engine shares with all others what counts exchanges, and what seals the passports of their tries."""
        made = engine(loaded.resolved, self._telemetry.tell)
        return Generation(
            loaded,
            replace(
                made,
                admission=self._admission,
                passports=self._passports,
                traces=self._telemetry.traces,
                generation=loaded.name,
                others=lambda name: self._generations.find(name),
            ),
        )

    def _counted(self) -> None:
        caching = (self.resolved.outside, *(one.link.filter for one in self.resolved.extensions))
        self._telemetry.metrics.follow(_dependencies(self.resolved), caching)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            try:
                await self._generations.sweep()
            except Exception:  # what cannot be closed is left behind, and the others are closed all the same
                log.exception("sweep_failed")

    def _health(self) -> Health:
        """Envoy is told by gRPC whether this process serves at all; here it is also told whether all of it can."""
        problems = self._watch.problems()
        ready = self.ready and not problems
        return Health(ready, self._started, problems, self.condition.notes())

    def _status(self) -> Mapping[str, Any]:
        own = {"ready": self._health().ready, "streams": self.streams(), "dependencies": self._watch.status()}
        configuration = {**self.condition.status(), "inUse": len(self._generations)}
        certificates = self._certificates.status()
        return {**own, "configuration": configuration, "certificates": certificates, **status(self.resolved)}


def _dependencies(resolved: Resolved) -> Mapping[str, Dependency]:
    return resolved.outside.dependencies if resolved.outside else {}


def _certificates(resolved: Resolved) -> Certificates:
    """Of all listeners, which a process has for life."""
    return Certificates({listener.address: listener.tls.cert for listener in listeners(resolved) if listener.tls})
