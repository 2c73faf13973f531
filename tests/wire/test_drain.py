"""Going away without losing an exchange; and what the health service says meanwhile."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from extproc.core.exchange import Exchange
from extproc.core.verdict import Continue, Verdict
from extproc.wire.codec import SERVICE

from .conftest import chain_of, connected, go_on, headers, play, serving, stream

OURS = ["", "readiness", SERVICE]
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def check(channel: grpc.aio.Channel, name: str) -> Any:
    answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=name))
    return answer.status


async def test_the_names_of_the_health_service(folder: Path) -> None:
    ready = [False]
    async with serving(folder, chain_of(), ready=lambda: ready[0]), connected(folder) as channel:
        assert [await check(channel, name) for name in OURS] == [NOT_SERVING] * 3
        assert await check(channel, "liveness") == SERVING
        ready[0] = True
        assert [await check(channel, name) for name in [*OURS, "liveness"]] == [SERVING] * 4
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await check(channel, "another")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_drain_loses_nothing(folder: Path) -> None:
    asked, time_is_up, let_go = asyncio.Event(), asyncio.Event(), asyncio.Event()
    slept = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        asked.set()
        await time_is_up.wait()

    async def wait(exchange: Exchange) -> Verdict:
        if exchange.request.path == "/slow":
            begun.set()
            await let_go.wait()
        return Continue()

    begun = asyncio.Event()
    async with serving(folder, chain_of(wait), sleep=sleep) as server, connected(folder) as channel:
        slow = stream(channel)
        await slow.write(headers(**{":path": "/slow"}))
        await begun.wait()
        draining = asyncio.ensure_future(server.drain(5))
        await asked.wait()
        assert slept == [5]
        assert [await check(channel, name) for name in OURS] == [NOT_SERVING] * 3
        assert await check(channel, "liveness") == SERVING
        async with connected(folder, use_local_subchannel_pool=1) as late:
            await play(late, headers())
        time_is_up.set()
        await _refused(folder)
        let_go.set()
        assert (await slow.read()).WhichOneof("response") == "request_headers"
        await slow.done_writing()
        assert await slow.code() is grpc.StatusCode.OK
        await draining


async def _refused(folder: Path) -> None:
    """Until nobody listens any more."""
    while True:
        try:
            _, writer = await asyncio.open_unix_connection(folder / "x.sock")
        except OSError:
            return
        writer.close()
        await writer.wait_closed()


async def test_who_ends_leaves_the_socket_of_who_came_after_it(folder: Path) -> None:
    """Its place is free from when it drains, and then it is told to stop once more."""
    async with serving(folder, chain_of(go_on)) as first:
        await first.drain(0)
        async with serving(folder, chain_of(go_on)):
            await first.stop()
            async with connected(folder) as channel:
                await play(channel, headers())


async def test_one_who_watches_is_told_and_does_not_keep_the_server(folder: Path) -> None:
    async with serving(folder, chain_of(go_on)) as server, connected(folder) as channel:
        request = health_pb2.HealthCheckRequest(service="")
        watch = health_pb2_grpc.HealthStub(channel).Watch(request)
        assert (await watch.read()).status == SERVING
        await server.drain(0)
        assert (await watch.read()).status == NOT_SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await watch.read()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_watching_an_unknown_name(folder: Path) -> None:
    async with serving(folder, chain_of()), connected(folder) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="another"))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        watch.cancel()


async def test_envoys_pings_are_no_offence(folder: Path) -> None:
    """grpc-core answers the third ping without data with GOAWAY, unless told otherwise."""
    import h2.config
    import h2.connection
    import h2.events

    async with serving(folder, chain_of()):
        reader, writer = await asyncio.open_unix_connection(folder / "x.sock")
        client = h2.connection.H2Connection(h2.config.H2Configuration())
        client.initiate_connection()
        answered = 0
        for number in range(8):
            client.ping(number.to_bytes(8, "big"))
            writer.write(client.data_to_send())
            while answered <= number:
                for event in client.receive_data(await reader.read(65536)):
                    assert not isinstance(event, h2.events.ConnectionTerminated)
                    answered += isinstance(event, h2.events.PingAckReceived)
        writer.close()
        await writer.wait_closed()
    assert answered == 8
