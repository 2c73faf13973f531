"""The server: its listeners, and how it goes away. All of it is in one thread, the event loop's."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from extproc.core.engine import Engine
from extproc.wire.http2.door import LINGER, Door
from extproc.wire.http2.stream import Stream
from extproc.wire.listener import Listener, check
from extproc.wire.pace import settled
from extproc.wire.service import GRPC, Service
from extproc.wire.status import FAILED, Status

GRACE: Final = 25.0
"""Seconds that exchanges which are open may take to end once the listener is closed: Kubernetes kills after 30."""

SETTLING: Final = 2.0
"""Seconds that exchanges which have ended may take to settle what they took, at the very end."""


class Server:
    """The ext_proc service on `listeners`. `engine` is asked once per stream, which keeps what it began with.

    `max_receive_bytes` is the largest body in one message; `ready` says whether this process should be given work.
    """

    def __init__(
        self,
        engine: Callable[[], Engine],
        listeners: Sequence[Listener],
        max_receive_bytes: int,
        ready: Callable[[], bool],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._service = Service(engine, max_receive_bytes, ready)
        self._listeners = tuple(listeners)
        self._doors = [Door(listener, self._serve, self._service.limit) for listener in self._listeners]
        self._sleep = sleep

    @property
    def streams(self) -> int:
        """How many are open."""
        return self._service.streams

    async def start(self) -> None:
        """Open every listener, or none.

        Raises:
            ConfigError: a listener is not allowed, or its place is taken.
        """
        for listener in self._listeners:
            check(listener)
        try:
            for door in self._doors:
                await door.open()
        except BaseException:
            await self.stop()
            raise

    async def drain(self, seconds: float) -> None:
        """Say NOT_SERVING at once, go on accepting for `seconds` until everybody has heard it, then close the listeners and
        let what is open end, for at most GRACE seconds.
        """
        self._service.drain()
        await self._sleep(seconds)
        await self.stop(GRACE)

    async def stop(self, grace: float = 0) -> None:
        """Close the listeners. What is still open after `grace` seconds ends with an error."""
        for door in self._doors:
            door.finish()
        if grace:
            await asyncio.gather(*(door.part() for door in self._doors))
        await self._service.close(grace)
        for door in self._doors:
            await door.close(politely=grace > 0)
        await self._service.close(LINGER)  # calls that were broken off end in a moment
        await settled(SETTLING)

    async def _serve(self, stream: Stream) -> None:
        head = stream.head
        if head.method != b"POST" or not GRPC.fullmatch(head.get(b"content-type")):
            await stream.end(Status.INTERNAL, "this is no call of gRPC")
            return
        try:
            await self._service.serve(stream, head.path, head.fields)
        except asyncio.CancelledError:
            if not stream.closed:  # by somebody who is none of ours: the client must not wait for it
                await stream.end(Status.INTERNAL, FAILED)
            raise
