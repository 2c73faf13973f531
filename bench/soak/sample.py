"""How it stands with a server: from outside by what the kernel says of its processes, from inside by what it tells itself."""

import asyncio
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, UnixConnector

from bench.process import cpu_seconds, memory, tree
from bench.soak import lines
from bench.soak.inside import OBJECTS, TASKS
from bench.soak.talk import Line

INSIDE = lines.opening(host="inside.example")
PATIENCE = 15.0
"""Seconds in which what is over must have been cleared away."""

POLL = 0.1
SCRAPE = 1.0
SLACK = 8
"""How many more descriptors, tasks or threads are no leak: a pool has made one that it had not needed before. What is left
behind by a hundredth of a million exchanges would be ten thousand.
"""

LOOKS = 15
"""Samples of a server that has nothing to do, for its base."""


@dataclass(frozen=True)
class Sample:
    """`exchanges` were there before; `rss` and `peak` in MB, of all its processes; `objects` are those of Python that the
    collector looks through; `configurations` those that exchanges may still be of. `cpu` are
    seconds of processor time until then.
    """

    exchanges: int
    rss: float
    peak: float
    descriptors: int
    threads: int
    streams: int
    tasks: int
    objects: int
    configurations: int
    cpu: float

    def held(self, base: "Sample") -> bool:
        """Whether nothing is open that was not open then, but for a few connections and threads towards dependencies."""
        return not self.streams and not self.more(base)

    def more(self, base: "Sample") -> list[str]:
        """What there is more of than then."""
        counted = ("descriptors", "tasks", "threads")
        return [name for name in counted if getattr(self, name) > getattr(base, name) + SLACK]


@dataclass(frozen=True)
class Watcher:
    """Of the server with this process id, its admin socket, and a line to it."""

    pid: int
    admin: Path
    line: Line

    async def take(self, exchanges: int) -> Sample:
        status = await self.status()
        with self.line.talk() as talk:
            told = (await talk.ask(INSIDE)).immediate_response.headers.set_headers
        inside = {each.header.key: int(each.header.raw_value) for each in told if each.header.key in (TASKS, OBJECTS)}
        pids = tree(self.pid)
        states = [_state(pid) for pid in pids]
        return Sample(
            exchanges,
            memory(self.pid).rss,
            sum(state["VmHWM"] for state in states) / 1000,
            sum(map(_descriptors, pids)),
            sum(state["Threads"] for state in states),
            status["streams"],
            inside[TASKS],
            inside[OBJECTS],
            status["configuration"]["inUse"],
            cpu_seconds(self.pid),
        )

    async def idle(self, exchanges: int) -> Sample:
        """With the most of everything that is there for a while when nothing is under way: what looks around now and then is no
        leak.
        """
        found = [await self.take(exchanges)]
        while len(found) < LOOKS or found[-1].streams:
            await asyncio.sleep(POLL)
            found.append(await self.take(exchanges))
            if len(found) > PATIENCE / POLL:
                break
        most = {name: max(getattr(each, name) for each in found) for name in ("descriptors", "tasks", "threads")}
        return replace(found[-1], **most)

    async def settled(self, exchanges: int, base: Sample) -> Sample:
        """Once all is back to `base`, or PATIENCE is over."""
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while not (found := await self.take(exchanges)).held(base):
            if asyncio.get_running_loop().time() > deadline:
                break
            await asyncio.sleep(POLL)
        return found

    async def status(self) -> dict[str, Any]:
        """What the admin port says."""
        found: dict[str, Any] = json.loads(await self.get("/status"))
        return found

    async def get(self, path: str) -> bytes:
        """What the admin port has at this path."""
        async with (
            ClientSession(connector=UnixConnector(str(self.admin))) as session,
            session.get(f"http://localhost{path}") as response,
        ):
            return await response.read()

    async def scrape(self) -> None:
        """As Prometheus does, and more often, until cancelled."""
        while True:
            await self.get("/metrics")
            await asyncio.sleep(SCRAPE)


def _descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _state(pid: int) -> dict[str, int]:
    """The numbers of proc(5), status: sizes in kB."""
    told = (line.partition(":") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {name: int(value.split()[0]) for name, _, value in told if name in ("VmHWM", "Threads")}
