"""The user that docs/dependencies.md has for Redis: it can count, and nothing else."""

import re
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from extproc.adapters.redis import RedisCounters
from extproc.errors import Unavailable
from extproc.ports import Algorithm, Demand
from tests.adapters.redis_server import BINARY, MISSING, RedisServer, redis_server
from tests.deploy.rendered import ROOT

pytestmark = pytest.mark.skipif(BINARY is None, reason=MISSING)

DEMANDS = [Demand(f"of {kind}".encode(), kind, 10, 60.0, 10, cost=2) for kind in Algorithm]


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """With the user, as `ACL SETUSER` takes it."""
    (line,) = re.findall(r"^user (extproc .*)$", (ROOT / "docs" / "dependencies.md").read_text(), re.MULTILINE)
    with redis_server() as server:
        assert server.command("ACL", "SETUSER", *line.replace("PASSWORD", "secret").split()) == b"+OK\r\n"
        server.command("ACL", "SETUSER", "default", "off")
        yield server


async def test_it_counts_settles_and_is_found_well(server: RedisServer) -> None:
    counters = RedisCounters(f"redis://extproc@127.0.0.1:{server.port}/0", 5.0, password=lambda: "secret")
    try:
        for used in (0, 1, 5):
            tally = await counters.take(DEMANDS)
            assert tally.admitted
            await counters.settle(DEMANDS, tally.receipt, [used] * len(DEMANDS))
        assert not (await counters.take([replace(each, cost=10) for each in DEMANDS])).admitted
        assert await counters.probe() is None
    finally:
        await counters.close()


async def test_it_reads_no_other_keys(server: RedisServer) -> None:
    url = f"redis://extproc@127.0.0.1:{server.port}/0"
    others = RedisCounters(url, 5.0, password=lambda: "secret", prefix="sessions:")
    with pytest.raises(Unavailable, match="access rules"):
        await others.take(DEMANDS)
    await others.close()


@pytest.mark.parametrize("words", ["FLUSHALL", "KEYS *", "CONFIG GET *", "DEL extproc:x", "EVAL return(1) 0", "SAVE"])
def test_it_may_do_nothing_else(server: RedisServer, words: str) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        answers = connection.makefile("rb")
        connection.sendall(f"AUTH extproc secret\r\n{words}\r\n".encode())
        assert answers.readline() == b"+OK\r\n"
        assert answers.readline().startswith(b"-NOPERM")
