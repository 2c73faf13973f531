"""What operators read: metrics and log lines, both of names and words and never of content.

telemetry = Telemetry(Metrics(registry), connect(os.environ, registry, gateway))
engine = Engine(..., tell=telemetry.tell, traces=telemetry.traces)
"""

import asyncio
from dataclasses import dataclass

from extproc.core.event import Record
from extproc.telemetry.log import configure_logging, log_exchange
from extproc.telemetry.metrics import Metrics
from extproc.telemetry.otel import Otel, connect
from extproc.telemetry.sink import standard_error

__all__ = ["Metrics", "Otel", "Telemetry", "configure_logging", "connect", "log_exchange"]


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Where the records of all exchanges of a process go."""

    metrics: Metrics
    otel: Otel | None = None

    @property
    def traces(self) -> bool:
        """Whether records are to say what a trace needs."""
        return self.otel is not None and self.otel.traces

    def start(self) -> None:
        """Begin to export, where that is wanted."""
        if self.otel:
            self.otel.start()

    async def stop(self) -> None:
        """Export what is left, and write what is to be logged, if that can be done in a moment."""
        if self.otel:
            await self.otel.stop()
        await asyncio.to_thread(standard_error().flush)  # inside Envoy nothing is done at the end of Python

    def tell(self, record: Record) -> None:
        """Count an exchange that has ended, and log it if it was denied, failed, or went on without an extension."""
        self.metrics.count(record)
        log_exchange(record)
        if self.otel:
            self.otel.tell(record)
