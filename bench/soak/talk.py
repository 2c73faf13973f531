"""The client's side of one stream, in bytes: a million of them should cost the server its time, and not the client."""

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio

from extproc.wire.codec import SERVICE
from extproc.wire.pb.external_processor_pb2 import ProcessingResponse

Metadata = Sequence[tuple[str, str]]


class Over(Exception):
    """The server ended the stream with this status where an answer was due."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


class Line:
    """A connection to the server."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._process: Any = channel.stream_stream(f"/{SERVICE}/Process")  # without serializers: bytes in, bytes out

    def talk(self, metadata: Metadata = ()) -> "Talk":
        return Talk(self._process(metadata=tuple(metadata)))


class Talk:
    """One stream. Leaving its block resets it, as Envoy does when it has what it needs."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call.cancel()

    async def say(self, message: bytes) -> None:
        """Send it. Raises: Over."""
        try:
            await self._call.write(message)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):  # it has ended meanwhile
            raise Over(await self.status()) from None

    async def hear(self) -> ProcessingResponse:
        """The next answer. Raises: Over."""
        try:
            data = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise Over(error.code().name) from None
        if not isinstance(data, bytes):
            raise Over(await self.status())
        return ProcessingResponse.FromString(data)

    async def ask(self, message: bytes) -> ProcessingResponse:
        """The answer to it. Raises: Over."""
        await self.say(message)
        return await self.hear()

    async def end(self) -> str:
        """Close our half; gives the status with which the server ends the stream. Raises: Over, if it is none that is due."""
        await self._call.done_writing()
        try:
            await self.hear()
        except Over as over:
            return over.status
        return "an answer to nothing"

    async def status(self) -> str:
        code: grpc.StatusCode = await self._call.code()
        return code.name
