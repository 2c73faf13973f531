"""What is compared: who answers Envoy, and what it does."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from bench.process import running
from bench.tools import BASELINE, built


class Server(StrEnum):
    GO = "Go"
    CONSTANT = "grpc.aio"
    HTTP2 = "extproc, http2"
    ENVOY = "extproc, envoy"
    INSIDE = "extproc, in-process"


OURS = (Server.HTTP2, Server.ENVOY, Server.INSIDE)


@dataclass(frozen=True)
class Leg:
    """`config` is a configuration of `configs`, which also says how Envoy is set up; `redis`: its counters are in Redis; the Go
    server has all cores, `workers` of ours have one each.
    """

    server: Server
    does: str
    config: str
    redis: bool = False
    workers: int = 1

    @property
    def who(self) -> str:
        return f"{self.server}, {self.workers} workers" if self.workers > 1 else str(self.server)

    @property
    def name(self) -> str:
        return f"{self.who}: {self.does}"


GO_NOTHING = Leg(Server.GO, "nothing", "nothing")
GO_HEADER = Leg(Server.GO, "one header", "header")
CONSTANT = Leg(Server.CONSTANT, "a constant", "nothing")


def ours(server: Server, *, whole: bool) -> tuple[Leg, ...]:
    """The legs of our server on one transport; the `whole` of them, or what the targets speak of."""
    more = Leg(server, "nothing", "nothing"), four_in_memory(server)
    return (*by_workers(header(server)), *by_workers(four(server)), *(more if whole else ()))


def header(server: Server) -> Leg:
    return Leg(server, "one header", "header")


def four(server: Server) -> Leg:
    return Leg(server, "four filters, Redis", "four", redis=True)


def by_workers(leg: Leg) -> tuple[Leg, ...]:
    """With one worker, and with two: the Go server uses all cores that there are. In-process there are no workers."""
    return (leg,) if leg.server is Server.INSIDE else (leg, replace(leg, workers=2))


def four_in_memory(server: Server) -> Leg:
    return Leg(server, "four filters", "four")


def every(servers: Sequence[Server], *, whole: bool) -> tuple[Leg, ...]:
    return (GO_NOTHING, GO_HEADER, CONSTANT, *(leg for server in servers for leg in ours(server, whole=whole)))


@contextmanager
def serving(leg: Leg, directory: Path, config: Path, *, workers: int = 1) -> Iterator[int | None]:
    """The server of `leg` on `extproc.sock` in `directory`; its process id, or None if it is in Envoy's process. Several
    workers are ours alone: each has a socket of its own.
    """
    if leg.server is Server.INSIDE:
        yield None
        return
    command = _command(leg, directory / "extproc.sock", config)
    more = ["--workers", str(workers)] if workers > 1 else []
    with running([*command, *more], directory / "server.log") as pid:
        yield pid


def _command(leg: Leg, socket: Path, config: Path) -> list[str]:
    serve = [sys.executable, "-m", "extproc", "serve", "--config", str(config)]
    header = ["-header"] if leg.config == "header" else []
    return {
        Server.GO: [str(built(BASELINE)), "-socket", str(socket), *header],
        Server.CONSTANT: [sys.executable, "-m", "bench.constant", str(socket)],
        Server.HTTP2: serve,
        Server.ENVOY: [*serve, "--transport", "envoy"],
    }[leg.server]
