"""What the stub remembers between requests: what came, who is waiting, what was given to it, what has failed once."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from aiohttp import web

from extproc.stub.received import Received, Recorder

MOST: Final = 1000
T = TypeVar("T")


class Recent(Generic[T]):
    """The values last made, by name; the oldest make room."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make, self._values = make, OrderedDict[str, T]()

    def __getitem__(self, name: str) -> T:
        if name not in self._values:
            self[name] = self._make()
        return self._values[name]

    def __setitem__(self, name: str, value: T) -> None:
        self._values[name] = value
        while len(self._values) > MOST:
            self._values.popitem(last=False)

    def __contains__(self, name: object) -> bool:
        return name in self._values


def _gate() -> asyncio.Semaphore:
    return asyncio.Semaphore(0)


@dataclass(frozen=True, slots=True)
class Transcript:
    """An answer given beforehand."""

    media: str
    body: bytes


def _no_transcript() -> Transcript:
    raise web.HTTPBadRequest(text="no transcript has this name: PUT it to /__transcripts/<name> first")


@dataclass(frozen=True, slots=True)
class Memory:
    recorder: Recorder
    gates: Recent[asyncio.Semaphore] = field(default_factory=lambda: Recent(_gate))
    transcripts: Recent[Transcript] = field(default_factory=lambda: Recent(_no_transcript))
    failed: Recent[bool] = field(default_factory=lambda: Recent(bool))


MEMORY: Final = web.AppKey("memory", Memory)


async def record(request: web.Request) -> Received:
    """The request, which is remembered before it is answered."""
    received = await Received.of(request)
    request.app[MEMORY].recorder.add(received)
    return received
