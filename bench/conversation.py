"""What Envoy says to a server about one request, as ghz takes it: protobuf's JSON."""

import json

from google.protobuf import json_format

from extproc.wire.pb.external_processor_pb2 import ProcessingRequest
from extproc.wire.pb.processing_mode_pb2 import ProcessingMode

FIELDS = {
    ":method": "POST",
    ":scheme": "http",
    ":authority": "localhost",
    ":path": "/v1/chat/completions",
    "authorization": "Bearer bench-token",
    "content-type": "application/json",
    "user-agent": "bench",
    "accept": "application/json",
    "x-request-id": "6b1e4f3c-5b0e-4d8c-9a57-0f6a3a6a0b6e",
}
HEADERS = 20
"""Fields of a request."""

ATTRIBUTES = {"xds.cluster_name": "egress/upstream", "xds.route_name": "Backend/egress/upstream"}


def conversation(body: bytes, *, buffered: bool) -> str:
    """The headers of a request and its body. `buffered`: Envoy is set up to send the body."""
    return json.dumps([_told(headers(len(body), buffered=buffered)), _told(_body(body))])


def headers(length: int, *, buffered: bool) -> ProcessingRequest:
    """The first message of a request with a body of `length` bytes."""
    message = ProcessingRequest()
    more = {f"x-header-{number}": f"value-{number}" * 4 for number in range(HEADERS - len(FIELDS) - 1)}
    for name, value in {**FIELDS, "content-length": str(length), **more}.items():
        message.request_headers.headers.headers.add(key=name, raw_value=value.encode())
    for name, value in ATTRIBUTES.items():
        message.attributes["envoy.filters.http.ext_proc"].fields[name].string_value = value
    config = message.protocol_config
    config.request_body_mode = ProcessingMode.BUFFERED if buffered else ProcessingMode.NONE
    return message


def _body(data: bytes) -> ProcessingRequest:
    message = ProcessingRequest()
    message.request_body.body, message.request_body.end_of_stream = data, True
    return message


def messages(told: str) -> list[ProcessingRequest]:
    """The messages of a conversation."""
    return [json_format.ParseDict(each, ProcessingRequest()) for each in json.loads(told)]


def _told(message: ProcessingRequest) -> object:
    return json_format.MessageToDict(message, preserving_proto_field_name=True)
