"""Between ext_proc messages and the engine's values. The only module that knows protobuf, and the only one that opens a
Secret: while it writes an answer, and while it looks for secrets that must not come back.

The facts about Envoy 1.40 (PROTOCOL 2.2 to 2.6) that shape the answers: it reads `raw_value` alone; of `append` and
`append_action` it obeys `append` alone; what a mode override does not name is NONE to it.
"""

import re
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote

import orjson
from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct, Value

from extproc.core.event import BodyMode, Event, Modes, Outcome
from extproc.core.headers import FIELD_VALUE, HeaderChange, Headers
from extproc.core.phase import Direction, Part
from extproc.core.publish import SHARED
from extproc.core.secret import Secret, unseal, unseal_core
from extproc.core.state import check_headers
from extproc.core.verdict import Respond
from extproc.errors import ProtocolError
from extproc.wire.hide import hide
from extproc.wire.pb.base_pb2 import HeaderMap
from extproc.wire.pb.external_processor_pb2 import (
    CommonResponse,
    HeaderMutation,
    ImmediateResponse,
    ProcessingRequest,
    ProcessingResponse,
    TrailersResponse,
)
from extproc.wire.pb.processing_mode_pb2 import ProcessingMode

SERVICE: Final = "envoy.service.ext_proc.v3.ExternalProcessor"
ATTRIBUTES: Final = "envoy.filters.http.ext_proc"
"""The key of all attributes, whatever the filter is called (PROTOCOL 2.8)."""

NAMESPACE: Final = "extproc"
"""Where our dynamic metadata are."""

INTERNAL: Final = "extproc.internal"
TOKEN: Final = "token"  # noqa: S105 - the name of a field
"""Where the upstream pass finds the token of the downstream pass: metadata that no access log shows."""

KINDS: Final = {f"{direction}_{part}": (direction, part) for direction in Direction for part in Part}
NUMBERS: Final[dict[BodyMode, Any]] = {mode: ProcessingMode.BodySendMode.Value(mode.value) for mode in BodyMode}
MODES: Final = {number: mode for mode, number in NUMBERS.items()}

TARGET: Final = re.compile(rb"/[!\"$-~]*|\*")
"""A request target: Envoy would send an empty one, or one with spaces, as it is (PROTOCOL 2.3)."""

UNPRINTABLE: Final = re.compile(r"[^!#-\[\]-z|~]")
LONGEST: Final = 200
"""Characters of a reason in the details."""


def parse(data: bytes) -> Event:
    """The event that a serialized ProcessingRequest tells of. Raises: ProtocolError."""
    try:
        message = ProcessingRequest.FromString(data)
    except DecodeError:
        raise ProtocolError("a message that is no ProcessingRequest") from None
    return decode(message)


def serialize(outcome: Outcome) -> bytes:
    """A serialized ProcessingResponse. Raises: ProtocolError."""
    return encode(outcome).SerializeToString()


def decode(message: ProcessingRequest) -> Event:
    """The event that `message` tells of.

    Raises:
        ProtocolError: it is of no known kind; it asks for no answer; a body mode has a number without a name.
    """
    kind = message.WhichOneof("request")
    if kind is None:
        raise ProtocolError("a message of a kind that is not known here")
    if message.observability_mode:
        raise ProtocolError("observability_mode: no answer would count, so nothing could be enforced")
    direction, part = KINDS[kind]
    attributes = _attributes(message) if message.attributes else {}
    configured = _configured(message) if message.HasField("protocol_config") else None
    found = getattr(message, kind)
    if part is Part.HEADERS:
        fields = _fields(found.headers)
        return Event(direction, part, fields, b"", found.end_of_stream, attributes, configured, _passport(message))
    if part is Part.BODY:
        return Event(direction, part, Headers(), found.body, found.end_of_stream, attributes, configured)
    return Event(direction, part, _fields(found.trailers), b"", True, attributes, configured)


def encode(outcome: Outcome) -> ProcessingResponse:
    """The message that says `outcome` to Envoy.

    Raises:
        ProtocolError: Envoy has no way to be told this, or a secret would go where none may.
    """
    answer = ProcessingResponse()
    if outcome.metadata:
        answer.dynamic_metadata.CopyFrom(_metadata(orjson.dumps(outcome.metadata)))
    if outcome.respond is not None:
        _respond(answer.immediate_response, outcome.respond, outcome.request_id)
        return answer
    if outcome.passport:
        _internal(answer.dynamic_metadata, outcome.passport)
    if outcome.modes is not None:
        answer.mode_override.CopyFrom(_mode(outcome.modes))
    into = getattr(answer, f"{outcome.direction.value}_{outcome.part.value}")
    into.SetInParent()
    if outcome.part is Part.TRAILERS:
        if outcome.body is not None or outcome.path is not None or outcome.hidden_query:
            raise ProtocolError("an answer to trailers can change trailers alone")
        _mutate(into, outcome.change, outcome.direction)
        return answer
    _common(into.response, outcome)
    return answer


def mask(headers: Headers, secrets: tuple[Secret, ...]) -> Headers:
    """`headers` with `***` wherever a value has what one of `secrets` hides, as it is or percent-encoded."""
    cores = sorted({core for secret in secrets if (core := unseal_core(secret))}, key=len, reverse=True)
    everything = b"\n".join([value for _, value in headers if isinstance(value, bytes)]) if cores else b""
    if hide(everything, cores) is everything:
        return headers
    return Headers((name, hide(value, cores) if isinstance(value, bytes) else value) for name, value in headers)


def _fields(found: HeaderMap) -> Headers:
    """In the order in which they came, repeated or not. Envoy's names are in lower case; another client's may not be."""
    return Headers([(field.key.lower(), field.raw_value or field.value.encode()) for field in found.headers])


def _configured(message: ProcessingRequest) -> tuple[BodyMode, BodyMode]:
    config = message.protocol_config
    try:
        return MODES[config.request_body_mode], MODES[config.response_body_mode]
    except KeyError:
        raise ProtocolError("a body mode that is not known here") from None


def _attributes(message: ProcessingRequest) -> dict[str, str]:
    found = message.attributes.get(ATTRIBUTES)
    if found is None:
        return {}
    return {name: text for name, value in found.fields.items() if (text := _text(value)) is not None}


def _text(value: Value) -> str | None:
    """A string, a number or a bool as text (whole numbers without a point); None for what is neither."""
    if text := value.string_value:
        return text
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        number = value.number_value
        return str(int(number)) if number.is_integer() else str(number)
    if kind == "bool_value":
        return "true" if value.bool_value else "false"
    return "" if kind == "string_value" else None


@lru_cache(maxsize=1024)
def _metadata(document: bytes) -> Struct:
    """The struct of a JSON document. Exchanges of one kind have the same, and protobuf is slow to build one."""
    found = Struct()
    ours = orjson.loads(document)
    beside = ours.pop(SHARED, {})
    found.update({**beside, NAMESPACE: ours})
    return found


def _passport(message: ProcessingRequest) -> str:
    """The token among the metadata that Envoy forwards to the upstream filter; empty if there is none."""
    if not message.HasField("metadata_context"):
        return ""
    found = message.metadata_context.filter_metadata.get(INTERNAL)
    return found.fields[TOKEN].string_value if found is not None and TOKEN in found.fields else ""


def _internal(metadata: Struct, token: str) -> None:
    metadata.fields[INTERNAL].struct_value.fields[TOKEN].string_value = token


@lru_cache
def _mode(modes: Modes) -> ProcessingMode:
    """All six modes, always. Request trailers are received so that they can be removed."""
    return ProcessingMode(
        request_header_mode=ProcessingMode.SEND,
        response_header_mode=ProcessingMode.SEND if modes.response_headers else ProcessingMode.SKIP,
        request_body_mode=NUMBERS[modes.request_body],
        response_body_mode=NUMBERS[modes.response_body],
        request_trailer_mode=ProcessingMode.SEND,
        response_trailer_mode=ProcessingMode.SEND if modes.response_trailers else ProcessingMode.SKIP,
    )


def _common(common: CommonResponse, outcome: Outcome) -> None:
    _mutate(common, outcome.change, outcome.direction)
    if outcome.reroute:
        common.clear_route_cache = True
    if outcome.path is not None:
        _set(common.header_mutation, ":path", (_target(outcome.path, outcome.hidden_query),), Direction.REQUEST)
    elif outcome.hidden_query:
        raise ProtocolError("a hidden query without the path that it belongs to")
    if outcome.end is not None:
        if outcome.part is not Part.BODY:
            raise ProtocolError("a piece of a body, where there is none")
        common.body_mutation.streamed_response.body = outcome.body or b""
        common.body_mutation.streamed_response.end_of_stream = outcome.end
    elif outcome.body is not None:
        common.body_mutation.body = outcome.body
        if outcome.part is Part.HEADERS:
            common.status = CommonResponse.CONTINUE_AND_REPLACE


def _mutate(into: CommonResponse | TrailersResponse, change: HeaderChange, direction: Direction) -> None:
    """Envoy removes first, then sets, whatever the order here (PROTOCOL 2.3)."""
    if not change.remove and not change.set:
        return
    mutation = into.header_mutation
    mutation.remove_headers.extend(change.remove)
    for name, values in change.set:
        if values:
            _set(mutation, name, values, direction)
        else:
            mutation.remove_headers.append(name)


def _set(mutation: HeaderMutation, name: str, values: tuple[bytes | Secret, ...], direction: Direction) -> None:
    """The whole list of a header: its first value replaces what is there, each further one is added."""
    further = False
    for value in values:
        option = mutation.set_headers.add()
        header = option.header
        header.key = name
        header.raw_value = _opened(value, direction) if isinstance(value, Secret) else value
        if further:
            option.append.value = True
        further = True


def _opened(secret: Secret, direction: Direction) -> bytes:
    if direction is not Direction.REQUEST:
        raise ProtocolError("a credential would go to the client")
    value = unseal(secret)
    if not FIELD_VALUE.fullmatch(value):
        raise ProtocolError("a credential is no valid header value")
    return value


def _target(path: str, hidden: tuple[tuple[str, Secret], ...]) -> bytes:
    """The request target, with the hidden parameters at the end of its query, never at the end of the caller's last value: a
    question mark within a query is a letter like others (RFC 3986 section 3.4).
    """
    for name, secret in hidden:
        _, found, query = path.partition("?")
        mark = "?" if not found else "&" if query and not query.endswith("&") else ""
        path = f"{path}{mark}{quote(name, safe='')}={quote(unseal(secret), safe='')}"
    try:
        target = path.encode("ascii")
    except UnicodeEncodeError:
        target = b""
    if not TARGET.fullmatch(target):
        raise ProtocolError("a path that is no request target")
    return target


def _respond(immediate: ImmediateResponse, respond: Respond, request_id: str) -> None:
    """The whole answer to the client. Envoy writes a body after a 204 or 304 all the same (PROTOCOL 2.5), so none is given."""
    if not 200 <= respond.status <= 599:
        raise ProtocolError("a response needs a status from 200 to 599")
    immediate.status.code = respond.status  # type: ignore[assignment]  # an open enum: any number may stand here
    for name, values in check_headers(respond.headers):
        _set(immediate.headers, name, values, Direction.RESPONSE)
    if respond.status not in (204, 304):
        _set(immediate.headers, "content-type", (b"application/json",), Direction.RESPONSE)
        immediate.body = error_body(respond.code, respond.message, request_id)
    immediate.details = _details(respond)


def error_body(code: str, message: str, request_id: str) -> bytes:
    """The JSON of a denial (DESIGN section 6): the shape that clients of LLM APIs read."""
    error: dict[str, Any] = {"type": "egress_denied", "code": code, "message": message, "request_id": request_id}
    return orjson.dumps({"error": error})


def _details(respond: Respond) -> str:
    """What `%RESPONSE_CODE_DETAILS%` says. No quote, brace, control or other letter than ASCII can come from outside."""
    code, reason = (UNPRINTABLE.sub("_", text[:LONGEST]) for text in (respond.code, respond.reason))
    return f"extproc_{code}{{{reason}}}" if reason else f"extproc_{code}"
