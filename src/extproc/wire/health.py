"""grpc.health.v1: who should be asked. Envoy and Kubernetes ask `Check`; `Watch` tells of changes until the server stops."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from extproc.wire.codec import SERVICE

SERVING: Final = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN: Final = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN

LIVENESS: Final = "liveness"
NAMES: Final = frozenset({"", LIVENESS, "readiness", SERVICE})
"""DESIGN section 10. Liveness is whether the process answers; all else is whether it should be given work."""


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # grpc_health has no types
    """The state of one server. `ready` is asked at each Check; draining is for good."""

    def __init__(self, ready: Callable[[], bool]) -> None:
        self._ready = ready
        self._draining = False
        self._stopped = False
        self._changed = asyncio.Event()

    def status(self, name: str) -> int:
        """SERVING or NOT_SERVING, and SERVICE_UNKNOWN for a name that is none of ours."""
        if name not in NAMES:
            return int(UNKNOWN)
        serving = name == LIVENESS or (self._ready() and not self._draining)
        return int(SERVING if serving else NOT_SERVING)

    def drain(self) -> None:
        """From now on nobody should send new work here."""
        self._draining = True
        self.notify()

    def stop(self) -> None:
        """End the streams of those who watch: they would keep the server from ending."""
        self._stopped = True
        self.notify()

    def notify(self) -> None:
        """Tell those who watch that something may have changed."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 - the name of the method in grpc.health.v1
        """The state of one name. An unknown name is NOT_FOUND, as grpc.health.v1 wants it."""
        status = self.status(request.service)
        if status == UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return health_pb2.HealthCheckResponse(status=status)

    async def Watch(self, request: Any, context: Any) -> None:  # noqa: N802
        """The state of one name, now and after each change."""
        told = None
        while not self._stopped:
            changed, status = self._changed, self.status(request.service)
            if status != told:
                await context.write(health_pb2.HealthCheckResponse(status=status))
                told = status
            await changed.wait()
        await context.abort(grpc.StatusCode.UNAVAILABLE, "the server stops")
