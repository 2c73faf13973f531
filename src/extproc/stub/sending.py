"""How an answer leaves: piece by piece when its turn comes, in a content coding, with trailers, or broken off."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson
from aiohttp import web

from extproc.stub.coding import ENCODERS
from extproc.stub.memory import MEMORY
from extproc.stub.wishes import Wishes

JSON: Final = "application/json"
TRAILERS: Final = b"x-stub-trailer: the end\r\n"


class Chunked(web.StreamResponse):
    """An answer that writes its chunks itself, since aiohttp sends no trailers (RFC 9112, section 7.1.2)."""

    _length_check = False

    async def chunk(self, data: bytes) -> None:
        if data:
            await self.write(b"%x\r\n%b\r\n" % (len(data), data))

    async def end(self, trailers: bytes = b"") -> None:
        await self.write(b"0\r\n" + trailers + b"\r\n")


async def send(
    request: web.Request, pieces: Iterable[bytes], wishes: Wishes, media: str, status: int = 200
) -> web.StreamResponse:
    """Each piece as a chunk of its own, when it may."""
    headers = {"content-type": media, "transfer-encoding": "chunked", **_coding(wishes)}
    response = Chunked(status=status, headers=headers)
    encoder = ENCODERS[wishes.coding]()
    await response.prepare(request)
    for number, piece in enumerate(pieces):
        await _turn(request, wishes)
        if number == wishes.break_after:
            break
        await response.chunk(encoder.piece(piece))
    if wishes.break_after is not None:
        return _broken(request, response)
    await response.chunk(encoder.end())
    await response.end(TRAILERS if wishes.trailers else b"")
    return response


async def send_json(request: web.Request, value: Mapping[str, Any], wishes: Wishes) -> web.StreamResponse:
    """A whole answer with its length; with trailers it has chunks, and broken off it ends in its middle."""
    body = orjson.dumps(value)
    if wishes.trailers:
        return await send(request, [body], wishes, JSON)
    encoder = ENCODERS[wishes.coding]()
    body = encoder.piece(body) + encoder.end()
    await _turn(request, wishes)
    if wishes.break_after is None:
        return web.Response(body=body, content_type=JSON, headers=_coding(wishes))
    response = web.StreamResponse(headers={"content-type": JSON, "content-length": str(len(body)), **_coding(wishes)})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    return _broken(request, response)


def plain_json(value: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """JSON at once, whatever was wished."""
    return web.Response(body=orjson.dumps(value), status=status, content_type=JSON, headers=headers)


def _coding(wishes: Wishes) -> dict[str, str]:
    return {"content-encoding": wishes.coding} if wishes.coding else {}


async def _turn(request: web.Request, wishes: Wishes) -> None:
    """Wait until the next piece may leave."""
    if wishes.gate is not None:
        await request.app[MEMORY].gates[wishes.gate].acquire()
    if wishes.delay:
        await asyncio.sleep(wishes.delay)


def _broken(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """Close the connection behind what was written, in the middle of the message."""
    if request.transport is not None:
        request.transport.close()
    return response
