"""A redis-server of the bench's own."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.gateway import free_ports
from bench.process import running


@dataclass(frozen=True)
class Redis:
    url: str
    pid: int


@contextmanager
def redis_server(directory: Path) -> Iterator[Redis]:
    """It keeps nothing, and ends with the block."""
    (port,) = free_ports(1)
    argv = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(directory)]
    with running(argv, directory / "redis.log") as pid:
        yield Redis(f"redis://127.0.0.1:{port}/0", pid)
