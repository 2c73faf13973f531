"""`python -m bench.constant SOCKET`: a server on grpc.aio that answers each message with a constant and reads none of it.

What grpc.aio itself costs. The answer to a request's headers says, as ours does, that no response is wanted.
"""

import asyncio
import signal
import sys
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from extproc.wire.codec import SERVICE
from extproc.wire.pb.external_processor_pb2 import BodyResponse, HeadersResponse, ProcessingResponse
from extproc.wire.pb.processing_mode_pb2 import ProcessingMode

HEADERS = ProcessingResponse(
    request_headers=HeadersResponse(),
    mode_override=ProcessingMode(
        request_header_mode=ProcessingMode.SEND,
        response_header_mode=ProcessingMode.SKIP,
        request_trailer_mode=ProcessingMode.SKIP,
        response_trailer_mode=ProcessingMode.SKIP,
    ),
).SerializeToString()
BODY = ProcessingResponse(request_body=BodyResponse()).SerializeToString()


async def process(_requests: object, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
    """The first message is the headers, a second one the body."""
    answer = HEADERS
    while isinstance(await context.read(), bytes):
        await context.write(answer)
        answer = BODY


async def serve(path: str) -> None:
    """Until SIGTERM."""
    server = grpc.aio.server()
    handler: Any = grpc.stream_stream_rpc_method_handler(process)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Process": handler}),))
    told = health.aio.HealthServicer()
    await told.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(told, server)
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    await server.stop(None)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
