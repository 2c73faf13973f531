"""An OTLP receiver: HTTP with protobuf, as OpenTelemetry's own messages describe it."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.e2e.processes import wait_until

MESSAGES = {"/v1/traces": ExportTraceServiceRequest, "/v1/metrics": ExportMetricsServiceRequest}


class Receiver(ThreadingHTTPServer):
    """What came is in `traces` and `metrics`. It answers with `status` and `body`, and not before `answers` is set."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.came: dict[str, list[Any]] = {path: [] for path in MESSAGES}
        self.raw = b""
        self.body: Callable[[], Iterable[bytes]] = tuple
        self.status, self.answers = 200, threading.Event()
        self.answers.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def environ(self) -> dict[str, str]:
        """What makes a process export to it, soon."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.url,
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            "OTEL_METRIC_EXPORT_INTERVAL": "100",
        }

    @property
    def resources(self) -> list[dict[str, str]]:
        return [values(part.resource.attributes) for each in self.came["/v1/traces"] for part in each.resource_spans]

    @property
    def spans(self) -> list[Span]:
        scopes = [
            scope for each in self.came["/v1/traces"] for part in each.resource_spans for scope in part.scope_spans
        ]
        return [span for scope in scopes for span in scope.spans]

    @property
    def metrics(self) -> dict[str, Metric]:
        """Of the last export."""
        (part,) = self.came["/v1/metrics"][-1].resource_metrics
        return {metric.name: metric for metric in part.scope_metrics[0].metrics}

    def wait_for(self, number: int) -> list[Span]:
        """So many spans."""
        wait_until(lambda: len(self.spans) >= number)
        return self.spans


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.answers.wait(30)
        self.server.raw += body
        if self.server.status == 200:
            self.server.came[self.path].append(MESSAGES[self.path].FromString(body))
        self.send_response(self.server.status)
        self.end_headers()
        with suppress(ConnectionError):
            for piece in self.server.body():
                self.wfile.write(piece)

    def log_message(self, *args: object) -> None:
        """Nothing of it is for the tests' output."""


@contextmanager
def receiving() -> Iterator[Receiver]:
    with Receiver() as receiver:
        thread = threading.Thread(target=receiver.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield receiver
        receiver.answers.set()
        receiver.shutdown()
        thread.join(10)


def values(attributes: Iterable[KeyValue]) -> dict[str, Any]:
    """Attributes as a dictionary."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}
