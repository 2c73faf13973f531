"""An ext_proc server that says what a test wants, to see what Envoy makes of it under the generated configuration."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import HealthServicer

from extproc.wire.pb import external_processor_pb2 as pb
from tests.calls import serve

Script = Callable[[pb.ProcessingRequest], pb.ProcessingResponse]


def go_on(request: pb.ProcessingRequest) -> pb.ProcessingResponse:
    """The empty answer of the right kind."""
    kind = request.WhichOneof("request")
    response = pb.ProcessingResponse()
    getattr(response, kind).SetInParent()
    return response


class Scripted:
    """Answers by `script`; remembers what it was told."""

    def __init__(self) -> None:
        self.script: Script = go_on
        self.requests: list[pb.ProcessingRequest] = []

    def Process(  # noqa: N802 - the service's name
        self, request_iterator: Iterator[pb.ProcessingRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.ProcessingResponse]:
        for request in request_iterator:
            self.requests.append(request)
            yield self.script(request)


@contextmanager
def serving(path: Path) -> Iterator[Scripted]:
    """A scripted server on the Unix socket `path`."""
    scripted = Scripted()
    server = grpc.server(ThreadPoolExecutor(32))  # a thread for each stream: eight exchanges of three
    serve(server, scripted.Process)
    health = HealthServicer()
    health.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    server.add_insecure_port(f"unix:{path}")
    server.start()
    try:
        yield scripted
    finally:
        server.stop(0).wait()
