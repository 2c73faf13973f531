"""What a client may do, what it may not, and that nothing of it costs the others anything (RFC 9113)."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import hpack
import pytest
from hyperframe import frame as frames
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extproc.core.exchange import Exchange
from extproc.core.phase import Phase
from extproc.core.verdict import Continue, Verdict
from extproc.wire.http2 import connection, door
from extproc.wire.http2.frames import Code

from . import raw
from .conftest import body, chain_of, go_on, headers, serving
from .raw import CALL, PREFACE, Raw, dialled, message

BIG = 300_000


def longer(size: int) -> Callable[[Exchange], Any]:
    async def deed(exchange: Exchange) -> Verdict:
        return Continue(body=b"x" * size)

    return deed


# --- what is allowed --------------------------------------------------------------------------------------------------


async def test_a_stream_ends_with_its_status(folder: Path) -> None:
    async with serving(folder, chain_of(go_on)), dialled(folder) as client:
        await client.conversation(1)
        client.send(raw.data(1, b"", "END_STREAM"))
        assert (await client.ended(1))["grpc-status"] == "0"


@pytest.mark.parametrize("part", ["padding", "priority", "unknown", "continuation", "trailers", "small settings"])
async def test_what_a_client_may_send(folder: Path, part: str) -> None:
    async with serving(folder, chain_of(go_on)), dialled(folder) as client:
        call = client.headers(1, CALL, *["PRIORITY"] * (part == "priority"), depends_on=3, stream_weight=9)
        if part == "unknown":
            client.send(b"\0\0\4\xee\xff\0\0\0\1what")
        elif part == "small settings":
            client.send(raw.settings(MAX_FRAME_SIZE=16_384, HEADER_TABLE_SIZE=0, MAX_CONCURRENT_STREAMS=1))
        elif part == "continuation":
            call.flags.discard("END_HEADERS")
            rest, call.data = call.data[7:], call.data[:7]
            client.send(call, frames.ContinuationFrame(1, rest[:4]))
            call = frames.ContinuationFrame(1, rest[4:], flags=["END_HEADERS"])
        client.send(call, raw.data(1, message(headers()), padding=40 * (part == "padding")))
        await client.answers(1, 1)
        if part == "trailers":
            client.send(client.headers(1, [("x-last", "1")], "END_STREAM"))
        else:
            client.send(raw.data(1, b"", "END_STREAM"))
        assert (await client.ended(1))["grpc-status"] == "0"


async def test_a_client_may_go_on_with_its_dynamic_table(folder: Path) -> None:
    """One that never says that it gave it up: the second block is four bytes of references."""
    async with serving(folder, chain_of(go_on)), dialled(folder) as client:
        await client.conversation(1)
        await client.conversation(3)
        assert len(client.encoder.encode(CALL)) < 10


async def test_a_client_without_a_dynamic_table_may_not_have_one_again(folder: Path) -> None:
    async with serving(folder, chain_of(go_on)), dialled(folder) as client:
        client.encoder.header_table_size = 0
        await client.conversation(1)
        await client.conversation(3)
        client.encoder.header_table_size = 4096
        client.send(client.headers(5))
        assert await client.closed_with() == Code.COMPRESSION_ERROR


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(cuts=st.lists(st.integers(1, 400), max_size=40))
def test_it_does_not_matter_how_bytes_are_cut(folder: Path, cuts: list[int]) -> None:
    async def play() -> None:
        async with serving(folder, chain_of(go_on)), dialled(folder, greet=False) as client:
            whole = PREFACE + raw.settings().serialize() + client.headers(1).serialize()
            whole += raw.data(1, message(headers()), "END_STREAM").serialize()
            for cut in cuts:
                client.send(whole[:cut])
                whole = whole[cut:]
                await asyncio.sleep(0)
            client.send(whole)
            await client.answers(1, 1)

    asyncio.run(play())


# --- windows ----------------------------------------------------------------------------------------------------------


async def test_an_answer_waits_for_room_and_the_others_do_not(folder: Path) -> None:
    chain = chain_of(longer(BIG), phase=Phase.REQUEST_BODY)
    async with serving(folder, chain), dialled(folder) as client:
        client.send(raw.settings(INITIAL_WINDOW_SIZE=10))
        client.send(client.headers(1), raw.data(1, message(headers(end=False, body_mode=2)) + message(body(b"?"))))
        came = await client.until(frames.DataFrame, 1)
        assert len(came.data) == 10
        client.send(client.headers(3), raw.data(3, message(headers(end=False, body_mode=0))))
        await client.until(frames.DataFrame, 3)
        client.send(frames.WindowUpdateFrame(1, 2 * BIG), frames.WindowUpdateFrame(0, 2 * BIG))
        _, answer = await client.answers(1, 2)
        assert len(answer.request_body.response.body_mutation.body) == BIG
        assert all(len(each.data) <= 16_384 for each in client.got if isinstance(each, frames.DataFrame))


async def test_a_window_may_shrink_below_nothing(folder: Path) -> None:
    chain = chain_of(longer(BIG), phase=Phase.REQUEST_BODY)
    async with serving(folder, chain), dialled(folder) as client:
        client.send(client.headers(1), raw.data(1, message(headers(end=False, body_mode=2)) + message(body(b"?"))))
        taken = 0
        while taken < 65_535:
            taken += len((await client.until(frames.DataFrame, 1)).data)
        client.send(raw.settings(INITIAL_WINDOW_SIZE=0), frames.WindowUpdateFrame(0, 2 * BIG))
        client.send(frames.WindowUpdateFrame(1, 65_535))
        assert await client.alive()
        assert sum(len(each.data) for each in client.got if isinstance(each, frames.DataFrame)) == taken
        client.send(frames.WindowUpdateFrame(1, BIG))
        await client.answers(1, 2)


@pytest.mark.parametrize(("most", "padding"), [(16_384, 0), (400, 200)])
async def test_a_large_message_is_given_room_while_it_comes(folder: Path, most: int, padding: int) -> None:
    async def shout(exchange: Exchange) -> Verdict:
        return Continue(set_headers={"x-size": str(len(exchange.request.body or b""))})

    async with serving(folder, chain_of(shout, phase=Phase.REQUEST_BODY)), dialled(folder) as client:
        client.send(client.headers(1), raw.data(1, message(headers(end=False, body_mode=2))))
        await client.answers(1, 1)
        rest, room = message(body(b"y" * BIG)), 65_535 - len(message(headers(end=False, body_mode=2)))
        while rest:
            size = min(room, most) - padding - bool(padding)
            piece, rest = rest[:size], rest[size:]
            client.send(raw.data(1, piece, padding=padding))
            room -= len(piece) + padding + bool(padding)
            while room < 1000:
                room += (await client.until(frames.WindowUpdateFrame, 1)).window_increment
        _, answer = await client.answers(1, 2)
        assert answer.request_body.response.header_mutation.set_headers[0].header.raw_value == str(BIG).encode()


# --- what is not allowed ----------------------------------------------------------------------------------------------


def unended(client: Raw) -> list[Any]:
    made = client.headers(1)
    made.flags.discard("END_HEADERS")
    return [made]


FAULTS: dict[str, tuple[Callable[[Raw], list[Any]], Code]] = {
    "a frame too long": (lambda _: [frames.DataFrame(1, b"x" * 16_385)], Code.FRAME_SIZE_ERROR),
    "data of no stream": (lambda _: [frames.DataFrame(1, b"x")], Code.PROTOCOL_ERROR),
    "a reset of no stream": (lambda _: [frames.RstStreamFrame(7, 8)], Code.PROTOCOL_ERROR),
    "a window of no stream": (lambda _: [frames.WindowUpdateFrame(7, 8)], Code.PROTOCOL_ERROR),
    "an even stream": (lambda c: [c.headers(2)], Code.PROTOCOL_ERROR),
    "a stream of before": (lambda c: [c.headers(5, CALL, "END_STREAM"), c.headers(3)], Code.STREAM_CLOSED),
    "no block": (lambda _: [frames.HeadersFrame(1, b"\xff" * 6, flags=["END_HEADERS"])], Code.COMPRESSION_ERROR),
    "a bomb": (
        lambda _: [frames.HeadersFrame(1, b"\x40\x01a\x7f\x81\x1f" + b"b" * 4000 + b"\xbe" * 9000, flags=["END_HEADERS"])],
        Code.COMPRESSION_ERROR,
    ),
    "a block that is too long, and what follows builds on it": (
        lambda c: c.in_pieces(1, [*CALL, ("x-long", "x" * 200_000)]),
        Code.COMPRESSION_ERROR,
    ),
    "a block of nothing for ever": (lambda c: [*unended(c), frames.ContinuationFrame(1, b"")], Code.ENHANCE_YOUR_CALM),
    "another frame in a block": (lambda c: [*unended(c), frames.PingFrame(0, b"12345678")], Code.PROTOCOL_ERROR),
    "a continuation of nothing": (lambda _: [frames.ContinuationFrame(1, b"")], Code.PROTOCOL_ERROR),
    "a promise": (lambda _: [frames.PushPromiseFrame(1, 2, b"", flags=["END_HEADERS"])], Code.PROTOCOL_ERROR),
    "settings of a stream": (lambda _: [b"\0\0\0\4\0\0\0\0\1"], Code.PROTOCOL_ERROR),
    "odd settings": (lambda _: [b"\0\0\5\4\0\0\0\0\0abcde"], Code.FRAME_SIZE_ERROR),
    "a ping too short": (lambda _: [b"\0\0\1\6\0\0\0\0\0x"], Code.FRAME_SIZE_ERROR),
    "an update by nothing": (lambda _: [b"\0\0\4\10\0\0\0\0\0\0\0\0\0"], Code.PROTOCOL_ERROR),
    "a window too large": (lambda _: [frames.WindowUpdateFrame(0, 2**31 - 1)], Code.FLOW_CONTROL_ERROR),
    "an initial window too large": (lambda _: [b"\0\0\6\4\0\0\0\0\0\0\4\xff\xff\xff\xff"], Code.FLOW_CONTROL_ERROR),
    "a frame size too small": (lambda _: [raw.settings(MAX_FRAME_SIZE=1)], Code.PROTOCOL_ERROR),
    "data behind a reset": (
        lambda c: [c.headers(1), frames.RstStreamFrame(1, 8), frames.DataFrame(1, b"x")],
        Code.STREAM_CLOSED,
    ),
    "padding beyond the frame": (lambda c: [c.headers(1), b"\0\0\2\0\x08\0\0\0\1\x09x"], Code.PROTOCOL_ERROR),
    "a priority of itself": (lambda _: [frames.PriorityFrame(3, depends_on=3)], Code.PROTOCOL_ERROR),
}  # fmt: skip


@pytest.mark.parametrize("kind", FAULTS)
async def test_who_breaks_the_rules_loses_the_connection_and_nobody_else_does(folder: Path, kind: str) -> None:
    sent, code = FAULTS[kind]
    async with serving(folder, chain_of(go_on)) as server, dialled(folder) as client, dialled(folder) as other:
        client.send(*sent(client))
        assert await client.closed_with() == code
        await other.conversation(1)
    assert server.streams == 0


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX", b"\x16\x03\x01"])
async def test_what_is_no_http2_is_shown_the_door(folder: Path, said: bytes) -> None:
    async with serving(folder, chain_of(go_on)), dialled(folder, greet=False) as client:
        client.send(said)
        assert await client.closed_with() == Code.PROTOCOL_ERROR


async def test_one_who_says_nothing_is_not_waited_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PATIENCE", 0.05)
    async with serving(folder, chain_of(go_on)), dialled(folder, greet=False) as client:
        client.send(PREFACE[:5])
        assert await client.closed_with() == Code.PROTOCOL_ERROR


MALFORMED = {
    "no path": [each for each in CALL if each[0] != ":path"],
    "an empty path": [(name, "" if name == ":path" else value) for name, value in CALL],
    "a path twice": [*CALL[:3], *CALL[2:]],
    "a pseudo field late": [*CALL[1:], CALL[0]],
    "an unknown pseudo field": [(":status", "200"), *CALL],
    "capitals": [*CALL, ("X-Up", "1")],
    "a hop": [*CALL, ("connection", "close")],
    "another te": [*CALL[:4], ("te", "gzip"), CALL[5]],
}


@pytest.mark.parametrize("kind", MALFORMED)
async def test_a_malformed_call_is_reset_and_the_connection_goes_on(folder: Path, kind: str) -> None:
    async with serving(folder, chain_of(go_on)), dialled(folder) as client:
        client.send(client.headers(1, MALFORMED[kind]))
        assert (await client.until(frames.RstStreamFrame)).error_code == Code.PROTOCOL_ERROR
        await client.conversation(3)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([(name, "GET" if name == ":method" else value) for name, value in CALL], 13),
        ([*CALL[:5], ("content-type", "text/html")], 13),
        ([*CALL[:4], CALL[5]], 13),
        ([(name, "/none" if name == ":path" else value) for name, value in CALL], 12),
    ],
    ids=["method", "content type", "no te", "path"],
)
async def test_what_is_no_call_of_ours_ends_with_an_error(
    folder: Path, fields: list[tuple[str, str]], status: int
) -> None:
    async with serving(folder, chain_of(go_on)), dialled(folder) as client:
        client.send(client.headers(1, fields))
        assert (await client.ended(1))["grpc-status"] == str(status)
        client.send(raw.data(1, b"still on its way", "END_STREAM"))
        await client.conversation(3)


async def test_data_after_the_end_resets_the_stream(folder: Path) -> None:
    begun, let_go = asyncio.Event(), asyncio.Event()

    async def wait(exchange: Exchange) -> Verdict:
        begun.set()
        await let_go.wait()
        return Continue()

    async with serving(folder, chain_of(wait)) as server, dialled(folder) as client:
        client.send(client.headers(1), raw.data(1, message(headers()), "END_STREAM"))
        await begun.wait()
        client.send(raw.data(1, b"more"))
        assert (await client.until(frames.RstStreamFrame, 1)).error_code == Code.STREAM_CLOSED
        assert await client.alive()
        assert server.streams == 0


async def test_what_waits_to_be_read_fills_the_window_and_no_more(folder: Path) -> None:
    begun = asyncio.Event()

    async def wait(exchange: Exchange) -> Verdict:
        begun.set()
        await asyncio.Event().wait()
        return Continue()

    async with serving(folder, chain_of(wait)), dialled(folder) as client:
        client.send(client.headers(1), raw.data(1, message(headers(end=False))))
        await begun.wait()
        client.send(*[raw.data(1, message(body(b"x" * 16_000)))] * 4)
        assert await client.alive()
        assert not any(isinstance(each, frames.WindowUpdateFrame) and each.stream_id for each in client.got)
        client.send(raw.data(1, message(body(b"x" * 16_000))))
        assert await client.closed_with() == Code.FLOW_CONTROL_ERROR


# --- many of everything -----------------------------------------------------------------------------------------------


async def test_resets_cost_the_others_nothing(folder: Path) -> None:
    """Envoy resets each stream when it has what it needs."""
    async with serving(folder, chain_of(go_on)) as server, dialled(folder) as client:
        for stream in range(1, 4001, 2):
            client.send(client.headers(stream), raw.data(stream, message(headers())), frames.RstStreamFrame(stream, 8))
        await client.conversation(4001)
        assert await client.alive()
        assert server.streams == 1
    assert server.streams == 0


async def test_streams_are_bounded_and_so_are_those_that_ended_before_their_client(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MOST_STREAMS", 2)
    async with serving(folder, chain_of(go_on)), dialled(folder) as client:
        client.send(client.headers(1), client.headers(3, [*CALL[:5], ("content-type", "text/html")]))
        await client.until(frames.HeadersFrame, 3)
        client.send(client.headers(5))
        assert (await client.until(frames.RstStreamFrame)).error_code == Code.REFUSED_STREAM
        client.send(frames.RstStreamFrame(3, 0))
        await client.conversation(7)


async def test_connections_are_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "MOST_CONNECTIONS", 2)
    async with serving(folder, chain_of(go_on)), AsyncExitStack() as stack:
        first, _ = [await stack.enter_async_context(dialled(folder)) for _ in range(2)]
        late = await stack.enter_async_context(dialled(folder, greet=False))
        assert not await late.more()
        await first.conversation(1)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(noise=st.binary(min_size=1, max_size=400), begun=st.booleans())
def test_noise_breaks_nothing(folder: Path, noise: bytes, *, begun: bool) -> None:
    async def play() -> None:
        broken: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: broken.append(context))
        async with serving(folder, chain_of(go_on)), dialled(folder) as client, dialled(folder) as other:
            if begun:
                client.send(client.headers(1))
            client.send(noise)
            client.writer.write_eof()
            while await client.more():
                pass
            await other.conversation(1)
        assert broken == []

    asyncio.run(play())


def test_a_block_reads_alike_with_and_without_memory() -> None:
    from extproc.wire.http2.head import Heads, block

    heads, encoder = Heads(), hpack.Encoder()
    first = heads.read(encoder.encode(CALL))
    encoder.header_table_size = 0
    assert heads.read(encoder.encode(CALL)) == first == heads.read(encoder.encode(CALL))
    assert heads.read(block(first)) == first
    long = ((b"x", b"y" * 300),)
    assert hpack.Decoder().decode(block(long, b"404"), raw=True) == [(b":status", b"404"), *long]
