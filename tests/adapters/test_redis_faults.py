"""Redis down, silent, full, or somebody else: Unavailable in time, then at once, and well again by itself."""

import asyncio
import gc
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from redis.crc import key_slot

from extproc.adapters.breaker import State
from extproc.adapters.redis import RedisCounters
from extproc.adapters.redis_cluster import MOST_NODES
from extproc.adapters.redis_node import MOST_WAITING
from extproc.errors import ConfigError, Unavailable
from extproc.ports import Algorithm, Demand
from tests.adapters.redis_server import BINARY, MISSING, RedisServer, free_port, redis_server
from tests.certificates import Authority
from tests.e2e.processes import short_directory
from tests.faults.background import Background
from tests.faults.proxy import Mode, Proxy

needs_redis = pytest.mark.skipif(BINARY is None, reason=MISSING)
DEMAND = Demand(b"c", Algorithm.SLIDING_WINDOW, 1000, 60.0, 1000)
TIMEOUT = 0.1
SLACK = 0.4
"""Seconds that a busy machine may add to a timeout."""


@asynccontextmanager
async def open_counters(url: str, seconds: float = TIMEOUT, **options: object) -> AsyncIterator[RedisCounters]:
    counters = RedisCounters(url, seconds, **{"cooldown": 0.2, **options})
    try:
        yield counters
    finally:
        await counters.close()


@asynccontextmanager
async def answering(reply: bytes) -> AsyncIterator[tuple[str, list[int]]]:
    """A server that says `reply` to whatever is written to it, or nothing. With how many connections it had."""
    had: list[int] = []
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        had.append(len(had))
        writers.append(writer)
        while await reader.read(65536):
            writer.write(reply)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", had
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await asyncio.sleep(0)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as started:
        yield started


async def refused(counters: RedisCounters) -> str:
    """The text of the failure, which comes in time."""
    began = time.monotonic()
    with pytest.raises(Unavailable) as told:
        await counters.take([DEMAND])
    assert time.monotonic() - began < TIMEOUT + SLACK
    return str(told.value)


async def well_again(counters: RedisCounters, wanted: Demand = DEMAND) -> None:
    """Bounded: raises what the last take raised."""
    for _ in range(200):
        try:
            await counters.take([wanted])
        except Unavailable:
            await asyncio.sleep(0.02)
        else:
            return
    await counters.take([wanted])


async def test_nobody_listens() -> None:
    async with open_counters(f"redis://127.0.0.1:{free_port()}") as counters:
        texts = [await refused(counters) for _ in range(8)]
    assert all("no connection" in text for text in texts[:5])
    assert "failed 5 times in a row" in texts[5]
    assert counters.state is not State.CLOSED


async def test_who_accepts_and_never_answers_costs_each_its_timeout_and_no_more() -> None:
    async with answering(b"") as (url, had), open_counters(url, cooldown=60) as counters:
        began = time.monotonic()
        results = await asyncio.gather(*(counters.take([DEMAND]) for _ in range(500)), return_exceptions=True)
        assert time.monotonic() - began < TIMEOUT + SLACK
        assert all(isinstance(result, Unavailable) for result in results)
        while counters.state is State.CLOSED:
            await refused(counters)
        began = time.monotonic()
        for _ in range(200):
            await refused(counters)
        assert time.monotonic() - began < 200 * TIMEOUT / 10
    assert len(had) <= 12


async def test_what_waits_is_bounded() -> None:
    async with answering(b"") as (url, _), open_counters(url) as counters:
        asked = (counters.take([DEMAND]) for _ in range(MOST_WAITING + 10))
        results = await asyncio.gather(*asked, return_exceptions=True)
    assert sum("are waiting already" in str(result) for result in results) == 10


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        (b"-LOADING Redis is loading the dataset in memory\r\n", "loading its data"),
        (b"-READONLY You can't write against a read only replica.\r\n", "takes no writes"),
        (b"-OOM command not allowed when used memory > 'maxmemory'.\r\n", "out of memory"),
        (b"-ERR Error running script (call to f_0): @user_script:1: -OOM command not allowed\r\n", "out of memory"),
        (b"-MISCONF Redis is configured to save RDB snapshots\r\n", "cannot save"),
        (b"-NOREPLICAS Not enough good replicas to write.\r\n", "too few replicas"),
        (b"-BUSY Redis is busy running a script.\r\n", "busy with somebody's script"),
        (b"-NOAUTH Authentication required.\r\n", "wants a password"),
        (b"-NOPERM User hunter2 has no permissions\r\n", "access rules"),
        (b"-CLUSTERDOWN The cluster is down\r\n", "cluster is down"),
        (b"-MASTERDOWN Link with MASTER is down\r\n", "link to the master"),
        (b"-TRYAGAIN Multiple keys request during rehashing\r\n", "refuses the call (TRYAGAIN)"),
        (b"-ERR hunter2\r\n", "refuses the call (ERR)"),
        (b"-WRONGTYPE Operation against a key hunter2\r\n", "refuses the call (WRONGTYPE)"),
        (b"-NOSCRIPT No matching script.\r\n" * 6, "sent elsewhere"),
        (b"hunter2 is not Redis\r\n", "no connection"),
        (b"+OK\r\n", "no answer that a script gives"),
        (b"*1\r\n:1\r\n", "no answer that a script gives"),
        (b"$-1\r\n", "no answer that a script gives"),
    ],
)
async def test_every_refusal_is_unavailable_and_says_why(reply: bytes, sentence: str) -> None:
    async with answering(reply) as (url, _), open_counters(url) as counters:
        text = await refused(counters)
    assert sentence in text
    assert "hunter2" not in text


async def test_a_cluster_that_only_sends_on_is_not_followed_for_ever() -> None:
    port = free_port()
    moved = f"-MOVED 866 127.0.0.1:{port}\r\n".encode()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            writer.write(moved)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    async with open_counters(f"redis://127.0.0.1:{port}") as counters:
        assert "sent elsewhere" in await refused(counters)
    server.close()


async def test_nodes_that_come_and_go_are_not_collected() -> None:
    """A cluster whose pods get new addresses for months. Nobody listens on these ports."""
    ports = iter(range(1, 1000))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            writer.write(f"-MOVED {key_slot(b'-')} 127.0.0.1:{next(ports)}\r\n".encode())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with open_counters(url, 5.0) as counters:
        for _ in range(2 * MOST_NODES):
            assert "no connection" in await refused(counters)
        assert len(counters._servers._nodes) <= MOST_NODES
    server.close()


@needs_redis
async def test_it_starts_without_redis_and_finds_it_later(server: RedisServer) -> None:
    server.stop()
    async with open_counters(server.url) as counters:
        assert "no connection" in str(await counters.probe())
        for _ in range(6):
            await refused(counters)
        server.start()
        await well_again(counters)
        assert counters.state is State.CLOSED
        assert await counters.probe() is None


@needs_redis
async def test_a_restart_between_two_takes_is_not_noticed(server: RedisServer) -> None:
    """The connection that the old one closed is not used."""
    async with open_counters(server.url, 5.0) as counters:
        await counters.take([DEMAND])
        server.stop()
        server.start()
        await asyncio.sleep(0.01)
        assert (await counters.take([DEMAND])).admitted


@needs_redis
async def test_a_stopped_redis_is_not_waited_for_and_found_again(server: RedisServer) -> None:
    async with open_counters(server.url) as counters:
        await counters.take([DEMAND])
        server.signal(signal.SIGSTOP)
        texts = [await refused(counters) for _ in range(8)]
        server.signal(signal.SIGCONT)
        await well_again(counters)
    assert "no answer in time" in texts[0]
    assert "in a row" in texts[-1]


@needs_redis
async def test_a_take_that_timed_out_may_be_charged_and_is_never_free(server: RedisServer) -> None:
    """It was written before the time was up, and Redis counts it when it goes on: the safe side."""
    one = Demand(b"c", Algorithm.SLIDING_WINDOW, 2, 60.0, 2)
    async with open_counters(server.url, failures=100) as counters:
        await counters.take([one])
        server.signal(signal.SIGSTOP)
        with pytest.raises(Unavailable):
            await counters.take([one])
        server.signal(signal.SIGCONT)
        await asyncio.sleep(0.1)
        assert not (await counters.take([one])).admitted


@needs_redis
@pytest.mark.parametrize("algorithm", Algorithm)
@pytest.mark.parametrize(("first", "second"), [(30, 0), (0, 30), (90, 90), (0, 0)])
async def test_a_settling_without_an_answer_is_made_at_most_once(
    server: RedisServer, algorithm: Algorithm, first: int, second: int
) -> None:
    """It was written before the time was up, and Redis makes it when it goes on. The receipt is used up all the same."""
    wanted = Demand(b"c", algorithm, 1000, 600.0, 1000, cost=60)
    asked = replace(wanted, cost=0)
    async with open_counters(server.url, failures=100) as counters:
        tallies = [await counters.take([wanted]) for _ in range(3)]
        server.signal(signal.SIGSTOP)
        with pytest.raises(Unavailable):
            await counters.settle([wanted], tallies[-1].receipt, [first])
        server.signal(signal.SIGCONT)
        await well_again(counters, asked)
        await counters.settle([wanted], tallies[-1].receipt, [second])
        assert (await counters.take([asked])).levels[0].remaining == 1000 - 120 - first


@needs_redis
async def test_a_settling_that_never_arrived_leaves_what_was_taken(server: RedisServer) -> None:
    wanted = Demand(b"c", Algorithm.SLIDING_WINDOW, 1000, 600.0, 1000, cost=60)
    asked = replace(wanted, cost=0)
    async with open_counters(server.url, failures=1, cooldown=0.05) as counters:
        tally = await counters.take([wanted])
        server.signal(signal.SIGSTOP)
        with pytest.raises(Unavailable):
            await counters.take([asked])  # opens the breaker
        with pytest.raises(Unavailable, match="left alone"):
            await counters.settle([wanted], tally.receipt, [0])
        server.signal(signal.SIGCONT)
        await well_again(counters, asked)
        await counters.settle([wanted], tally.receipt, [0])
        assert (await counters.take([asked])).levels[0].remaining == 940


@needs_redis
async def test_scripts_that_were_flushed_are_loaded_again(server: RedisServer) -> None:
    async with open_counters(server.url, 5.0) as counters:
        for _ in range(3):
            server.command("SCRIPT", "FLUSH")
            assert all(tally.admitted for tally in await asyncio.gather(*(counters.take([DEMAND]) for _ in range(5))))
        assert (await counters.take([DEMAND])).levels[0].remaining == 1000 - 16


@needs_redis
async def test_out_of_memory_takes_nothing(server: RedisServer) -> None:
    async with open_counters(server.url, 5.0, failures=100) as counters:
        await counters.take([DEMAND])
        server.command("CONFIG", "SET", "maxmemory", "1")
        assert "out of memory" in await refused(counters)
        assert "out of memory" in str(await counters.probe())
        server.command("CONFIG", "SET", "maxmemory", "0")
        assert (await counters.take([DEMAND])).levels[0].remaining == 998


@needs_redis
async def test_a_redis_that_is_loading_is_waited_for_by_nobody() -> None:
    """A millisecond for each of 600 keys of 40 KB; every 2 MB it tells who asks that it is loading."""
    with redis_server(key_load_delay="1000", rdbcompression="no") as server:
        server.command("EVAL", "for n = 1, 600 do redis.call('SET', n, string.rep(redis.sha1hex(n), 1000)) end", "0")
        server.command("SAVE")
        server.stop()
        server.start()
        async with open_counters(server.url, failures=100) as counters:
            assert "loading its data" in await refused(counters)
            assert "loading its data" in str(await counters.probe())
            await well_again(counters)


@needs_redis
async def test_a_socket_will_do() -> None:
    with short_directory() as directory, redis_server(unixsocket=str(directory / "redis")):
        async with open_counters(f"unix://{directory}/redis", 5.0) as counters:
            assert (await counters.take([DEMAND])).admitted


@needs_redis
async def test_tls_is_verified(tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "another authority")
    issued, port = authority.issue("127.0.0.1"), free_port()
    tls = {"tls_port": str(port), "tls_cert_file": str(issued.cert), "tls_key_file": str(issued.key),
           "tls_ca_cert_file": str(authority.file), "tls_auth_clients": "no"}  # fmt: skip
    with ExitStack() as stack:
        try:
            server = stack.enter_context(redis_server(**tls))
        except RuntimeError as error:
            if "tls-port" in str(error):
                pytest.skip("this redis-server was built without TLS")
            raise
        where = f"rediss://127.0.0.1:{port}/1?ssl_ca_certs="
        async with open_counters(f"{where}{authority.file}", 5.0) as counters:
            assert (await counters.take([DEMAND])).admitted
        async with open_counters(f"{where}{stranger.file}", 5.0) as counters:
            assert "certificate is not accepted: self-signed certificate in certificate chain" in await refused(
                counters
            )
        assert b"db1:keys=1" in server.command("INFO", "keyspace")


@needs_redis
async def test_a_replica_is_refused_until_it_is_promoted(server: RedisServer) -> None:
    async with open_counters(server.url, 5.0, failures=100) as counters:
        await counters.take([DEMAND])
        server.command("REPLICAOF", "127.0.0.1", str(free_port()))
        assert "takes no writes" in await refused(counters)
        server.command("REPLICAOF", "NO", "ONE")
        assert (await counters.take([DEMAND])).admitted


@needs_redis
async def test_passwords_are_asked_for_and_told_to_nobody(caplog: pytest.LogCaptureFixture) -> None:
    with redis_server(requirepass="hunter2") as server:
        passwords = iter(["hunter1", "hunter2"])
        where = f"127.0.0.1:{server.port}/0"
        async with open_counters(f"redis://:hunter3@{where}", 5.0, password=lambda: next(passwords)) as counters:
            texts = [await refused(counters), repr(counters), str(await counters.probe())]
            assert (await counters.take([DEMAND])).admitted
        async with open_counters(f"redis://{where}", 5.0) as counters:
            texts.append(await refused(counters))
    assert "refuses the user name or the password" in texts[0]
    assert "wants a password" in texts[-1]
    assert "hunter" not in "".join([*texts, caplog.text])


@pytest.mark.parametrize(
    "read", [lambda: b"hunter2\xff".decode(), lambda: "hunter2\udcff", lambda: Path("/nowhere/hunter2").read_text()]
)
async def test_a_password_that_cannot_be_sent_is_told_to_nobody(
    read: Callable[[], str], caplog: pytest.LogCaptureFixture
) -> None:
    """A file in Latin-1, a variable of any bytes, no file: the password is in Python's error, and that must not be in a log."""
    async with answering(b"") as (url, _), open_counters(url, password=read) as counters:
        texts = [await refused(counters) for _ in range(6)]
    gc.collect()  # a task whose error nobody took is told of then
    assert "its password cannot be read, or is not UTF-8" in texts[0]
    assert "failed 5 times in a row" in texts[5]
    assert "hunter" not in "".join([*texts, caplog.text])


@pytest.mark.parametrize(
    "url",
    ["", "hunter2", "http://:hunter2@127.0.0.1", "redis://127.0.0.1:hunter2", "redis://127.0.0.1?hunter2=1", "unix://",
     "redis://:hunter2@127.0.0.1?db=hunter2", "redis://127.0.0.1/hunter2"],
)  # fmt: skip
async def test_an_address_that_is_none_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigError) as told:
        RedisCounters(url)
    assert "wanted is redis://HOST:PORT" in str(told.value)
    assert "hunter2" not in str(told.value)


@needs_redis
async def test_a_caller_who_leaves_breaks_nothing(server: RedisServer) -> None:
    async with open_counters(server.url, 5.0, connections=1) as counters:
        for _ in range(20):
            tasks = [asyncio.create_task(counters.take([DEMAND])) for _ in range(10)]
            await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert [isinstance(result, asyncio.CancelledError) for result in results] == [True, False] * 5
        assert len(server.command("CLIENT", "LIST").splitlines()) <= 5


@needs_redis
async def test_closing_ends_every_wait(server: RedisServer) -> None:
    counters = RedisCounters(server.url, 5.0)
    server.signal(signal.SIGSTOP)
    tasks = [asyncio.create_task(counters.take([DEMAND])) for _ in range(300)]
    await asyncio.sleep(0)
    await counters.close()
    server.signal(signal.SIGCONT)
    results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 2)
    assert all(isinstance(result, Unavailable) and "closed" in str(result) for result in results)
    with pytest.raises(Unavailable, match="closed"):
        await counters.take([DEMAND])


@needs_redis
def test_a_reset_while_idle_is_an_outage_at_once() -> None:
    """A call must not wait for it until its caller gives up."""

    async def reset_and_take(port: int, proxy: Proxy) -> None:
        counters = RedisCounters(f"redis://127.0.0.1:{port}/0", 0.5)
        demand = Demand(b"reset", Algorithm.FIXED_WINDOW, 10, 60.0, 10)
        assert (await counters.take([demand])).admitted
        proxy.become(Mode.REFUSE)
        await asyncio.sleep(0.05)  # the reset arrives
        with pytest.raises(Unavailable):
            await asyncio.wait_for(counters.take([demand]), 2)
        await counters.close()

    with redis_server() as server:
        background = Background()
        proxy = Proxy(background, server.port)
        try:
            asyncio.run(reset_and_take(proxy.port, proxy))
        finally:
            proxy.close()
            background.stop()
