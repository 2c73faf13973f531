"""OpenTelemetry, for those who want it: traces and metrics by OTLP over HTTP, as the standard variables of the environment say.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

import asyncio
import importlib.util
import re
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry

from extproc import __version__
from extproc.core.event import Record
from extproc.errors import ConfigError

if TYPE_CHECKING:
    from extproc.telemetry.export import Readings, Traces

GRACE: Final = 0.8
"""Seconds at the end for what has not left yet. Ctrl-C ends a process after one."""

SWITCH: Final = 0.0005
"""Seconds that one thread may keep the interpreter while another waits for it (Python's own: 0.005): the event loop waits so
long, each time that it comes back from the kernel, while spans are made.
"""

ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
NUMBER: Final = re.compile(r"[1-9][0-9]{0,8}")
PROTOCOL: Final = "http/protobuf"
MISSING: Final = "is set, and OpenTelemetry is not installed: pip install 'extproc[otel]', or unset it"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the environment asks for. `delay` and `interval` are seconds, between two exports of traces and of metrics."""

    traces: bool
    metrics: bool
    delay: float
    interval: float
    most: int
    batch: int


class Otel:
    """What exports, while it runs."""

    def __init__(self, traces: "Traces | None", metrics: "Readings | None") -> None:
        self._traces = traces
        self._parts: Sequence[Traces | Readings] = [part for part in (traces, metrics) if part]

    @property
    def traces(self) -> bool:
        """Whether records are wanted."""
        return self._traces is not None

    def tell(self, record: Record) -> None:
        """An exchange, or a try of one, has ended."""
        if self._traces:
            self._traces.tell(record)

    def start(self) -> None:
        sys.setswitchinterval(SWITCH)
        for part in self._parts:
            part.background.start()

    async def stop(self) -> None:
        """Send what is left, if it can be sent within GRACE."""
        until = time.monotonic() + GRACE
        for part in self._parts:
            part.background.end()
        await asyncio.gather(*(asyncio.to_thread(part.background.wait, until) for part in self._parts))
        for part in self._parts:
            part.exporter.shutdown()


def connect(environ: Mapping[str, str], registry: CollectorRegistry, gateway: str) -> Otel | None:
    """What exports the numbers on `registry` and the records that it is told; None where nobody asked for it. The exporters
    read addresses, headers and certificates from the environment by themselves.

    Raises: ConfigError.
    """
    asked = wanted(environ)
    if asked is None:
        return None
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource

    from extproc.telemetry.export import Deaf, Exports, Readings, Traces

    ours = {
        "service.name": "extproc",
        "service.version": __version__,
        "service.instance.id": str(uuid.uuid4()),
        "extproc.gateway": gateway,
    }
    resource = Resource.create({}).merge(Resource(ours)).merge(OTELResourceDetector().detect())
    exports = Exports(registry)
    traces = metrics = None
    try:
        if asked.traces:
            exporter = OTLPSpanExporter(session=Deaf())
            traces = Traces(exporter, resource, exports, asked.most, asked.batch, asked.delay)
        if asked.metrics:
            metrics = Readings(OTLPMetricExporter(session=Deaf()), resource, exports, registry, asked.interval)
    except ValueError as error:
        raise ConfigError(f"OpenTelemetry: {error}") from None
    return Otel(traces, metrics)


def wanted(environ: Mapping[str, str]) -> Wanted | None:
    """What is to be exported; None if nothing is.

    Raises:
        ConfigError: a variable says what cannot be had here, or the packages are not installed.
    """
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    traces, metrics = _signal(environ, "TRACES"), _signal(environ, "METRICS")
    if not traces and not metrics:
        return None
    if not _installed():
        raise ConfigError(f"{traces or metrics} {MISSING}")
    return Wanted(
        bool(traces),
        bool(metrics),
        delay=_number(environ, "OTEL_BSP_SCHEDULE_DELAY", 5000) / 1000,
        interval=_number(environ, "OTEL_METRIC_EXPORT_INTERVAL", 60000) / 1000,
        most=_number(environ, "OTEL_BSP_MAX_QUEUE_SIZE", 2048),
        batch=_number(environ, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512),
    )


def _signal(environ: Mapping[str, str], signal: str) -> str:
    """The variable that says where this signal goes, or nothing. Raises: ConfigError."""
    named = next((name for name in (f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT", ENDPOINT) if environ.get(name)), "")
    exporter = environ.get(f"OTEL_{signal}_EXPORTER") or "otlp"
    if not named or exporter == "none":
        return ""
    if exporter != "otlp":
        raise ConfigError(f"OTEL_{signal}_EXPORTER is neither otlp nor none, which are all that there is here")
    spoken = environ.get(f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL") or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if spoken and spoken != PROTOCOL:
        raise ConfigError(
            f"OTEL_EXPORTER_OTLP_PROTOCOL: only {PROTOCOL} is spoken here; say so, and name the endpoint for it (port 4318)"
        )
    if not _is_url(environ[named]):
        raise ConfigError(f"{named} is no URL: write it as http://collector:4318")  # not shown: it may hold a password
    return named


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    given = environ.get(name) or str(default)
    if not NUMBER.fullmatch(given):
        raise ConfigError(f"{name} is a whole number of at least 1, such as {default}")
    return int(given)


def _installed() -> bool:
    names = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
    try:
        return all(importlib.util.find_spec(name) for name in names)
    except ModuleNotFoundError:  # a package above it is not there
        return False
