"""ext_proc's one method for grpcio, which the tests and the bench use as a client and the product does not."""

from typing import Any

import grpc

from extproc.wire.codec import SERVICE
from extproc.wire.pb.external_processor_pb2 import ProcessingRequest, ProcessingResponse


def process(channel: Any) -> Any:
    """The method at `channel`, of grpc or of grpc.aio."""
    return channel.stream_stream(
        f"/{SERVICE}/Process",
        request_serializer=ProcessingRequest.SerializeToString,
        response_deserializer=ProcessingResponse.FromString,
    )


def serve(server: grpc.Server, answer: Any) -> None:
    """Let `server` answer the method by `answer`, which gets the requests and a context."""
    handler = grpc.stream_stream_rpc_method_handler(
        answer,
        request_deserializer=ProcessingRequest.FromString,
        response_serializer=ProcessingResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Process": handler}),))
