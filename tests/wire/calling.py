"""The other side of ASGI for one gRPC call: what a client sends, when it goes away, and what it gets."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from extproc.wire.asgi import Application
from extproc.wire.codec import SERVICE
from extproc.wire.framing import Frames
from extproc.wire.pb.external_processor_pb2 import ProcessingResponse

PROCESS = f"/{SERVICE}/Process"
GRPC = ((b"content-type", b"application/grpc"), (b"te", b"trailers"))


@dataclass
class Calling:
    """A call to `application`. `came` is set at each event that it sends."""

    application: Application
    path: str = PROCESS
    headers: Sequence[tuple[bytes, bytes]] = GRPC
    method: str = "POST"
    sent: list[dict[str, Any]] = field(default_factory=list)
    pieces: "asyncio.Queue[dict[str, Any]]" = field(default_factory=asyncio.Queue)
    came: asyncio.Event = field(default_factory=asyncio.Event)
    broken: bool = False
    task: "asyncio.Task[None]" = field(init=False)

    def __post_init__(self) -> None:
        scope = {"type": "http", "method": self.method, "path": self.path, "headers": list(self.headers)}
        self.task = asyncio.ensure_future(self.application(scope, self.pieces.get, self._send))

    async def _send(self, event: Any) -> None:
        if self.broken:
            raise OSError("the client has gone")
        self.sent.append(event)
        self.came.set()

    def put(self, data: bytes, *, end: bool = False) -> None:
        self.pieces.put_nowait({"type": "http.request", "body": data, "more_body": not end})

    def go(self) -> None:
        """Reset the stream."""
        self.pieces.put_nowait({"type": "http.disconnect"})

    async def answers(self, count: int) -> list[ProcessingResponse]:
        """The first `count` answers, when they are there."""
        while len(self.messages) < count:
            assert not self.task.done(), self.sent
            self.came.clear()
            await self.came.wait()
        return [ProcessingResponse.FromString(message) for message in self.messages]

    async def ended(self) -> tuple[int, str]:
        """Status and text at the end."""
        await self.task
        return self.status

    @property
    def messages(self) -> list[bytes]:
        frames = Frames(1 << 30)
        bodies = (event["body"] for event in self.sent if event["type"] == "http.response.body")
        return [message for body in bodies for message in frames.feed(body)]

    @property
    def status(self) -> tuple[int, str]:
        """From the trailers; from the headers where there are no others."""
        start, *_, last = self.sent
        fields = dict(last["headers"] if last["type"] == "http.response.trailers" else start["headers"])
        return int(fields[b"grpc-status"]), fields.get(b"grpc-message", b"").decode()
