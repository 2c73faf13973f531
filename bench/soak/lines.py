"""What is said to the server: messages as Envoy would send them, serialized once."""

import json
from collections.abc import Iterator
from functools import cache

from bench import chat
from bench.conversation import headers
from extproc.wire.codec import ATTRIBUTES, INTERNAL, TOKEN
from extproc.wire.pb.external_processor_pb2 import ProcessingRequest
from extproc.wire.pb.processing_mode_pb2 import ProcessingMode

HOST = "upstream.example"
ADDRESS = b"jane.doe@example.com"
PROMPT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": f"Write to {ADDRESS.decode()}, please."}]}
ASKED = json.dumps(PROMPT).encode()
ANSWERED = json.dumps(
    {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "To [EMAIL_ADDRESS_1]: hello."}}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
    }
).encode()
EVENTS = 12
LARGE = b'{"text": "%s"}' % (b"a" * 20_000)
"""A body beyond the detector's `maxBodyBytes`."""


def opening(*, body: bytes | None = None, host: str = HOST, **more: str) -> bytes:
    """The first message of a request to the Backend of `host`. `more` are fields (`_` for `-`), in the place of those of that
    name.
    """
    message = headers(len(body or b""), buffered=True)
    message.protocol_config.response_body_mode = ProcessingMode.BUFFERED
    message.request_headers.end_of_stream = body is None
    fields = {":authority": host, **{name.replace("_", "-"): value for name, value in more.items()}}
    found = message.request_headers.headers.headers
    kept = [field for field in found if field.key not in fields]
    del found[:]
    found.extend(kept)
    for name, value in fields.items():
        found.add(key=name, raw_value=value.encode())
    cluster = f"egress/{host.partition('.')[0]}"
    message.attributes[ATTRIBUTES].fields["xds.cluster_name"].string_value = cluster
    return message.SerializeToString()


def asked(body: bytes = ASKED) -> bytes:
    """The whole body of a request."""
    message = ProcessingRequest()
    message.request_body.body, message.request_body.end_of_stream = body, True
    return message.SerializeToString()


@cache
def answering(kind: str, *, details: str = "via_upstream") -> bytes:
    """The headers of an answer of this media type."""
    message = ProcessingRequest()
    for name, value in {":status": "200", "content-type": kind}.items():
        message.response_headers.headers.headers.add(key=name, raw_value=value.encode())
    message.attributes[ATTRIBUTES].fields["response.code_details"].string_value = details
    return message.SerializeToString()


def answered(body: bytes = ANSWERED, *, end: bool = True) -> bytes:
    """The body of an answer, or a piece of it."""
    message = ProcessingRequest()
    message.response_body.body, message.response_body.end_of_stream = body, end
    return message.SerializeToString()


def streamed() -> Iterator[bytes]:
    """A streamed chat's answer, an event in each message."""
    pieces = list(chat.answer(EVENTS))
    for number, piece in enumerate(pieces, start=1):
        yield answered(piece, end=number == len(pieces))


def attempt(token: str, host: str) -> bytes:
    """The first message of a try, with the token that the downstream pass gave."""
    message = ProcessingRequest.FromString(opening(host=host))
    message.protocol_config.request_body_mode = message.protocol_config.response_body_mode = ProcessingMode.NONE
    found = message.metadata_context.filter_metadata[INTERNAL]
    found.fields[TOKEN].string_value = token
    return message.SerializeToString()
