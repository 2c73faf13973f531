"""What a client may do to tire the server out, or to cost the other calls something; and how it goes away unhurt by that."""

import asyncio
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hpack
import pytest
import structlog
from hyperframe import frame as frames
from hypothesis import given
from hypothesis import strategies as st

from extproc.core.exchange import Exchange
from extproc.core.phase import Phase
from extproc.core.verdict import Continue, Verdict
from extproc.wire.http2 import connection, head, outbox
from extproc.wire.http2.connection import FAREWELL
from extproc.wire.http2.frames import PREFACE, Code, Fault
from extproc.wire.http2.intake import Intake
from extproc.wire.http2.outbox import Outbox
from extproc.wire.seldom import EVERY, Seldom

from . import raw
from .conftest import body, chain_of, go_on, headers, serving
from .raw import CALL, Raw, dialled, message

NONE = [(name, "/none" if name == ":path" else value) for name, value in CALL]


# --- calls that were refused --------------------------------------------------------------------------------------------


async def test_what_was_on_its_way_on_a_refused_call_costs_the_others_nothing(folder: Path) -> None:
    malformed = [*CALL, ("connection", "close")]
    async with serving(folder, chain_of(go_on)), dialled(folder) as client:
        await client.conversation(1)
        client.send(client.headers(3, malformed), raw.data(3, message(headers())), raw.data(3, b"", "END_STREAM"))
        client.send(client.headers(5), frames.WindowUpdateFrame(5, 2**31 - 1), raw.data(5, message(headers())))
        assert (await client.until(frames.RstStreamFrame)).error_code == Code.PROTOCOL_ERROR
        assert (await client.until(frames.RstStreamFrame)).error_code == Code.FLOW_CONTROL_ERROR
        client.send(raw.data(1, message(body(b"x"))))
        await client.conversation(7)


async def test_calls_of_a_client_that_ignores_the_farewell_are_refused_and_those_before_are_served(
    folder: Path,
) -> None:
    let_go = asyncio.Event()

    async def wait(exchange: Exchange) -> Verdict:
        await let_go.wait()
        return Continue()

    async with serving(folder, chain_of(wait)) as server, dialled(folder) as client:
        client.send(client.headers(1), raw.data(1, message(headers())))
        assert await client.alive()
        draining = asyncio.ensure_future(server.drain(0))
        assert (await client.until(frames.GoAwayFrame)).last_stream_id == 2**31 - 1
        client.send(client.headers(3), raw.data(3, message(headers())))  # it was on its way
        client.send(frames.PingFrame(0, FAREWELL, flags=["ACK"]))
        assert (await client.until(frames.GoAwayFrame)).last_stream_id == 3
        client.send(client.headers(5), raw.data(5, message(headers())))
        assert (await client.until(frames.RstStreamFrame, 5)).error_code == Code.REFUSED_STREAM
        let_go.set()
        for stream in (1, 3):
            await client.answers(stream, 1)
            client.send(raw.data(stream, b"", "END_STREAM"))
            assert (await client.ended(stream))["grpc-status"] == "0"
        client.writer.close()
        await draining


@pytest.mark.parametrize(("size", "taken"), [(60 * 1024, True), (98_000, False), (1_000_000, False)])
async def test_headers_that_are_too_long_cost_their_call_alone(folder: Path, size: int, *, taken: bool) -> None:
    """A caller chooses them, where Envoy traces: it hands on his `tracestate`."""
    async with serving(folder, chain_of(go_on)), dialled(folder) as client:
        await client.conversation(1)
        client.encoder.header_table_size = 0
        client.send(*client.in_pieces(3, [*CALL, ("tracestate", "k=" + "v" * size)]))
        client.send(raw.data(3, message(headers()), "END_STREAM"))
        if taken:
            await client.answers(3, 1)
        else:
            assert (await client.until(frames.RstStreamFrame, 3)).error_code == Code.PROTOCOL_ERROR
        client.send(raw.data(1, message(body(b"x"))))
        await client.conversation(5)


# --- clients that do not read -------------------------------------------------------------------------------------------


def pings(_: Raw) -> Iterator[frames.Frame]:
    while True:
        yield frames.PingFrame(0, b"12345678")


def calls_of_nothing(client: Raw) -> Iterator[frames.Frame]:
    """Each is answered with a status."""
    for stream in count(1, 2):
        yield client.headers(stream, NONE, "END_STREAM")


async def send_for_ever(client: Raw, flood: Iterator[frames.Frame]) -> None:
    for frame in flood:
        client.send(frame)
        await client.writer.drain()


@pytest.mark.parametrize("flood", [pings, calls_of_nothing])
async def test_answers_that_nobody_reads_do_not_pile_up(
    folder: Path, monkeypatch: pytest.MonkeyPatch, flood: Callable[[Raw], Iterator[frames.Frame]]
) -> None:
    monkeypatch.setattr(outbox, "MOST_WAITING", 10_000)
    async with serving(folder, chain_of(go_on)), dialled(folder) as client, dialled(folder) as other:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        with pytest.raises(ConnectionError):
            await send_for_ever(client, flood(client))
        await other.conversation(1)


async def test_one_who_has_read_it_after_all_goes_on() -> None:
    out = Outbox(asyncio.get_running_loop())
    out.pause()
    out.send(bytes(outbox.MOST_WAITING + 1))
    out.resume()
    out.check()


async def test_one_who_ends_his_half_and_reads_nothing_is_not_waited_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def wait(exchange: Exchange) -> Verdict:
        if exchange.request.path == "/big":
            return Continue(set_headers={"x-big": "x" * 60_000})
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return Continue()

    async with serving(folder, chain_of(wait)) as server, dialled(folder) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.send(raw.settings(INITIAL_WINDOW_SIZE=2**31 - 1), frames.WindowUpdateFrame(0, 2**30))
        for stream in range(1, 80, 2):
            client.send(client.headers(stream), raw.data(stream, message(headers(**{":path": "/big"}))))
        client.send(client.headers(101), raw.data(101, message(headers())))
        await begun.wait()
        client.writer.write_eof()
        await asyncio.wait_for(ended.wait(), 5)
        while server.streams:  # noqa: ASYNC110 - turns of the loop, nothing tells of it
            await asyncio.sleep(0)


# --- bytes --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", range(1, len(PREFACE)))
def test_the_preface_may_come_in_pieces(cut: int) -> None:
    pings: list[bytes] = []
    intake = Intake({6: lambda _, __, payload: pings.append(payload)})
    for piece in (PREFACE[:cut], PREFACE[cut:] + frames.PingFrame(0, b"12345678").serialize()):
        intake.feed(piece)
    assert pings == [b"12345678"]


async def test_nothing_is_heard_after_a_fault() -> None:
    """Under TLS what was decrypted before the end still comes."""
    served: list[int] = []

    async def serve(stream: Any) -> None:
        served.append(stream.number)

    closed: list[bytes] = []

    class Wire(asyncio.Transport):
        def write(self, data: Any) -> None:
            closed.append(data)

        def close(self) -> None:
            closed.append(b"closed")

    encoder = hpack.Encoder()
    call = frames.HeadersFrame(1, encoder.encode(CALL), flags=["END_HEADERS"]).serialize()
    made = connection.Connection(serve, 1000, lambda _: None)
    made.connection_made(Wire())
    made.data_received(PREFACE + frames.PushPromiseFrame(1, 2, b"").serialize())
    assert closed.pop() == b"closed"
    before = len(closed)
    made.data_received(call)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    made.connection_lost(None)
    assert (served, len(closed)) == ([], before)
    assert made.fault is not None


async def test_streams_that_wait_for_the_connections_window_are_served_in_turn() -> None:
    woken: list[int] = []

    class Waiting:
        def __init__(self, number: int, window: int) -> None:
            self.number, self.window = number, window

        def wake(self) -> None:
            woken.append(self.number)

        async def pause(self) -> None:
            await asyncio.Event().wait()

    out = Outbox(asyncio.get_running_loop())
    tasks = [asyncio.ensure_future(out.wait_for_room(Waiting(*each))) for each in ((1, 9), (3, 9), (5, 0), (7, 9))]
    await asyncio.sleep(0)
    for _ in range(100):
        out.widen(1)
    assert woken == [1, 3, 7]  # once; and the one whose own window is used up waits for that
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_a_large_answer_is_written_once() -> None:
    """Put together piece by piece, 16 MiB keep the loop for seconds."""
    written: list[int] = []

    class Wire(asyncio.Transport):
        def write(self, data: Any) -> None:
            written.append(len(data))

    out, stream = Outbox(asyncio.get_running_loop()), SimpleNamespace(number=1, window=2**30)
    out.open(Wire())
    out.widen(2**30)
    before = time.process_time()
    out.send_data(stream, bytes(2**24))  # type: ignore[arg-type]
    assert time.process_time() - before < 1
    await asyncio.sleep(0)
    assert written == [2**24 + 2**10 * 9]


# --- blocks -------------------------------------------------------------------------------------------------------------

FIELDS = st.lists(st.tuples(st.binary(max_size=200), st.binary(max_size=600)), min_size=1, max_size=6)


def outcome(read: Callable[[bytes], Any], block: bytes) -> Any:
    try:
        return read(block)
    except Fault as fault:
        return fault.code


@given(
    fields=FIELDS, known=st.booleans(), huffman=st.booleans(), noise=st.none() | st.tuples(st.integers(0), st.binary())
)
def test_a_block_read_by_field_reads_as_a_whole(
    fields: list[tuple[bytes, bytes]], *, known: bool, huffman: bool, noise: tuple[int, bytes] | None
) -> None:
    encoder = hpack.Encoder()
    encoder.header_table_size = 0
    block = encoder.encode([*(CALL if known else ()), *fields], huffman=huffman)
    if noise:
        at = noise[0] % len(block)
        block = block[:at] + noise[1] + block[at + 1 :]
    assert outcome(head._known, block) == outcome(head._alone, block)


def test_calls_that_are_traced_cost_one_field_each() -> None:
    encoder = hpack.Encoder()
    encoder.header_table_size = 0
    encoder.encode(CALL)
    head._field.cache_clear()
    for number in range(2000):
        head._known(encoder.encode([*CALL, ("traceparent", f"00-{number:032x}-{number:016x}-01")]))
    assert head._field.cache_info().misses == len(CALL) + 2000


def test_the_last_of_many_settings_counts() -> None:
    async def play() -> None:
        resized: list[int] = []
        made = connection.Connection(lambda _: asyncio.sleep(0), 1000, lambda _: None)
        made._resize = resized.append  # type: ignore[method-assign]
        many = b"".join(b"\0\4" + (70_000 + each).to_bytes(4, "big") for each in range(2000))
        made.data_received(PREFACE + len(many).to_bytes(3, "big") + b"\4\0\0\0\0\0" + many)
        made.connection_lost(None)
        assert resized == [71_999 - 65_535]

    asyncio.run(play())


# --- the log ------------------------------------------------------------------------------------------------------------


def test_who_knocks_often_does_not_fill_the_log() -> None:
    now = [5.0]
    told = Seldom(lambda: now[0])
    with structlog.testing.capture_logs() as logs:
        for _ in range(1000):
            told.warning("knocked", why="a")
        told.warning("another")
        now[0] += EVERY
        told.warning("knocked", why="b")
    assert [(each["event"], each.get("left_out")) for each in logs] == [
        ("knocked", None),
        ("another", None),
        ("knocked", 999),
    ]


# --- cancellations ------------------------------------------------------------------------------------------------------


async def test_a_task_that_somebody_cancels_ends_its_call_with_an_error(folder: Path) -> None:
    async with serving(folder, chain_of(go_on)) as server, dialled(folder) as client:
        before = asyncio.all_tasks()
        await client.conversation(1)
        [task] = asyncio.all_tasks() - before
        task.cancel()
        assert (await client.ended(1))["grpc-status"] == "13"
        assert server.streams == 0


def test_a_client_that_goes_away_at_any_point_leaves_nothing(folder: Path) -> None:
    async def slow(exchange: Exchange) -> Verdict:
        await asyncio.sleep(0)
        return Continue(body=b"x" * 300_000)

    async def play() -> None:
        broken: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: broken.append(context))
        async with serving(folder, chain_of(slow, phase=Phase.REQUEST_BODY)) as server:
            for turns in range(12):
                async with dialled(folder) as client:
                    for stream in range(1, 20, 2):
                        client.send(client.headers(stream), raw.data(stream, message(headers(end=False, body_mode=2))))
                        client.send(raw.data(stream, message(body(b"?"))))
                        for _ in range(turns):
                            await asyncio.sleep(0)
                        client.send(frames.RstStreamFrame(stream, 8))
                    if turns % 2:
                        client.writer.transport.abort()
                    else:
                        assert await client.alive()
                        assert server.streams == 0
            while server.streams:  # noqa: ASYNC110 - turns of the loop, nothing tells of it
                await asyncio.sleep(0)
        assert broken == []
        assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []

    asyncio.run(play())
