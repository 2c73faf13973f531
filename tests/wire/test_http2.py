"""The real server and a real client. A stream that ends with OK before its answer would let a request pass (PROTOCOL 1.4):
whatever goes wrong, no client ever sees that.
"""

import asyncio
import logging
import os
import socket
import stat
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import structlog

from extproc.core.engine import Engine
from extproc.core.exchange import Exchange
from extproc.core.phase import Phase
from extproc.core.secret import seal
from extproc.core.verdict import Continue, Verdict, deny
from extproc.errors import ConfigError, Unavailable
from extproc.wire.codec import SERVICE
from extproc.wire.http2.server import Server
from extproc.wire.listener import Listener
from extproc.wire.pb.external_processor_pb2 import ProcessingResponse

from .conftest import (
    Told,
    body,
    chain_of,
    connected,
    engine_of,
    go_on,
    headers,
    play,
    response_headers,
    serving,
    stream,
)

CANARY = "sk-canary-0123456789"
Deed = Callable[[Exchange], Awaitable[Verdict]]


async def end_of(call: Any) -> ProcessingResponse | grpc.StatusCode:
    """The answer that comes next, or the status with which the stream ends instead."""
    try:
        answer = await call.read()
    except grpc.aio.AioRpcError as error:
        return error.code()
    return await call.code() if answer is grpc.aio.EOF else answer  # type: ignore[no-any-return]


def assert_failed(end: object) -> None:
    assert isinstance(end, grpc.StatusCode)
    assert end is not grpc.StatusCode.OK


# --- conversations ----------------------------------------------------------------------------------------------------


async def test_a_conversation(folder: Path) -> None:
    told = Told()
    async with serving(folder, chain_of(go_on), told), connected(folder) as channel:
        first, second = await play(channel, headers(), response_headers())
    [option] = first.request_headers.response.header_mutation.set_headers
    assert (option.header.key, option.header.raw_value) == ("x-seen", b"yes")
    assert second.WhichOneof("response") == "response_headers"
    assert [(record.gateway, record.code) for record in told.records] == [("egress/egress", "")]


async def test_a_body_is_judged(folder: Path) -> None:
    async def shout(exchange: Exchange) -> Verdict:
        return Continue(body=(exchange.request.body or b"").upper())

    chain = chain_of(shout, phase=Phase.REQUEST_BODY)
    async with serving(folder, chain), connected(folder) as channel:
        _, answer = await play(channel, headers(end=False, body_mode=2), body(b"quiet"))
    assert answer.request_body.response.body_mutation.body == b"QUIET"


async def test_a_denial_is_an_answer_and_nothing_may_follow_it(folder: Path) -> None:
    async def refuse(exchange: Exchange) -> Verdict:
        return deny("forbidden", "on purpose")

    async with serving(folder, chain_of(refuse)), connected(folder) as channel:
        [answer] = await play(channel, headers())
        assert answer.immediate_response.status.code == 403
        call = stream(channel)
        await call.write(headers())
        await call.read()
        await call.write(response_headers())
        assert await end_of(call) is grpc.StatusCode.FAILED_PRECONDITION


async def test_the_engine_is_asked_once_per_stream(folder: Path) -> None:
    asked = []

    def engine() -> Any:
        asked.append(True)
        return engine_of(chain_of(go_on))

    server = Server(engine, [Listener(f"unix://{folder}/x.sock")], 1024, lambda: True)
    await server.start()
    async with connected(folder) as channel:
        await play(channel, headers(), response_headers())
        await play(channel, headers())
    await server.stop()
    assert len(asked) == 2


# --- filters that misbehave -------------------------------------------------------------------------------------------


class Odd(BaseException):
    """What nobody expects."""


async def raises(exchange: Exchange) -> Verdict:
    raise ValueError(CANARY)


async def exits(exchange: Exchange) -> Verdict:
    sys.exit(CANARY)


async def cancels(exchange: Exchange) -> Verdict:
    raise asyncio.CancelledError(CANARY)


async def cancels_its_task(exchange: Exchange) -> Verdict:
    asyncio.current_task().cancel(CANARY)  # type: ignore[union-attr]
    return Continue()


async def interrupts(exchange: Exchange) -> Verdict:
    raise KeyboardInterrupt(CANARY)


async def closes(exchange: Exchange) -> Verdict:
    raise GeneratorExit(CANARY)


async def is_odd(exchange: Exchange) -> Verdict:
    raise Odd(CANARY)


async def says_nothing(exchange: Exchange) -> Verdict:
    return None  # type: ignore[return-value]


async def says_nonsense(exchange: Exchange) -> Verdict:
    return Continue(set_headers={"transfer-encoding": "chunked"})


async def hangs(exchange: Exchange) -> Verdict:
    await asyncio.Event().wait()
    return Continue()


async def is_unavailable(exchange: Exchange) -> Verdict:
    raise Unavailable("down")


def later(deed: Deed, turns: int) -> Deed:
    """`deed` after so many awaits."""

    async def wrapped(exchange: Exchange) -> Verdict:
        for _ in range(turns):
            await asyncio.sleep(0)
        return await deed(exchange)

    return wrapped


STATUS = {
    raises: 500, exits: 500, cancels: 500, cancels_its_task: 500, interrupts: 500, closes: 500, is_odd: 500,
    says_nothing: 500, says_nonsense: 500, hangs: 504, is_unavailable: 503,
}  # fmt: skip


@pytest.mark.parametrize("turns", [0, 1, 3])
@pytest.mark.parametrize("phase", [Phase.REQUEST_HEADERS, Phase.REQUEST_BODY])
@pytest.mark.parametrize(("deed", "status"), list(STATUS.items()), ids=lambda value: getattr(value, "__name__", ""))
async def test_a_filter_that_fails_is_a_denial(folder: Path, deed: Deed, status: int, phase: Phase, turns: int) -> None:
    chain = chain_of(go_on, later(deed, turns), phase=phase, timeout=0.02 if deed is hangs else 10)
    told = Told()
    async with serving(folder, chain, told), connected(folder) as channel:
        messages = [headers(end=False, body_mode=2), body(b"x")] if phase.has_body else [headers()]
        *_, answer = await play(channel, *messages)
        assert answer.immediate_response.status.code == status
        await play(channel, headers(**{":path": "//"}))  # the server lives
    assert CANARY not in repr(told.records)
    assert CANARY.encode() not in answer.SerializeToString()


# --- ends of a stream -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turns", [0, 1, 2])
async def test_a_client_that_goes_away_cancels_the_filter_and_is_told_of(folder: Path, turns: int) -> None:
    begun, ended, told = asyncio.Event(), asyncio.Event(), Told()

    async def wait(exchange: Exchange) -> Verdict:
        begun.set()
        try:
            return await later(hangs, turns)(exchange)
        finally:
            ended.set()

    async with serving(folder, chain_of(wait, timeout=60), told), connected(folder) as channel:
        call = stream(channel)
        await call.write(headers())
        await begun.wait()
        call.cancel()
        await ended.wait()
        await play(channel, headers(**{":path": "//"}))
    assert len(told.records) == 2


@pytest.mark.parametrize("answered", [False, True])
async def test_a_stop_ends_open_streams_with_an_error(folder: Path, answered: bool) -> None:
    begun = asyncio.Event()

    async def wait(exchange: Exchange) -> Verdict:
        begun.set()
        return await (go_on if answered else hangs)(exchange)

    async with serving(folder, chain_of(wait, timeout=60)) as server, connected(folder) as channel:
        call = stream(channel)
        await call.write(headers())
        await begun.wait()
        if answered:
            await call.read()
        await server.stop()
        assert_failed(await end_of(call))


BROKEN = ["engine", "select", "tell", "mask"]


def engine_without(part: str) -> Callable[[], Engine]:
    """What gives an engine of which this is broken; or it is itself."""

    def broken(*_: object) -> Any:
        raise LookupError(CANARY)

    engine = engine_of(chain_of(go_on))
    if part == "engine":
        return broken
    if part == "select":
        object.__setattr__(engine.policy, "select", broken)
    else:
        engine = replace(engine, **{part: broken})
    return lambda: engine


@pytest.mark.parametrize("part", BROKEN)
async def test_whatever_breaks_the_stream_fails_with_a_fixed_text(folder: Path, part: str) -> None:
    server = Server(engine_without(part), [Listener(f"unix://{folder}/x.sock")], 1024, bool)
    await server.start()
    with structlog.testing.capture_logs() as logs:
        async with connected(folder) as channel:
            call = stream(channel)
            if part != "engine":  # what breaks before anything is read may end the call before the client has written
                await call.write(headers())
            end = await end_of(call)
            if part in ("mask", "tell"):
                assert isinstance(end, ProcessingResponse)
                await call.write(response_headers({"x": "y"}) if part == "mask" else headers())
                end = await end_of(call)
            assert end is grpc.StatusCode.INTERNAL
            assert await call.details() == "the exchange could not be processed"
    await server.stop()
    assert logs == [{"event": "stream_failed", "error": "LookupError", "log_level": "error"}]


def garbled() -> Iterator[bytes]:
    observed = headers()
    observed.observability_mode = True
    yield b"\xff\xff\xff"
    yield b""
    yield observed.SerializeToString()
    yield body(b"before its headers").SerializeToString()


@pytest.mark.parametrize("data", list(garbled()), ids=["garbage", "nothing", "observability", "body first"])
async def test_a_message_that_cannot_be_answered_fails_the_stream(folder: Path, data: bytes) -> None:
    async with serving(folder, chain_of(go_on)), connected(folder) as channel:
        call = channel.stream_stream(f"/{SERVICE}/Process")()
        await call.write(data)
        assert await end_of(call) is grpc.StatusCode.FAILED_PRECONDITION
        assert await call.details() == "the message is not one to answer"


async def test_a_client_that_ends_without_a_word_gets_a_clean_end(folder: Path) -> None:
    async with serving(folder, chain_of(go_on)), connected(folder) as channel:
        assert await play(channel) == []


async def test_what_must_not_be_sent_fails_the_stream_and_is_not_told(folder: Path, caplog: Any) -> None:
    """A credential with a line break, in a chain that may release it."""

    async def inject(exchange: Exchange) -> Verdict:
        return Continue(set_headers={"authorization": seal(f"{CANARY}\r\nx: y".encode())})

    caplog.set_level(logging.DEBUG)
    with structlog.testing.capture_logs() as logs:
        async with serving(folder, chain_of(inject), backend=True), connected(folder) as channel:
            call = stream(channel)
            await call.write(headers())
            assert await end_of(call) is grpc.StatusCode.FAILED_PRECONDITION
            assert CANARY not in (await call.details() or "")
    assert logs == [{"event": "stream_failed", "error": "a credential is no valid header value", "log_level": "error"}]
    assert CANARY not in caplog.text


# --- sizes ------------------------------------------------------------------------------------------------------------


async def test_a_message_as_large_as_allowed(folder: Path) -> None:
    size = 5 * 1024 * 1024
    large = {"max_receive_message_length": 10 * size, "max_send_message_length": 10 * size}

    async def longer(exchange: Exchange) -> Verdict:
        return Continue(body=(exchange.request.body or b"") + b"!")

    chain = chain_of(longer, phase=Phase.REQUEST_BODY)
    async with serving(folder, chain, max_receive_bytes=size), connected(folder, **large) as channel:
        _, answer = await play(channel, headers(end=False, body_mode=2), body(b"x" * size))
    assert len(answer.request_body.response.body_mutation.body) == size + 1


@pytest.mark.parametrize(
    ("size", "told"),
    [
        (10, {grpc.StatusCode.RESOURCE_EXHAUSTED}),
        (
            3_000_000,
            {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INTERNAL},
        ),  # grpc.aio, when it could not end it
    ],
    ids=["sent", "received"],
)
async def test_a_message_over_the_limit_fails_the_stream(folder: Path, size: int, told: set[grpc.StatusCode]) -> None:
    async def longer(exchange: Exchange) -> Verdict:
        return Continue(body=b"x" * 3_000_000)

    chain = chain_of(longer, phase=Phase.REQUEST_BODY)
    async with serving(folder, chain, max_receive_bytes=1000), connected(folder) as channel:
        call = stream(channel)
        await call.write(headers(end=False, body_mode=2))
        await call.read()
        with suppress(grpc.aio.AioRpcError):
            await call.write(body(b"x" * size))
        assert await end_of(call) in told


# --- listening --------------------------------------------------------------------------------------------------------


async def test_the_socket_is_for_owner_and_group(folder: Path) -> None:
    before = os.umask(0)
    try:
        async with serving(folder, chain_of()):
            assert stat.S_IMODE((folder / "x.sock").stat().st_mode) == 0o660
    finally:
        os.umask(before)
    assert not (folder / "x.sock").exists()


async def test_a_second_server_does_not_take_the_socket(folder: Path) -> None:
    async with serving(folder, chain_of(go_on)), connected(folder) as channel:
        with pytest.raises(ConfigError, match="another process listens"):
            async with serving(folder, chain_of()):
                pass
        await play(channel, headers())


async def test_a_port_that_is_taken_is_refused_and_nothing_stays_open(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = Listener(f"127.0.0.1:{other.getsockname()[1]}", insecure=True)
        server = Server(lambda: engine_of(chain_of()), [Listener(f"unix://{folder}/x.sock"), taken], 1024, bool)
        with pytest.raises(ConfigError, match="cannot listen on"):
            await server.start()
    assert not (folder / "x.sock").exists()


async def test_the_port_of_another_server_is_not_shared(free_port: int) -> None:
    listener = Listener(f"127.0.0.1:{free_port}", insecure=True)
    first, second = (Server(lambda: engine_of(chain_of()), [listener], 1024, bool) for _ in range(2))
    with structlog.testing.capture_logs() as logs:
        await first.start()
        with pytest.raises(ConfigError, match="cannot listen on"):
            await second.start()
        await first.stop()
    assert logs[0]["event"] == "insecure_listener"


async def test_a_listener_that_is_not_allowed_opens_none(folder: Path) -> None:
    listeners = [Listener(f"unix://{folder}/x.sock"), Listener("0.0.0.0:9000", insecure=True)]
    with pytest.raises(ConfigError, match="loopback"):
        await Server(lambda: engine_of(chain_of()), listeners, 1024, bool).start()
    assert os.listdir(folder) == []  # noqa: PTH208
