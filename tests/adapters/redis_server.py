"""A real redis-server for tests: a free port of loopback, a directory of its own, ended by process id."""

import os
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.e2e import processes
from tests.e2e.processes import PATIENCE, Process, short_directory, wait_until

BINARY = os.environ.get("EXTPROC_REDIS_SERVER") or shutil.which("redis-server")
"""The variable names another one, so that the same tests run on another version."""

MISSING = "redis-server is not on this machine: apt-get install redis-server"

NODES = 3
SLOTS = 16384
CLUSTER = {"cluster_enabled": "yes", "cluster_node_timeout": "1000", "cluster_require_full_coverage": "no"}


def free_port() -> int:
    """Below 55536: the nodes of a cluster also use the port that is 10,000 higher."""
    while (port := processes.free_port()) >= 55_536:
        pass
    return port


class RedisServer:
    """One server, started at once. Options are those of redis.conf."""

    def __init__(self, directory: Path, port: int | None = None, **options: str) -> None:
        self.port = port or free_port()
        self.directory = directory
        self._options = options
        self._process: Process | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        assert BINARY is not None, MISSING
        given = {"save": "", "appendonly": "no", "bind": "127.0.0.1", **self._options}
        words = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", value)]
        argv = [BINARY, "--port", str(self.port), "--dir", str(self.directory), *words]
        self._process = Process(argv, self.directory / "redis.log")
        try:
            self._process.wait_until(self.answers)
        except BaseException:
            self.stop()
            raise

    def answers(self) -> bool:
        try:
            return self.command("PING").startswith((b"+PONG", b"-NOAUTH", b"-LOADING"))
        except OSError:
            return False

    def command(self, *words: str) -> bytes:
        """One command on a connection of its own; the first bytes of the reply."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as connection:
            connection.sendall(
                b"".join([b"*%d\r\n" % len(words), *(b"$%d\r\n%b\r\n" % (len(w), w) for w in map(str.encode, words))])
            )
            return connection.recv(65536)

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.popen.send_signal(number)

    def stop(self) -> None:
        """At once, as a crash would. A stopped one (SIGSTOP) ends so too."""
        if self._process is not None:
            self._process.stop(signal.SIGKILL)
            self._process = None


@contextmanager
def redis_server(**options: str) -> Iterator[RedisServer]:
    with short_directory() as directory:
        server = RedisServer(directory, **options)
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def redis_cluster() -> Iterator[list[RedisServer]]:
    """Three masters, each with its third of the slots, in order."""
    with ExitStack() as stack:
        nodes = [stack.enter_context(redis_server(**CLUSTER)) for _ in range(NODES)]
        for number, node in enumerate(nodes):
            first, last = number * SLOTS // NODES, (number + 1) * SLOTS // NODES - 1
            _told(node, "CLUSTER", *_add_slots(node, first, last))
            _told(node, "CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
        for node in nodes[1:]:
            _told(node, "CLUSTER", "MEET", "127.0.0.1", str(nodes[0].port))
        wait_until(lambda: all(map(_complete, nodes)))
        yield nodes


def _told(node: RedisServer, *words: str) -> None:
    answer = node.command(*words)
    assert answer == b"+OK\r\n", answer


def _add_slots(node: RedisServer, first: int, last: int) -> list[str]:
    """Redis 7 takes slots by their range."""
    if b"redis_version:6" in node.command("INFO", "server"):
        return ["ADDSLOTS", *map(str, range(first, last + 1))]
    return ["ADDSLOTSRANGE", str(first), str(last)]


def _complete(node: RedisServer) -> bool:
    told = node.command("CLUSTER", "INFO")
    return b"cluster_state:ok" in told and b"cluster_slots_ok:%d" % SLOTS in told
