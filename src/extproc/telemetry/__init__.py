"""What operators read: metrics and log lines, both of names and words and never of content.

telemetry = Telemetry(Metrics(registry))
engine = Engine(..., tell=telemetry.tell)
"""

from dataclasses import dataclass

from extproc.core.event import Record
from extproc.telemetry.log import configure_logging, log_exchange
from extproc.telemetry.metrics import Metrics

__all__ = ["Metrics", "Telemetry", "configure_logging", "log_exchange"]


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Where the records of all exchanges of a process go."""

    metrics: Metrics

    def tell(self, record: Record) -> None:
        """Count an exchange that has ended, and log it if it was denied, failed, or went on without an extension."""
        self.metrics.count(record)
        log_exchange(record)
