"""The application, with no server around it: each case of gRPC's framing, and each end of a stream. One that ends with OK
before its answer would let a request pass (PROTOCOL 1.4): whatever goes wrong, no client ever sees that.
"""

import asyncio
from typing import Any

import pytest
import structlog
from grpc_health.v1 import health_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.core.exchange import Exchange
from extproc.core.phase import Phase
from extproc.core.verdict import Continue, Verdict
from extproc.wire.asgi import Application
from extproc.wire.framing import ROOM, frame
from extproc.wire.pb.external_processor_pb2 import ProcessingRequest
from extproc.wire.status import Status

from .calling import GRPC, Calling
from .conftest import Told, body, chain_of, engine_of, go_on, headers, response_headers
from .test_drain import NOT_SERVING, OURS, SERVING
from .test_framing import cut
from .test_http2 import BROKEN, CANARY, STATUS, Deed, engine_without, garbled, hangs, later

REFUSED = (Status.FAILED_PRECONDITION, "the message is not one to answer")
FAILED = (Status.INTERNAL, "the exchange could not be processed")
CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"


def framed(*messages: ProcessingRequest) -> bytes:
    return b"".join(frame(message.SerializeToString()) for message in messages)


def application(*deeds: Deed, told: Told | None = None, limit: int = 1024 * 1024, **options: Any) -> Application:
    engine = engine_of(chain_of(*deeds, **options), told)
    return Application(lambda: engine, limit, lambda: True)


async def shout(exchange: Exchange) -> Verdict:
    return Continue(body=(exchange.request.body or b"").upper())


# --- conversations ----------------------------------------------------------------------------------------------------


async def test_a_conversation() -> None:
    told = Told()
    call = Calling(application(go_on, told=told))
    call.put(framed(headers()))
    [first] = await call.answers(1)
    assert first.request_headers.response.header_mutation.set_headers[0].header.raw_value == b"yes"
    call.put(framed(response_headers()))
    assert (await call.answers(2))[1].WhichOneof("response") == "response_headers"
    assert not told.records
    call.put(b"", end=True)
    assert await call.ended() == (Status.OK, "")
    assert len(told.records) == 1
    assert [event["type"].rpartition(".")[2] for event in call.sent] == ["start", "body", "body", "body", "trailers"]
    assert (b"content-type", b"application/grpc") in call.sent[0]["headers"]


@given(st.lists(st.integers(0, 2000), max_size=20))
@settings(max_examples=100, deadline=None)
def test_messages_are_answered_however_they_are_cut(places: list[int]) -> None:
    async def converse() -> None:
        data = framed(headers(end=False, body_mode=2), body(b"quiet"), response_headers())
        call = Calling(application(shout, phase=Phase.REQUEST_BODY))
        for piece in cut(data, places):
            call.put(piece)
        call.put(b"", end=True)
        assert await call.ended() == (Status.OK, "")
        _, answer, _ = await call.answers(3)
        assert answer.request_body.response.body_mutation.body == b"QUIET"

    asyncio.run(converse())


@given(st.integers(1, 10_000))
@settings(max_examples=60, deadline=None)
def test_a_stream_that_ends_within_a_message_is_no_good_end(length: int) -> None:
    data = framed(headers(end=False, body_mode=2), body(b"quiet"))
    whole = [0, len(framed(headers(end=False, body_mode=2))), len(data)]
    length %= len(data) + 1

    async def converse() -> None:
        call = Calling(application(shout, phase=Phase.REQUEST_BODY))
        call.put(data[:length], end=True)
        assert (await call.ended())[0] == (Status.OK if length in whole else Status.INTERNAL)

    asyncio.run(converse())


async def test_a_client_that_ends_without_a_word_gets_a_clean_end() -> None:
    call = Calling(application(go_on))
    call.put(b"", end=True)
    assert await call.ended() == (Status.OK, "")
    assert len(call.sent) == 2


async def test_no_end_before_the_answer() -> None:
    """The client's half is over, its message is not answered: nothing is."""
    let_go = asyncio.Event()

    async def wait(exchange: Exchange) -> Verdict:
        await let_go.wait()
        return Continue()

    call = Calling(application(wait))
    call.put(framed(headers()), end=True)
    for _ in range(20):
        await asyncio.sleep(0)
    assert call.sent == []
    let_go.set()
    assert await call.ended() == (Status.OK, "")
    assert len(await call.answers(1)) == 1


@pytest.mark.parametrize("size", [5 * 1024 * 1024])
async def test_a_large_message_and_a_larger_answer(size: int) -> None:
    async def longer(exchange: Exchange) -> Verdict:
        return Continue(body=(exchange.request.body or b"") + b"!")

    call = Calling(application(longer, phase=Phase.REQUEST_BODY, limit=size))
    data = framed(headers(end=False, body_mode=2), body(b"x" * size))
    for at in range(0, len(data), 16384):
        call.put(data[at : at + 16384])
    _, answer = await call.answers(2)
    assert len(answer.request_body.response.body_mutation.body) == size + 1


# --- what is no call --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "", f"{CHECK}/", "/envoy.service.ext_proc.v3.ExternalProcessor/Other", "/a%2Fb"])
async def test_another_method_is_not_implemented(path: str) -> None:
    call = Calling(application(go_on), path)
    assert await call.ended() == (Status.UNIMPLEMENTED, "no such method")
    assert call.sent[0]["status"] == 200


@pytest.mark.parametrize(
    "kind", [b"", b"text/html", b"application/grpc-web", b"application/grpc+json", b"xapplication/grpc"]
)
async def test_another_content_type_is_415(kind: bytes) -> None:
    call = Calling(application(go_on), headers=[(b"content-type", kind), GRPC[1]])
    await call.task
    assert call.sent[0]["status"] == 415


@pytest.mark.parametrize("kind", [b"application/grpc", b"application/grpc+proto", b"application/grpc;x=y"])
async def test_the_content_types_of_grpc(kind: bytes) -> None:
    call = Calling(application(go_on), headers=[(b"content-type", kind), GRPC[1]])
    call.put(framed(headers()), end=True)
    assert await call.ended() == (Status.OK, "")


async def test_another_http_method_is_405() -> None:
    call = Calling(application(go_on), method="GET")
    await call.task
    assert (call.sent[0]["status"], dict(call.sent[0]["headers"])) == (405, {b"allow": b"POST"})


@pytest.mark.parametrize("te", [[], [(b"te", b"gzip")]])
async def test_without_trailers_there_is_no_call(te: list[tuple[bytes, bytes]]) -> None:
    """No message is read: an answer could have no status after it."""
    call = Calling(application(go_on), headers=[GRPC[0], *te])
    call.put(framed(headers()))
    assert await call.ended() == (Status.INTERNAL, "the call has no `te: trailers`")
    assert call.messages == []


# --- messages that are none -------------------------------------------------------------------------------------------

BAD = {
    "compressed": (b"\x01\0\0\0\x01x", (Status.UNIMPLEMENTED, "compressed messages are not read")),
    "flag": (b"\x07\0\0\0\x01x", (Status.INTERNAL, "a message with a flag that is not known")),
    "too large": (b"\0" + (ROOM + 1001).to_bytes(4, "big"), (Status.RESOURCE_EXHAUSTED, "the message is too large")),
    "garbage": (frame(b"\xff\xff\xff"), REFUSED),
    "empty": (frame(b""), REFUSED),
}


@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("name", BAD)
async def test_what_is_no_message_ends_the_stream(name: str, answered: bool) -> None:
    data, status = BAD[name]
    told = Told()
    call = Calling(application(go_on, told=told, limit=1000))
    call.put((framed(headers()) if answered else b"") + data)
    assert await call.ended() == status
    assert len(call.messages) == answered
    assert call.sent[-1]["type"] == ("http.response.trailers" if answered else "http.response.body")
    assert len(told.records) == 1


@pytest.mark.parametrize("data", list(garbled()), ids=["garbage", "nothing", "observability", "body first"])
async def test_a_message_that_cannot_be_answered_ends_the_stream(data: bytes) -> None:
    call = Calling(application(go_on))
    call.put(frame(data))
    assert await call.ended() == REFUSED


async def test_an_answer_that_is_too_large_ends_the_stream() -> None:
    async def longer(exchange: Exchange) -> Verdict:
        return Continue(body=b"x" * 3_000_000)

    call = Calling(application(longer, phase=Phase.REQUEST_BODY, limit=1000))
    call.put(framed(headers(end=False, body_mode=2), body(b"x")))
    assert await call.ended() == (Status.RESOURCE_EXHAUSTED, "the answer is too large")
    assert len(call.messages) == 1


async def test_metadata_of_an_unknown_pass_end_the_stream() -> None:
    call = Calling(application(go_on), headers=[*GRPC, (b"x-extproc-pass", b"sideways")])
    call.put(framed(headers()))
    assert await call.ended() == REFUSED


# --- filters and engines that misbehave -------------------------------------------------------------------------------


@pytest.mark.parametrize("turns", [0, 2])
@pytest.mark.parametrize(("deed", "status"), list(STATUS.items()), ids=lambda value: getattr(value, "__name__", ""))
async def test_a_filter_that_fails_is_a_denial(deed: Deed, status: int, turns: int) -> None:
    told = Told()
    served = application(go_on, later(deed, turns), told=told, timeout=0.02 if deed is hangs else 10)
    call = Calling(served)
    call.put(framed(headers()), end=True)
    assert await call.ended() == (Status.OK, "")
    [answer] = await call.answers(1)
    assert answer.immediate_response.status.code == status
    assert CANARY.encode() not in answer.SerializeToString()
    assert CANARY not in repr(told.records)


@pytest.mark.parametrize("part", BROKEN)
async def test_whatever_breaks_the_stream_fails_with_a_fixed_text(part: str) -> None:
    with structlog.testing.capture_logs() as logs:
        call = Calling(Application(engine_without(part), 1024, bool))
        call.put(framed(headers(), response_headers({"x": "y"})), end=True)
        assert await call.ended() == FAILED
    assert logs == [{"event": "stream_failed", "error": "LookupError", "log_level": "error"}]


# --- clients that go away ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turns", [0, 1, 2])
async def test_a_client_that_goes_away_cancels_the_filter_and_is_told_of(turns: int) -> None:
    begun, ended, told = asyncio.Event(), asyncio.Event(), Told()

    async def wait(exchange: Exchange) -> Verdict:
        begun.set()
        try:
            return await later(hangs, turns)(exchange)
        finally:
            ended.set()

    served = application(wait, told=told, timeout=60)
    call = Calling(served)
    call.put(framed(headers()))
    await begun.wait()
    assert served.streams == 1
    call.go()
    await ended.wait()
    await call.task
    assert call.sent == []
    assert (len(told.records), served.streams) == (1, 0)


@pytest.mark.parametrize("messages", [0, 1])
async def test_a_client_that_goes_away_between_messages(messages: int) -> None:
    """As Envoy ends every stream."""
    told = Told()
    call = Calling(application(go_on, told=told))
    call.put(framed(*[headers()] * messages))
    await call.answers(messages)
    call.go()
    await call.task
    assert len(told.records) == 1
    assert all(event["type"] != "http.response.trailers" for event in call.sent)


async def test_a_client_that_goes_away_within_a_message() -> None:
    told = Told()
    call = Calling(application(go_on, told=told))
    call.put(framed(headers())[:-1])
    call.go()
    await call.task
    assert call.sent == []
    assert len(told.records) == 1


async def test_a_client_that_takes_no_answer() -> None:
    told = Told()
    served = application(go_on, told=told)
    call = Calling(served)
    call.broken = True
    call.put(framed(headers()))
    await call.task
    assert (len(told.records), served.streams) == (1, 0)


async def test_more_while_a_filter_works_waits_and_cancels_nothing() -> None:
    let_go = asyncio.Event()

    async def wait(exchange: Exchange) -> Verdict:
        await let_go.wait()
        return Continue()

    call = Calling(application(wait))
    call.put(framed(headers()))
    call.put(framed(response_headers()), end=True)
    for _ in range(20):
        await asyncio.sleep(0)
    assert call.pieces.empty()
    let_go.set()
    assert await call.ended() == (Status.OK, "")
    assert len(call.messages) == 2


async def test_no_more_than_one_piece_is_read_ahead() -> None:
    call = Calling(application(hangs, timeout=60))
    for message in (headers(), response_headers(), response_headers()):
        call.put(framed(message))
    for _ in range(20):
        await asyncio.sleep(0)
    assert call.pieces.qsize() == 1
    call.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call.task


async def test_an_end_from_outside_is_no_good_end() -> None:
    told = Told()
    call = Calling(application(hangs, told=told, timeout=60))
    call.put(framed(headers()))
    for _ in range(20):
        await asyncio.sleep(0)
    call.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call.task
    assert call.sent == []
    assert len(told.records) == 1


# --- health and drain -------------------------------------------------------------------------------------------------


def asked(name: str) -> bytes:
    return frame(health_pb2.HealthCheckRequest(service=name).SerializeToString())


async def check(served: Application, name: str) -> Any:
    call = Calling(served, CHECK)
    call.put(asked(name), end=True)
    assert await call.ended() == (Status.OK, "")
    return health_pb2.HealthCheckResponse.FromString(call.messages[0]).status


async def test_the_names_of_the_health_service() -> None:
    ready = [False]
    served = Application(lambda: engine_of(chain_of()), 1024, lambda: ready[0])
    assert [await check(served, name) for name in OURS] == [NOT_SERVING] * 3
    assert await check(served, "liveness") == SERVING
    ready[0] = True
    assert [await check(served, name) for name in [*OURS, "liveness"]] == [SERVING] * 4


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (asked("another"), (Status.NOT_FOUND, "no such service")),
        (frame(b"\xff"), (Status.INTERNAL, "a message that is no HealthCheckRequest")),
        (b"", (Status.UNIMPLEMENTED, "the call takes one message")),
        (asked("") * 2, (Status.UNIMPLEMENTED, "the call takes one message")),
    ],
    ids=["unknown", "garbage", "none", "two"],
)
async def test_what_is_no_check(data: bytes, status: tuple[Status, str]) -> None:
    call = Calling(application(go_on), CHECK)
    call.put(data, end=True)
    assert await call.ended() == status
    assert call.messages == []


async def test_one_who_watches_is_told_and_does_not_keep_the_server() -> None:
    served = application(go_on)
    call = Calling(served, WATCH)
    call.put(asked(""), end=True)
    await call.came.wait()
    call.came.clear()
    served.drain()
    await call.came.wait()
    await served.close(60)
    assert await call.ended() == (Status.UNAVAILABLE, "the server stops")
    assert [health_pb2.HealthCheckResponse.FromString(each).status for each in call.messages] == [SERVING, NOT_SERVING]


async def test_one_who_watches_and_goes_away() -> None:
    call = Calling(application(go_on), WATCH)
    call.put(asked("another"), end=True)
    await call.came.wait()
    call.go()
    await call.task
    [told] = call.messages
    assert health_pb2.HealthCheckResponse.FromString(told).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


async def test_a_drain_loses_nothing() -> None:
    let_go = asyncio.Event()

    async def wait(exchange: Exchange) -> Verdict:
        if exchange.request.path == "/slow":
            await let_go.wait()
        return Continue()

    served = application(wait)
    slow = Calling(served)
    slow.put(framed(headers(**{":path": "/slow"})), end=True)
    for _ in range(20):
        await asyncio.sleep(0)
    served.drain()
    assert [await check(served, name) for name in OURS] == [NOT_SERVING] * 3
    assert await check(served, "liveness") == SERVING
    late = Calling(served)
    late.put(framed(headers()), end=True)
    assert await late.ended() == (Status.OK, "")
    closing = asyncio.ensure_future(served.close(60))
    await asyncio.sleep(0)
    refused = Calling(served)
    refused.put(framed(headers()))
    assert await refused.ended() == (Status.UNAVAILABLE, "the server stops")
    assert not closing.done()
    let_go.set()
    assert await slow.ended() == (Status.OK, "")
    await closing


async def test_a_drain_waits_no_longer_than_it_may() -> None:
    served = application(hangs, timeout=60)
    call = Calling(served)
    call.put(framed(headers()))
    for _ in range(20):
        await asyncio.sleep(0)
    await served.close(0)
    assert served.streams == 1
    call.go()
    await call.task
