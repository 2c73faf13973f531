"""What goes wrong on demand, by path, and the echo of everything else."""

import asyncio
import re
from typing import Final

from aiohttp import web

from extproc.schema import seconds
from extproc.stub.memory import record
from extproc.stub.sending import plain_json

BLOCK: Final = b"x" * 65536
STATUS: Final = re.compile(r"[2-5]\d\d", re.ASCII)
SIZE: Final = re.compile(r"(\d{1,9})(B|KiB|MiB)")
UNITS: Final = {"B": 1, "KiB": 1024, "MiB": 1024 * 1024}


def add_faults(app: web.Application) -> None:
    """`/status/503`, `/slow/500ms`, `/big/2MiB`, `/reset`, `/echo-headers`."""
    app.router.add_route("*", "/status/{status}", _status)
    app.router.add_route("*", "/slow/{delay}", _slow)
    app.router.add_route("*", "/big/{size}", _big)
    app.router.add_route("*", "/reset", _reset)
    app.router.add_route("*", "/echo-headers", _echo_headers)


def failed(status: int) -> dict[str, object]:
    """An error that is of no provider."""
    return {"error": {"type": "stub", "code": str(status), "message": "on demand"}}


async def _status(request: web.Request) -> web.StreamResponse:
    await record(request)
    status = request.match_info["status"]
    if not STATUS.fullmatch(status):
        raise web.HTTPBadRequest(text="write the status as /status/503, from 200 to 599")
    return plain_json(failed(int(status)), int(status))


async def _slow(request: web.Request) -> web.StreamResponse:
    received = await record(request)
    try:
        delay = seconds(request.match_info["delay"])
    except ValueError as error:
        raise web.HTTPBadRequest(text=str(error)) from None
    await asyncio.sleep(delay)
    return plain_json({"x_received": received.shown()})


async def _big(request: web.Request) -> web.StreamResponse:
    await record(request)
    match = SIZE.fullmatch(request.match_info["size"])
    if match is None:
        raise web.HTTPBadRequest(text="write the size as /big/2MiB, with B, KiB or MiB")
    left = int(match[1]) * UNITS[match[2]]
    response = web.StreamResponse(headers={"content-type": "text/plain", "content-length": str(left)})
    await response.prepare(request)
    while left:
        block = BLOCK[:left]
        await response.write(block)
        left -= len(block)
    return response


async def _reset(request: web.Request) -> web.StreamResponse:
    await record(request)
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _echo_headers(request: web.Request) -> web.StreamResponse:
    received = await record(request)
    response = plain_json({})
    for name, value in received.headers:
        response.headers.add(f"x-echo-{name}", value)
    return response
