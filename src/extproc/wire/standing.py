"""Whether a server should be given work, in the words of grpc.health.v1; and who waits to hear of a change."""

import asyncio
from collections.abc import Callable
from typing import Final

from extproc.wire.codec import SERVICE
from extproc.wire.pb import health_pb2

SERVING: Final = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN: Final = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN

LIVENESS: Final = "liveness"
NAMES: Final = frozenset({"", LIVENESS, "readiness", SERVICE})
"""DESIGN section 10. Liveness is whether the process answers; all else is whether it should be given work."""


class Standing:
    """The state of one server. `ready` is asked each time; draining is for good."""

    def __init__(self, ready: Callable[[], bool]) -> None:
        self._ready = ready
        self._draining = False
        self.stopped = False
        self.changed = asyncio.Event()

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
        self.stopped = True
        self.notify()

    def notify(self) -> None:
        """Tell those who wait for `changed` that something may have."""
        self.changed.set()
        self.changed = asyncio.Event()
