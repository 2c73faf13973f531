"""grpc.health.v1 on grpc.aio. Envoy and Kubernetes ask `Check`; `Watch` tells of changes until the server stops."""

from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from extproc.wire.standing import UNKNOWN, Standing


class Health(Standing, health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # grpc_health has no types
    """The state of one server, for whoever asks."""

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 - the name of the method in grpc.health.v1
        """The state of one name. An unknown name is NOT_FOUND, as grpc.health.v1 wants it."""
        status = self.status(request.service)
        if status == UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return health_pb2.HealthCheckResponse(status=status)

    async def Watch(self, request: Any, context: Any) -> None:  # noqa: N802
        """The state of one name, now and after each change."""
        told = None
        while not self.stopped:
            changed, status = self.changed, self.status(request.service)
            if status != told:
                await context.write(health_pb2.HealthCheckResponse(status=status))
                told = status
            await changed.wait()
        await context.abort(grpc.StatusCode.UNAVAILABLE, "the server stops")
