"""A real redis-server for tests: a free port of loopback, a directory of its own, ended by process id."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

BINARY = os.environ.get("EXTPROC_REDIS_SERVER") or shutil.which("redis-server")
"""The variable names another one, so that the same tests run on another version."""

MISSING = "redis-server is not on this machine: apt-get install redis-server"
PATIENCE = 20.0

NODES = 3
SLOTS = 16384
CLUSTER = {"cluster_enabled": "yes", "cluster_node_timeout": "1000", "cluster_require_full_coverage": "no"}


def free_port() -> int:
    """Below 55536: the nodes of a cluster also use the port that is 10,000 higher."""
    while True:
        with socket.socket() as trial:
            trial.bind(("127.0.0.1", 0))
            port = int(trial.getsockname()[1])
        if port < 55_536:
            return port


def wait_until(ready: Callable[[], bool]) -> None:
    """Ask until it is so. Raises: TimeoutError."""
    deadline = time.monotonic() + PATIENCE
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError("what was waited for did not come")
        time.sleep(0.01)


class RedisServer:
    """One server, started at once. Options are those of redis.conf."""

    def __init__(self, directory: Path, port: int | None = None, **options: str) -> None:
        self.port = port or free_port()
        self.directory = directory
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        assert BINARY is not None, MISSING
        given = {"save": "", "appendonly": "no", "bind": "127.0.0.1", **self._options}
        words = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", value)]
        argv = [BINARY, "--port", str(self.port), "--dir", str(self.directory), *words]
        with (self.directory / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_until(self._ready)
        except TimeoutError:
            self.stop()
            raise

    def _ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError((self.directory / "redis.log").read_text("utf-8", "replace"))
        return self.answers()

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
        self._process.send_signal(number)

    def stop(self) -> None:
        """At once, as a crash would. A stopped one (SIGSTOP) ends so too."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(PATIENCE)
            self._process = None


@contextmanager
def redis_server(**options: str) -> Iterator[RedisServer]:
    directory = Path(tempfile.mkdtemp(prefix="xp-redis-", dir="/tmp"))
    server = RedisServer(directory, **options)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory)


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
