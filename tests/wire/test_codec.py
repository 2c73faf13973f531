"""Messages to events, outcomes to messages: against messages made by hand, and against what Envoy does with the answer."""

import json
from contextlib import suppress

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from extproc.core.event import BodyMode, Event, Modes, Outcome
from extproc.core.headers import HeaderChange, Headers, Value, difference
from extproc.core.phase import Direction, Part
from extproc.core.secret import Secret, seal, wrap
from extproc.core.verdict import DENIALS, Respond, deny
from extproc.errors import ProtocolError
from extproc.wire import codec
from extproc.wire.pb.external_processor_pb2 import (
    CommonResponse,
    HeaderMutation,
    ProcessingRequest,
    ProcessingResponse,
)
from extproc.wire.pb.processing_mode_pb2 import ProcessingMode

REQUEST, RESPONSE = Direction.REQUEST, Direction.RESPONSE
CANARY = b"sk-canary-0123456789"


def request_headers(*fields: tuple[str, bytes], end: bool = False) -> ProcessingRequest:
    message = ProcessingRequest()
    message.request_headers.end_of_stream = end
    for name, value in fields:
        message.request_headers.headers.headers.add(key=name, raw_value=value)
    return message


def as_envoy(mutation: HeaderMutation, headers: Headers) -> Headers:
    """What Envoy 1.40 makes of a mutation (PROTOCOL 2.3): removals, then each setting in turn; `append` decides."""
    fields = [field for field in headers if field[0] not in mutation.remove_headers]
    for option in mutation.set_headers:
        assert not option.header.value, "Envoy would read raw_value and find nothing"
        if not option.append.value:
            fields = [field for field in fields if field[0] != option.header.key]
        fields.append((option.header.key, option.header.raw_value))
    return Headers(fields)


def grouped(headers: Headers) -> dict[str, tuple[Value, ...]]:
    """Headers but for the order of different names, which has no meaning."""
    return {name: headers.values(name) for name in headers.names()}


# --- the token of the upstream pass -----------------------------------------------------------------------------------


def test_the_token_is_read_from_the_metadata_that_envoy_forwards() -> None:
    message = request_headers((":path", b"/"), ("x-extproc-token", b"forged"))
    assert codec.decode(message).passport == ""
    message.metadata_context.filter_metadata["extproc"].update({"token": "wrong place"})
    assert codec.decode(message).passport == ""
    message.metadata_context.filter_metadata["extproc.internal"].update({"other": "wrong name"})
    assert codec.decode(message).passport == ""
    message.metadata_context.filter_metadata["extproc.internal"].update({"token": "right"})
    assert codec.decode(message).passport == "right"


@pytest.mark.parametrize("value", [None, 1, True, {"token": "x"}, ["x"]])
def test_what_is_no_text_is_no_token(value: object) -> None:
    message = request_headers((":path", b"/"))
    message.metadata_context.filter_metadata["extproc.internal"].update({"token": value})
    assert codec.decode(message).passport == ""


def test_attributes_and_typed_metadata_are_no_place_for_a_token() -> None:
    message = request_headers((":path", b"/"))
    message.attributes["extproc.internal"].update({"token": "wrong place"})
    message.metadata_context.typed_filter_metadata["extproc.internal"].value = b"wrong place"
    assert codec.decode(message).passport == ""


def test_the_token_leaves_in_a_namespace_of_its_own() -> None:
    told = {"route": "egress/chat"}
    for passport in (
        "first",
        "second",
        "",
    ):  # the struct of the other metadata is remembered: nothing of one gets into another
        answer = codec.encode(Outcome(REQUEST, Part.HEADERS, metadata=told, passport=passport))
        found = json_format.MessageToDict(answer.dynamic_metadata)
        expected = {"extproc.internal": {"token": passport}} if passport else {}
        assert found == {"extproc": told, **expected}
    assert not codec.encode(Outcome(REQUEST, Part.HEADERS)).HasField("dynamic_metadata")


def test_a_denial_takes_no_token_along() -> None:
    outcome = Outcome(REQUEST, Part.HEADERS, respond=deny("forbidden"), passport="token")
    assert b"token" not in codec.encode(outcome).SerializeToString()


# --- decode -----------------------------------------------------------------------------------------------------------


def test_header_fields_come_as_they_are() -> None:
    fields = [(":path", b"/"), ("x-dup", b"1"), ("x-raw", b"caf\xe9 \xff\xfe"), ("x-dup", b"2"), ("x-empty", b"")]
    event = codec.decode(request_headers(*fields, end=True))
    assert (event.direction, event.part, event.end, event.body) == (REQUEST, Part.HEADERS, True, b"")
    assert list(event.fields) == fields
    assert event.configured is None


def test_a_field_with_only_a_value_and_one_in_upper_case() -> None:
    message = ProcessingRequest()
    message.response_headers.headers.headers.add(key="X-Text", value="é")
    message.response_headers.headers.headers.add(key="both", value="text", raw_value=b"raw")
    assert list(codec.decode(message).fields) == [("x-text", "é".encode()), ("both", b"raw")]


@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize("end", [False, True])
def test_bodies(direction: Direction, end: bool) -> None:
    message = ProcessingRequest()
    body = getattr(message, f"{direction}_body")
    body.body, body.end_of_stream = b"\x00\xff", end
    assert codec.decode(message) == Event(direction, Part.BODY, Headers(), b"\x00\xff", end)


@pytest.mark.parametrize("direction", Direction)
def test_trailers_end_their_direction(direction: Direction) -> None:
    message = ProcessingRequest()
    getattr(message, f"{direction}_trailers").trailers.headers.add(key="grpc-status", raw_value=b"0")
    assert codec.decode(message) == Event(direction, Part.TRAILERS, Headers([("grpc-status", b"0")]), end=True)


def test_attributes_are_flattened_to_text() -> None:
    message = request_headers()
    message.attributes[codec.ATTRIBUTES].update(
        {"xds.cluster_name": "egress/openai", "source.port": 50000, "ratio": 0.5, "connection.mtls": True, "empty": ""}
    )
    message.attributes[codec.ATTRIBUTES].update({"nothing": None, "list": ["a"], "struct": {"a": "b"}})
    message.attributes["another.filter"].update({"xds.cluster_name": "spoofed"})
    assert codec.decode(message).attributes == {
        "xds.cluster_name": "egress/openai",
        "source.port": "50000",
        "ratio": "0.5",
        "connection.mtls": "true",
        "empty": "",
    }


def test_attributes_of_another_filter_alone_are_none() -> None:
    message = request_headers()
    message.attributes["another.filter"].update({"xds.cluster_name": "spoofed"})
    assert codec.decode(message).attributes == {}
    assert list(message.attributes) == ["another.filter"]


@pytest.mark.parametrize("mode", BodyMode)
def test_the_configured_modes(mode: BodyMode) -> None:
    message = request_headers()
    message.protocol_config.request_body_mode = ProcessingMode.BodySendMode.Value(mode)
    assert codec.decode(message).configured == (mode, BodyMode.NONE)


def refused_messages() -> list[ProcessingRequest]:
    observed, unknown = request_headers(), request_headers()
    observed.observability_mode = True
    unknown.protocol_config.ParseFromString(b"\x08\x63")
    return [ProcessingRequest(), observed, unknown]


@pytest.mark.parametrize("message", refused_messages(), ids=["no kind", "observability", "unknown mode"])
def test_what_cannot_be_answered_is_a_protocol_error(message: ProcessingRequest) -> None:
    with pytest.raises(ProtocolError):
        codec.parse(message.SerializeToString())


def test_a_kind_of_a_later_envoy_is_a_protocol_error() -> None:
    with pytest.raises(ProtocolError):
        codec.parse(b"\xa2\x06\x00")  # field 100, length-delimited, empty


@given(st.binary(max_size=200))
def test_any_bytes_are_an_event_or_a_protocol_error(data: bytes) -> None:
    with suppress(ProtocolError):
        assert isinstance(codec.parse(data), Event)


def test_a_huge_field_and_an_empty_name_are_only_data() -> None:
    event = codec.decode(request_headers(("", b"v"), ("x-huge", b"x" * 1_000_000)))
    assert event.fields.get("") == "v"
    assert len(event.fields.get("x-huge") or "") == 1_000_000


# --- encode -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize("part", Part)
def test_an_outcome_without_changes_is_an_empty_answer_of_its_kind(direction: Direction, part: Part) -> None:
    answer = codec.encode(Outcome(direction, part))
    assert answer.WhichOneof("response") == f"{direction}_{part}"
    assert not answer.HasField("mode_override")
    assert not answer.HasField("dynamic_metadata")
    assert getattr(answer, f"{direction}_{part}").ByteSize() == 0


NAMES = st.sampled_from(["a", "b", "cookie", "x-dup", "set-cookie"])
VALUES = st.sampled_from([b"", b"1", b"2", b"caf\xe9", b"\xff"])
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=12).map(Headers)


@given(before=HEADERS, after=HEADERS, part=st.sampled_from(Part), direction=st.sampled_from(Direction))
def test_envoy_ends_up_with_the_wanted_headers(
    before: Headers, after: Headers, part: Part, direction: Direction
) -> None:
    data = codec.serialize(Outcome(direction, part, difference(before, after)))
    answer = getattr(ProcessingResponse.FromString(data), f"{direction}_{part}")
    mutation = answer.header_mutation if part is Part.TRAILERS else answer.response.header_mutation
    assert grouped(as_envoy(mutation, before)) == grouped(after)


def test_a_header_set_to_no_value_is_removed() -> None:
    outcome = Outcome(REQUEST, Part.HEADERS, HeaderChange(set=(("a", ()),)))
    mutation = codec.encode(outcome).request_headers.response.header_mutation
    assert as_envoy(mutation, Headers([("a", b"1")])) == Headers()


def test_a_body_in_the_answer_to_a_body() -> None:
    common = codec.encode(Outcome(REQUEST, Part.BODY, body=b"")).request_body.response
    assert common.status == CommonResponse.CONTINUE
    assert common.body_mutation.WhichOneof("mutation") == "body"


def test_a_body_in_the_answer_to_headers_replaces_the_body_that_never_came() -> None:
    common = codec.encode(Outcome(RESPONSE, Part.HEADERS, body=b"new")).response_headers.response
    assert common.status == CommonResponse.CONTINUE_AND_REPLACE
    assert common.body_mutation.body == b"new"


@pytest.mark.parametrize("request_body", BodyMode)
@pytest.mark.parametrize("response_headers", [False, True])
def test_a_mode_override_names_every_mode(request_body: BodyMode, response_headers: bool) -> None:
    mode = codec.encode(
        Outcome(REQUEST, Part.HEADERS, modes=Modes(request_body, response_headers, BodyMode.BUFFERED))
    ).mode_override
    assert ProcessingMode.BodySendMode.Name(mode.request_body_mode) == request_body
    assert mode.response_body_mode == ProcessingMode.BUFFERED
    assert mode.response_header_mode == (ProcessingMode.SEND if response_headers else ProcessingMode.SKIP)
    assert (mode.request_header_mode, mode.request_trailer_mode) == (ProcessingMode.SEND, ProcessingMode.SEND)
    assert mode.response_trailer_mode == ProcessingMode.SKIP


def test_metadata_are_under_our_name() -> None:
    wanted = {"peer": {"namespace": "ai"}, "decisions": {}, "tokens": 3, "skipped": [{"extension": "x"}]}
    for _ in range(2):  # the second time from memory
        answer = codec.encode(Outcome(REQUEST, Part.HEADERS, metadata=wanted))
        assert answer.dynamic_metadata["extproc"]["peer"]["namespace"] == "ai"
        assert answer.dynamic_metadata["extproc"]["tokens"] == 3
        assert answer.dynamic_metadata["extproc"]["skipped"][0]["extension"] == "x"
        answer.dynamic_metadata.Clear()


def path_of(path: str | None, *hidden: tuple[str, Secret]) -> bytes:
    outcome = Outcome(REQUEST, Part.HEADERS, path=path, hidden_query=hidden)
    [option] = codec.encode(outcome).request_headers.response.header_mutation.set_headers
    assert option.header.key == ":path"
    return option.header.raw_value


def test_the_path_and_its_hidden_query() -> None:
    secret = seal(b"a&b=c d\xff/")
    assert path_of("/v1") == b"/v1"
    assert path_of("*") == b"*"
    assert path_of("/v1", ("key", secret)) == b"/v1?key=a%26b%3Dc%20d%FF%2F"
    assert path_of("/v1?", ("key", secret)) == b"/v1?key=a%26b%3Dc%20d%FF%2F"
    assert path_of("/v1?a=1", ("k&y", seal(b"1")), ("z", seal(b"2"))) == b"/v1?a=1&k%26y=1&z=2"
    assert path_of("/v1?a=1&", ("key", seal(b"1"))) == b"/v1?a=1&key=1"


@pytest.mark.parametrize("query", ["?", "q=?", "q=1&p=??", "q=1;", "?&p=?"])
def test_a_hidden_parameter_is_no_part_of_the_callers_last_one(query: str) -> None:
    """An upstream that echoes what it cannot read would tell it."""
    target = path_of(f"/v1?{query}", ("key", seal(CANARY))).decode()
    assert target == f"/v1?{query}&key={CANARY.decode()}"


@pytest.mark.parametrize("path", ["", "v1", "/a b", "/a#b", "/a\r\nx: y", "/é", "/\u20ac", "http://evil/", "/a\x7f"])
def test_a_path_that_is_no_target_is_never_sent(path: str) -> None:
    with pytest.raises(ProtocolError, match="no request target"):
        path_of(path)


def test_a_hidden_query_needs_its_path() -> None:
    with pytest.raises(ProtocolError, match="without the path"):
        path_of(None, ("key", seal(CANARY)))


def test_trailers_can_change_nothing_but_trailers() -> None:
    for outcome in (Outcome(REQUEST, Part.TRAILERS, body=b""), Outcome(REQUEST, Part.TRAILERS, path="/")):
        with pytest.raises(ProtocolError, match="trailers alone"):
            codec.encode(outcome)


# --- denials ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", DENIALS)
def test_a_denial_is_json_with_its_headers(code: str) -> None:
    respond = deny(code, "authn: no verdict", {"www-authenticate": ["Bearer", 'Basic realm="x"'], "retry-after": "1"})
    answer = codec.encode(Outcome(REQUEST, Part.HEADERS, respond=respond, request_id="r-1", metadata={"a": "b"}))
    immediate = answer.immediate_response
    status, message = DENIALS[code]
    assert immediate.status.code == status
    assert json.loads(immediate.body) == {
        "error": {"type": "egress_denied", "code": code, "message": message, "request_id": "r-1"}
    }
    assert list(as_envoy(immediate.headers, Headers([("content-type", b"text/plain")]))) == [
        ("www-authenticate", b"Bearer"),
        ("www-authenticate", b'Basic realm="x"'),
        ("retry-after", b"1"),
        ("content-type", b"application/json"),
    ]
    assert immediate.details == f"extproc_{code}{{authn:_no_verdict}}"
    assert answer.dynamic_metadata["extproc"]["a"] == "b"


@pytest.mark.parametrize("status", [204, 304])
def test_no_body_where_http_has_none(status: int) -> None:
    immediate = codec.encode(Outcome(REQUEST, Part.HEADERS, respond=Respond(status, "c", "m"))).immediate_response
    assert immediate.status.code == status
    assert immediate.body == b""
    assert not immediate.headers.set_headers


@pytest.mark.parametrize("status", [-1, 0, 99, 100, 199, 600, 2**40])
def test_a_status_that_envoy_would_turn_into_200_is_never_sent(status: int) -> None:
    with pytest.raises(ProtocolError, match="status"):
        codec.encode(Outcome(REQUEST, Part.HEADERS, respond=Respond(status, "c", "m")))


@given(code=st.text(), reason=st.text())
def test_details_are_one_short_printable_word(code: str, reason: str) -> None:
    outcome = Outcome(REQUEST, Part.HEADERS, respond=Respond(403, code, "m", reason=reason))
    details = codec.encode(outcome).immediate_response.details
    assert details.isascii()
    assert details.isprintable()
    assert not set(details) & set(' "\\')
    assert details.count("{") == details.count("}") == bool(reason)
    assert len(details) <= 420


# --- secrets ----------------------------------------------------------------------------------------------------------


def injected(value: Value, direction: Direction = REQUEST) -> Outcome:
    return Outcome(direction, Part.HEADERS, HeaderChange(set=(("authorization", (value,)),)))


def test_a_secret_is_opened_on_its_way_to_the_upstream() -> None:
    answer = codec.encode(injected(wrap(seal(CANARY), "Bearer {value}")))
    [option] = answer.request_headers.response.header_mutation.set_headers
    assert option.header.raw_value == b"Bearer " + CANARY


@pytest.mark.parametrize(
    "value", [CANARY + b"\n", b" " + CANARY, CANARY + b"\r\nx: y", b"\x00" + CANARY, CANARY + b"\x7f"]
)
def test_a_secret_that_is_no_field_value_is_never_sent_nor_told(value: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        codec.encode(injected(seal(value)))
    assert CANARY.decode() not in repr(caught.value)
    assert caught.value.__cause__ is None


def test_a_secret_never_goes_to_the_client() -> None:
    respond = Respond(403, "c", "m", headers={"x-key": seal(CANARY)})
    for outcome in (injected(seal(CANARY), RESPONSE), Outcome(REQUEST, Part.HEADERS, respond=respond)):
        with pytest.raises(ProtocolError, match="to the client"):
            codec.encode(outcome)


def test_nothing_but_the_message_shows_a_secret() -> None:
    secret = seal(CANARY)
    outcome = Outcome(
        REQUEST,
        Part.HEADERS,
        HeaderChange(set=(("authorization", (secret,)),)),
        path="/",
        hidden_query=(("k", secret),),
    )
    codec.encode(outcome)
    assert CANARY.decode() not in repr(outcome)


# --- mask -------------------------------------------------------------------------------------------------------------


def masked(value: bytes, *secrets: bytes) -> Value:
    return codec.mask(Headers([("x", value)]), tuple(map(seal, secrets))).values("x")[0]


def test_mask_gives_the_same_object_if_nothing_is_hidden() -> None:
    headers = Headers([("a", b"1"), ("b", b"100%25+")])
    assert codec.mask(headers, ()) is headers
    assert codec.mask(headers, (seal(CANARY),)) is headers


def test_mask_finds_the_core_without_its_template() -> None:
    secret = wrap(seal(CANARY), "Bearer {value}")
    headers = Headers([("x", b"you sent " + CANARY + b"," + CANARY), ("y", b"1")])
    assert list(codec.mask(headers, (secret,))) == [("x", b"you sent ***,***"), ("y", b"1")]


@pytest.mark.parametrize(
    "spelt",
    [b"a%2Fb%20c", b"a%2fb+c", b"a/b%20c", b"%61%2F%62%20%63", b"a%252Fb%2520c", b"a%25252fb%252520c", b"a/b c"],
)
def test_mask_finds_every_spelling(spelt: bytes) -> None:
    assert masked(b"https://x/?k=" + spelt + b"&z=%2F", b"a/b c") == b"https://x/?k=***&z=%2F"


def test_mask_hides_the_longer_of_two_first() -> None:
    assert masked(b"<abcdef>", b"abc", b"abcdef") == b"<***>"


def test_mask_ignores_an_empty_secret_and_leaves_secrets_alone() -> None:
    secret = seal(b"x")
    headers = Headers([("a", b"value"), ("b", secret)])
    assert codec.mask(headers, (seal(b""),)) is headers
    assert codec.mask(headers, (seal(b"value"),)).values("b") == (secret,)


def test_mask_finds_a_secret_with_an_escape_of_its_own_that_was_encoded_in_part() -> None:
    assert masked(b"<ab%63%2Fd>", b"abc%2Fd") == b"<***>"


@given(
    core=st.binary(min_size=6, max_size=20),
    around=st.tuples(st.binary(max_size=20), st.binary(max_size=20)),
    escapes=st.lists(st.booleans(), min_size=20, max_size=20),
)
def test_no_masked_value_holds_the_secret(core: bytes, around: tuple[bytes, bytes], escapes: list[bool]) -> None:
    spelt = b"".join(b"%%%02X" % byte if escape else bytes([byte]) for byte, escape in zip(core, escapes, strict=False))
    value = masked(around[0] + spelt + around[1], core)
    assert isinstance(value, bytes)
    assert core not in value
    assert spelt not in value
