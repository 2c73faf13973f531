"""A client of HTTP/2 that may do what no client should: frames and header blocks by the libraries of python-hyper, which know
nothing of ours.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hpack
from hyperframe import frame as frames

from extproc.wire.codec import SERVICE
from extproc.wire.framing import Frames
from extproc.wire.pb.external_processor_pb2 import ProcessingRequest, ProcessingResponse

from .conftest import headers

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CALL = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", f"/{SERVICE}/Process"),
    (":authority", "x"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
)


def message(request: ProcessingRequest) -> bytes:
    """With the five bytes of gRPC before it."""
    data = request.SerializeToString()
    return b"\0" + len(data).to_bytes(4, "big") + data


def data(stream: int, content: bytes, *flags: str, padding: int = 0) -> frames.DataFrame:
    return frames.DataFrame(stream, content, pad_length=padding, flags=[*flags, *(["PADDED"] if padding else [])])


def settings(**values: int) -> frames.SettingsFrame:
    return frames.SettingsFrame(0, {getattr(frames.SettingsFrame, name): value for name, value in values.items()})


@dataclass
class Raw:
    """`got` are the frames that came."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    encoder: hpack.Encoder = field(default_factory=hpack.Encoder)
    decoder: hpack.Decoder = field(default_factory=hpack.Decoder)
    got: list[Any] = field(default_factory=list)

    def send(self, *sent: frames.Frame | bytes) -> None:
        self.writer.write(b"".join(each if isinstance(each, bytes) else each.serialize() for each in sent))

    def headers(
        self, stream: int, fields: Iterable[tuple[str, str]] = CALL, *flags: str, **more: Any
    ) -> frames.HeadersFrame:
        block = self.encoder.encode(fields)
        return frames.HeadersFrame(stream, block, flags=["END_HEADERS", *flags], **more)

    def in_pieces(self, stream: int, fields: Iterable[tuple[str, str]]) -> list[frames.Frame]:
        """A block that is longer than a frame may be."""
        block = self.encoder.encode(fields, huffman=False)
        first, *rest = [block[at : at + 16_000] for at in range(0, len(block), 16_000)]
        made = [frames.HeadersFrame(stream, first), *(frames.ContinuationFrame(stream, piece) for piece in rest)]
        made[-1].flags.add("END_HEADERS")
        return made

    async def more(self) -> bool:
        """One more frame, if there is one."""
        try:
            head, length = frames.Frame.parse_frame_header(memoryview(await self.reader.readexactly(9)))
            head.parse_body(memoryview(await self.reader.readexactly(length)))
        except (asyncio.IncompleteReadError, ConnectionError):
            return False
        self.got.append(head)
        return True

    async def until(self, kind: type[frames.Frame], stream: int | None = None) -> Any:
        """The next frame of a kind."""
        while await self.more():
            if isinstance(self.got[-1], kind) and stream in (None, self.got[-1].stream_id):
                return self.got[-1]
        raise AssertionError(f"no {kind.__name__} came, but {self.got}")

    async def closed_with(self) -> int:
        """The code of the GOAWAY after which the connection was closed."""
        while await self.more():
            pass
        [code] = {each.error_code for each in self.got if isinstance(each, frames.GoAwayFrame)}
        return int(code)

    async def answers(self, stream: int, count: int) -> list[ProcessingResponse]:
        """The first so many answers on a stream."""
        while len(self.messages(stream)) < count:
            assert await self.more(), self.got
        return [ProcessingResponse.FromString(each) for each in self.messages(stream)]

    async def ended(self, stream: int) -> dict[str, str]:
        """The fields at the end of a stream: its trailers, or its headers where there are no others."""
        last = await self.until(frames.HeadersFrame, stream)
        while "END_STREAM" not in last.flags:
            last = await self.until(frames.HeadersFrame, stream)
        return dict(self.decoder.decode(last.data))  # type: ignore[arg-type]

    async def conversation(self, stream: int) -> None:
        """One message, and its answer."""
        self.send(self.headers(stream), data(stream, message(headers())))
        await self.answers(stream, 1)

    def messages(self, stream: int) -> list[bytes]:
        body = b"".join(
            each.data for each in self.got if isinstance(each, frames.DataFrame) and each.stream_id == stream
        )
        return list(Frames(1 << 30).feed(body))

    async def alive(self) -> bool:
        """Whether a ping is answered."""
        self.send(frames.PingFrame(0, b"12345678"))
        return bool(await self.until(frames.PingFrame))


@asynccontextmanager
async def dialled(folder: Path, *, greet: bool = True) -> AsyncIterator[Raw]:
    """A connection, with the settings exchanged."""
    reader, writer = await asyncio.open_unix_connection(folder / "x.sock")
    raw = Raw(reader, writer)
    if greet:
        raw.send(PREFACE, settings(), frames.SettingsFrame(0, flags=["ACK"]))
        await raw.until(frames.SettingsFrame)
    try:
        yield raw
    finally:
        writer.close()
